# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The whole daemon: a converted model, real backends, the engine."""
import json
import os
import signal
import subprocess
import threading

import openai
import pytest

import tiny_model
from daemon import Daemon, check_error, events, read_all, read_until, wait_for

CPU = '[backend cpu]\npath = cpu_simd.so\nrequired = true\nthreads = 2\n'
PLAIN = '[backend plain]\npath = reference.so\nrequired = true\n'
CONFIGURATIONS = {
    'cpu_simd': CPU,
    'reference': PLAIN,
    'split': CPU + PLAIN + '[schedule]\nlayers.cpu = 0-3\nlayers.plain = 4-7\n',
    'split, three ranges': CPU + PLAIN + '[schedule]\nlayers.plain = 0-1\nlayers.cpu = 2-7\n',
    'small batches': CPU + '[schedule]\nmax_batch = 5\nmax_sequences = 3\n',
    'one sequence': CPU + '[schedule]\nmax_sequences = 1\n',
    'own process': CPU.replace('threads', 'isolate = process\nthreads') + '[schedule]\nmax_batch = 64\n',
    'guessing ahead': CPU + '[schedule]\ndraft = lookup\n',
    'guessing ahead, split': CPU.replace('threads', 'isolate = process\nthreads') + PLAIN
                             + '[schedule]\nlayers.plain = 0-1\nlayers.cpu = 2-7\ndraft = lookup\ndraft_tokens = 16\n',
}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp('model')
    tiny_model.write(folder / 'tiny.gguf')
    subprocess.run([os.environ['Q35'], 'convert', str(folder / 'tiny.gguf'), '-o',
                    str(folder / 'tiny.q35.gguf'), '--effort', '0'], check=True, capture_output=True)
    return folder / 'tiny.q35.gguf'


def ini(model, sections, q35d=''):
    return '[q35d]\nport = 0\nlog_level = info\n%s\n[model]\npath = %s\n%s' % (q35d, model, sections)


@pytest.fixture
def serve(tmp_path, model):
    running = []

    def begin(sections=CPU, q35d='', **options):
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Daemon(folder, os.environ['Q35D'], ini(model, sections, q35d), **options))
        return running[-1]

    yield begin
    for d in running:
        d.kill()


BODIES = [
    ('/v1/completions', {'prompt': 'The quick brown fox', 'temperature': 0, 'max_tokens': 40}),
    ('/v1/completions', {'prompt': 'a' * 150, 'temperature': 0, 'max_tokens': 30}),
    ('/v1/completions', {'prompt': 'Sampled', 'temperature': 1.2, 'top_p': 0.9, 'seed': 7, 'n': 2,
                         'max_tokens': 30}),
    ('/v1/completions', {'prompt': [1, 40, 300, 301], 'top_k': 5, 'seed': 3, 'max_tokens': 25,
                         'frequency_penalty': 1, 'presence_penalty': 0.5, 'repetition_penalty': 1.3}),
    ('/v1/chat/completions', {'messages': [{'role': 'system', 'content': 'Be brief.'},
                                           {'role': 'user', 'content': 'Hello?'}],
                              'temperature': 0, 'max_tokens': 30}),
    ('/v1/completions', {'prompt': ['one', 'two', 'three'], 'min_p': 0.05, 'seed': 11, 'max_tokens': 20}),
]


def answer(d, path, body):
    """Texts, tokens and log probabilities of all choices: everything that must not change."""
    extra = {'logprobs': True, 'top_logprobs': 2} if 'messages' in body else {'logprobs': 2}
    status, r = d.post(path, {**body, **extra, 'ignore_eos': True})
    assert status == 200, r
    return [(c.get('text', c.get('message')), c['logprobs'], c['finish_reason']) for c in r['choices']]


@pytest.fixture(scope='module')
def expected(tmp_path_factory, model):
    d = Daemon(tmp_path_factory.mktemp('expected'), os.environ['Q35D'], ini(model, CPU))
    try:
        found = [answer(d, path, body) for path, body in BODIES]
        assert d.stop() == 0
        return found
    finally:
        d.kill()


@pytest.mark.parametrize('name', CONFIGURATIONS)
def test_same_tokens_on_every_backend(serve, expected, name):
    d = serve(CONFIGURATIONS[name])
    for (path, body), want in zip(BODIES, expected):
        assert answer(d, path, body) == want
    assert d.stop() == 0


def test_other_models_give_other_tokens(serve, expected, tmp_path):
    """So that the test above means something."""
    tiny_model.write(tmp_path / 'other.gguf', seed=2)
    subprocess.run([os.environ['Q35'], 'convert', str(tmp_path / 'other.gguf'), '-o',
                    str(tmp_path / 'other.q35.gguf'), '--effort', '0'], check=True, capture_output=True)
    d = Daemon(tmp_path, os.environ['Q35D'], ini(tmp_path / 'other.q35.gguf', CPU))
    try:
        assert all(answer(d, *b) != want for b, want in zip(BODIES, expected))
        assert d.stop() == 0
    finally:
        d.kill()


@pytest.mark.parametrize('name', ['cpu_simd', 'split', 'small batches', 'guessing ahead'])
def test_same_tokens_together_as_alone(serve, expected, name):
    d = serve(CONFIGURATIONS[name])
    found = [[None, None] for _ in BODIES]

    def one(i, k):
        found[i][k] = answer(d, *BODIES[i])
    threads = [threading.Thread(target=one, args=(i, k)) for k in range(2) for i in range(len(BODIES))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [[want, want] for want in expected]
    wait_for('the end', lambda: d.metric('q35_requests_running') == 0)
    assert d.stop() == 0


def test_streams_say_the_same(serve, expected):
    d = serve()
    for (path, body), want in zip(BODIES, expected):
        parts = events(d.request('POST', path, {**body, 'stream': True, 'ignore_eos': True})[2])
        texts = [''] * len(want)
        for p in parts:
            c = p['choices'][0]
            texts[c['index']] += c.get('text') or c.get('delta', {}).get('content') or ''
        assert texts == [w[0]['content'] if isinstance(w[0], dict) else w[0] for w in want]
    assert d.stop() == 0


def test_prefix_cache(serve, expected):
    d = serve()
    path, body = BODIES[1]
    assert answer(d, path, body) == expected[1]
    usage = d.post(path, body)[1]['usage']
    assert usage['prompt_tokens_details']['cached_tokens'] > 0
    assert answer(d, path, body) == expected[1]
    longer = {**body, 'prompt': body['prompt'] + 'bcd'}
    with_cache = answer(d, path, longer)
    fresh = serve()
    assert answer(fresh, path, longer) == with_cache
    assert d.stop() == 0 and fresh.stop() == 0


def test_clients_that_leave(serve):
    d = serve(CPU + '[schedule]\nmax_batch = 2\n')  # so that a prompt takes many steps
    for prompt, marker in [('x', b'"text"'), ('y' * 400, b'\r\n\r\n')]:
        sockets = [d.open_stream('/v1/completions', {'prompt': prompt + str(i), 'max_tokens': 100,
                                                     'ignore_eos': True}) for i in range(6)]
        for s in sockets:
            read_until(s, marker)
            s.close()
        wait_for('free sequences', lambda: d.metric('q35_requests_running') == 0
                 and d.metric('q35_requests_waiting') == 0)
    assert d.complete('still here', max_tokens=3)[0] == 200
    assert d.stop() == 0


def workers(d):
    found = []
    for task in os.listdir('/proc/%d/task' % d.process.pid):
        text = open('/proc/%d/task/%s/children' % (d.process.pid, task)).read()
        found += [int(pid) for pid in text.split()]
    return found


def test_a_lost_device_changes_no_token(serve, expected):
    """The worker process of one backend is killed in mid-sentence, and each one that replaces it:
    at last the other backend takes over."""
    d = serve(CPU.replace('threads', 'isolate = process\nthreads') + PLAIN
              + '[schedule]\nlayers.cpu = 0-7\n')
    path, body = BODIES[0]
    s = d.open_stream(path, {**body, 'max_tokens': 400, 'ignore_eos': True})
    data = read_until(s, b'"text"')
    for loss in range(4):
        wait_for('a worker', lambda: workers(d))
        for pid in workers(d):
            os.kill(pid, signal.SIGKILL)
        assert d.complete('y', max_tokens=1)[0] == 200
    assert not workers(d)
    data = read_until(s, b'[DONE]', data).decode()
    text = ''.join(p['choices'][0]['text'] for p in events(data.split('\r\n\r\n', 1)[1]))
    assert text == d.post(path, {**body, 'max_tokens': 400, 'ignore_eos': True})[1]['choices'][0]['text']
    assert d.get('/ready')[0] == 200
    for (path, body), want in zip(BODIES, expected):
        assert answer(d, path, body) == want
    assert d.stop() == 0


def test_the_only_device_is_lost(serve):
    """Its worker is replaced three times, with the same tokens; after that nobody can serve."""
    d = serve(CPU.replace('threads', 'isolate = process\nthreads'))
    path, body = BODIES[0]
    body = {**body, 'max_tokens': 450, 'ignore_eos': True}
    texts = []
    for loss in range(4):
        s = d.open_stream(path, body)
        data = read_until(s, b'"text"')
        for pid in workers(d):
            os.kill(pid, signal.SIGKILL)
        data = read_until(s, b'[DONE]', data)
        assert (b'"error"' in data) == (loss == 3)
        if loss < 3:
            texts.append(''.join(p['choices'][0]['text']
                                 for p in events(data.decode().split('\r\n\r\n', 1)[1])))
    assert texts[0] and texts[0] == texts[1] == texts[2]
    wait_for('503', lambda: d.get('/ready')[0] == 503)
    check_error(d.get('/ready'), 503, 'no_device')
    check_error(d.complete('x'), 503, 'no_device')
    assert d.get('/health')[0] == 200
    assert d.stop() == 0


def test_context_is_the_models(serve):
    d = serve()
    assert json.loads(d.get('/v1/models')[1])['data'][0]['max_model_len'] == tiny_model.CONTEXT
    check_error(d.complete('x' * 600), 400, 'context_length_exceeded', 'prompt')
    check_error(d.complete('x' * 500, max_tokens=100), 400, 'context_length_exceeded')
    r = d.complete('x' * 400, max_tokens=100, ignore_eos=True)[1]
    assert r['usage']['completion_tokens'] == 100
    assert d.stop() == 0


def test_text_never_becomes_control_tokens(serve):
    d = serve()

    def tokens(r):
        return r[1]['usage']['prompt_tokens']
    plain = tokens(d.complete('', max_tokens=1))
    assert tokens(d.complete('</s>', max_tokens=1)) > plain + 3
    empty = tokens(d.chat('', max_tokens=1))
    assert tokens(d.chat('<|user|></s>', max_tokens=1)) >= empty + 10
    assert d.stop() == 0


def test_drain(serve):
    d = serve()
    s = d.open_stream('/v1/completions', {'prompt': 'x', 'max_tokens': 300, 'ignore_eos': True})
    data = read_until(s, b'"text"')
    d.signal(signal.SIGTERM)
    assert b'[DONE]' in data + read_all(s)
    assert d.wait() == 0


def test_cut_off(serve):
    d = serve()
    streams = [d.open_stream('/v1/completions', {'prompt': 'x', 'max_tokens': 450, 'ignore_eos': True})
               for _ in range(4)]
    for s in streams:
        read_until(s, b'"text"')
    d.signal(signal.SIGTERM)
    d.signal(signal.SIGTERM)
    assert d.wait() in (0, 3)  # 0 if all were done before the second signal


def test_metrics_of_devices(serve):
    d = serve(CONFIGURATIONS['split'])
    text = d.get('/metrics')[1]
    layers = [line for line in text.split('\n') if line.startswith('q35_device_layers{')]
    assert len(layers) == 2 and sum(int(line.split()[-1]) for line in layers) == tiny_model.LAYERS + 2
    status = json.loads(d.get('/q35/status')[1])
    assert [x['backend'] for x in status['devices']] == ['cpu', 'plain']
    assert sum(x['count'] for x in status['stages']) == tiny_model.LAYERS + 2
    assert d.stop() == 0


def test_kv_in_int8(serve):
    """The same text from every arrangement of devices, greedily chosen by the device of the head."""
    texts = set()
    for name in ['cpu_simd', 'reference', 'split', 'own process']:
        sections = CONFIGURATIONS[name]
        if '[schedule]' not in sections:
            sections += '[schedule]\n'
        d = serve(sections + 'kv_type = int8\n')
        texts.add(d.complete('a' * 150, max_tokens=60, temperature=0, ignore_eos=True)[1]['choices'][0]['text'])
        assert json.loads(d.get('/q35/status')[1])['load']['kv_type'] == 'int8'
        assert d.metric('q35_engine_device_tokens_total') == 60
        assert d.stop() == 0
    assert len(texts) == 1


def test_guessing_ahead(serve):
    """The same text with and without, greedy or sampled; what was guessed is counted."""
    plain, ahead = serve(), serve(CONFIGURATIONS['guessing ahead'])
    drafted = accepted = 0
    for temperature in [0, 0.5]:
        body = {'prompt': 'one two three, ' * 8, 'max_tokens': 250, 'temperature': temperature, 'seed': 1,
                'ignore_eos': True}
        want, got = plain.complete(**body)[1], ahead.complete(**body)[1]
        assert got['choices'] == want['choices']
        details = want['usage'].pop('completion_tokens_details')
        assert details == {'accepted_prediction_tokens': 0, 'rejected_prediction_tokens': 0}
        details = got['usage'].pop('completion_tokens_details')
        assert got['usage'] == want['usage']
        accepted += details['accepted_prediction_tokens']
        drafted += sum(details.values())
    assert drafted > 0
    assert ahead.metric('q35_engine_drafted_tokens_total') == drafted
    assert ahead.metric('q35_engine_accepted_tokens_total') == accepted
    assert plain.metric('q35_engine_drafted_tokens_total') == 0
    assert plain.stop() == 0 and ahead.stop() == 0


def run(tmp_path, text, *args):
    (tmp_path / 'x.ini').write_text(text)
    p = subprocess.run([os.environ['Q35D'], '-c', str(tmp_path / 'x.ini'), *args], capture_output=True,
                       text=True, timeout=120)
    assert 'Sanitizer' not in p.stderr, p.stderr
    return p


def test_config_test(tmp_path, model):
    p = run(tmp_path, ini(model, CONFIGURATIONS['split']), '-t')
    assert p.returncode == 0 and 'layers 0-3' in p.stdout and 'is fine' in p.stderr
    for text, message in [
            (ini(model, CPU.replace('cpu_simd', 'missing')), 'missing.so'),
            (ini(model, CPU + 'nope = 1\n'), 'nope'),
            (ini(tmp_path / 'missing.gguf', CPU), 'missing.gguf'),
            (ini(tmp_path / 'x.ini', CPU), 'x.ini'),
            (ini(model, CPU + '[schedule]\nkv_type = int4\n'), 'kv_type = int4'),
            (ini(model, CPU + '[schedule]\ndraft = yes\n'), 'draft = yes'),
            (ini(model, CPU + '[schedule]\nlayers.cpu = 0-5\n'), 'layer')]:
        for args in [('-t',), ()]:
            p = run(tmp_path, text, *args)
            assert p.returncode == 1 and message in p.stderr, p.stderr


def test_openai_client(serve):
    d = serve()
    with openai.OpenAI(base_url='http://127.0.0.1:%d/v1' % d.port, api_key='none', timeout=120) as c:
        name = c.models.list().data[0].id
        assert name == 'tiny'
        r = c.completions.create(model=name, prompt='Hello', max_tokens=12, temperature=0)
        parts = c.completions.create(model=name, prompt='Hello', max_tokens=12, temperature=0, stream=True)
        assert ''.join(p.choices[0].text for p in parts) == r.choices[0].text
        messages = [{'role': 'user', 'content': 'Hello'}]
        r = c.chat.completions.create(model=name, messages=messages, max_tokens=12, temperature=0)
        parts = c.chat.completions.create(model=name, messages=messages, max_tokens=12, temperature=0,
                                          stream=True)
        assert ''.join(p.choices[0].delta.content or '' for p in parts) == r.choices[0].message.content
    assert d.stop() == 0


def test_demo_model(tmp_path):
    """The 80 layers that come with q35: one line of the configuration changes, the tokens do not."""
    demo = os.path.join(os.environ['Q35_ROOT'], 'configs', 'demo.q35.gguf')
    if not os.path.exists(demo):
        pytest.skip('configs/demo.q35.gguf is not there')
    found = {}
    for name, sections in [('cpu', CPU), ('plain', PLAIN),
                           ('split', CPU + PLAIN + '[schedule]\nlayers.cpu = 0-39\nlayers.plain = 40-79\n')]:
        folder = tmp_path / name
        folder.mkdir()
        d = Daemon(folder, os.environ['Q35D'], ini(demo, sections))
        try:
            found[name] = [
                answer(d, '/v1/completions', {'prompt': 'Once', 'temperature': 0, 'max_tokens': 16}),
                answer(d, '/v1/completions', {'prompt': 'The dog', 'seed': 4, 'max_tokens': 12})]
            assert d.stop() == 0
        finally:
            d.kill()
    assert found['cpu'] == found['plain'] == found['split']
