# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""What the endpoints answer, over the scripted engine."""
import json
import re
import time

import pytest

from daemon import check_error, events, read_all, read_until


def test_health_and_ready(fake):
    assert fake.get('/health') == (200, '{"status":"ok"}')
    assert fake.get('/ready')[0] == 200
    status, headers, text = fake.request('HEAD', '/health')
    assert (status, text) == (200, '') and headers['Content-Length'] == '15'


def test_models(fake):
    models = json.loads(fake.get('/v1/models')[1])
    assert models['object'] == 'list' and [m['id'] for m in models['data']] == ['fake']
    one = json.loads(fake.get('/v1/models/fake')[1])
    assert one == models['data'][0] and one['object'] == 'model'
    assert json.loads(fake.get('/v1/models/%66ake')[1]) == one
    for path in ['/v1/models/other', '/v1/models/%zz', '/v1/models/%00']:
        check_error(fake.get(path), 404, 'model_not_found')


def test_unknown_paths_and_methods(fake):
    check_error(fake.get('/nope'), 404, 'unknown_url')
    check_error(fake.get('/v1/models/'), 404)
    check_error(fake.get('/health/'), 404)
    for method, path in [('POST', '/health'), ('GET', '/v1/completions'), ('PUT', '/v1/models'),
                         ('DELETE', '/v1/models/fake'), ('GET', '/v1/chat/completions')]:
        status, headers, text = fake.request(method, path)
        check_error((status, text), 405, 'method_not_allowed')
        assert headers['Allow'] in ('GET, HEAD', 'POST')


def test_completion(fake):
    status, r = fake.complete('do:say:hello', max_tokens=50)
    assert status == 200 and r['object'] == 'text_completion' and r['model'] == 'fake'
    assert r['id'].startswith('cmpl-')
    assert r['choices'] == [{'index': 0, 'text': 'hello', 'logprobs': None, 'finish_reason': 'stop'}]
    usage = r['usage']
    assert (usage['prompt_tokens'], usage['completion_tokens'], usage['total_tokens']) == (13, 5, 18)


def test_chat(fake):
    status, r = fake.chat('do:say:hello')
    assert status == 200 and r['object'] == 'chat.completion'
    assert r['choices'][0]['message'] == {'role': 'assistant', 'content': 'hello', 'refusal': None}
    assert r['choices'][0]['finish_reason'] == 'stop'


def test_length_is_a_reason(fake):
    r = fake.complete('do:say:hello', max_tokens=3)[1]
    assert r['choices'][0]['text'] == 'hel' and r['choices'][0]['finish_reason'] == 'length'
    r = fake.complete('no script')[1]
    assert r['usage']['completion_tokens'] == 16
    r = fake.complete('do:say:ab', max_tokens=5, ignore_eos=True)[1]
    assert r['usage']['completion_tokens'] == 5 and r['choices'][0]['finish_reason'] == 'length'


def test_characters_are_never_split(fake):
    text = 'hé€𝄞 done'
    r = fake.complete('do:say:' + text, max_tokens=50)[1]
    assert r['choices'][0]['text'] == text
    parts = events(fake.request('POST', '/v1/completions',
                                {'prompt': 'do:say:' + text, 'max_tokens': 50, 'stream': True})[2])
    assert [p['choices'][0]['text'] for p in parts[:-1]] == list(text)
    # the end comes in the middle of a character
    r = fake.complete('do:say:a€', max_tokens=2)[1]
    assert r['choices'][0]['text'] == 'a\ufffd'


def test_stream_of_chat(fake):
    status, headers, text = fake.request('POST', '/v1/chat/completions', {
        'messages': [{'role': 'user', 'content': 'do:say:abc'}], 'stream': True})
    assert status == 200 and headers['Content-Type'] == 'text/event-stream'
    parts = events(text)
    assert len({p['id'] for p in parts}) == 1
    assert all(p['object'] == 'chat.completion.chunk' and 'usage' not in p for p in parts)
    choices = [p['choices'][0] for p in parts]
    assert choices[0]['delta'] == {'role': 'assistant', 'content': ''}
    assert [c['delta'].get('content') for c in choices[1:]] == ['a', 'b', 'c', None]
    assert [c['finish_reason'] for c in choices] == [None] * 4 + ['stop']
    assert choices[-1]['delta'] == {}


def test_stream_usage(fake):
    body = {'prompt': 'do:say:abc', 'stream': True, 'stream_options': {'include_usage': True}}
    parts = events(fake.request('POST', '/v1/completions', body)[2])
    assert all(p['usage'] is None for p in parts[:-1])
    assert parts[-1]['choices'] == []
    assert parts[-1]['usage']['completion_tokens'] == 3
    assert parts[-1]['usage']['prompt_tokens'] == 11


@pytest.mark.parametrize('stop, text', [
    ('lo', 'hel'), (['xx', 'world'], 'hello '), (['o w', 'hello'], ''), ('o wx', 'hello world'),
    (['d', 'world', 'orld'], 'hello '), (['llq', 'o worldly', 'ld'], 'hello wor'), ([], 'hello world'),
    ('hello world', ''), (None, 'hello world')])
@pytest.mark.parametrize('stream', [False, True])
def test_stop_strings(fake, stop, text, stream):
    body = {'prompt': 'do:say:hello world', 'max_tokens': 50, 'stop': stop, 'stream': stream}
    raw = fake.request('POST', '/v1/completions', body)[2]
    if stream:
        assert ''.join(p['choices'][0]['text'] for p in events(raw)) == text
        assert events(raw)[-1]['choices'][0]['finish_reason'] == 'stop'
    else:
        choice = json.loads(raw)['choices'][0]
        assert (choice['text'], choice['finish_reason']) == (text, 'stop')


def test_stop_string_of_several_bytes_per_character(fake):
    r = fake.complete('do:say:a€b𝄞c', max_tokens=50, stop='𝄞')[1]
    assert r['choices'][0]['text'] == 'a€b'


def test_held_back_text_comes_at_the_end(fake):
    body = {'prompt': 'do:say:abcab', 'max_tokens': 50, 'stop': 'abd', 'stream': True}
    parts = [p['choices'][0]['text'] for p in events(fake.request('POST', '/v1/completions', body)[2])]
    assert ''.join(parts) == 'abcab' and 'a' not in parts


def test_stop_strings_trim_logprobs(fake):
    for stream in [False, True]:
        body = {'prompt': 'do:say:hello', 'max_tokens': 9, 'stop': 'll', 'logprobs': 0, 'stream': stream}
        raw = fake.request('POST', '/v1/completions', body)[2]
        parts = events(raw) if stream else [json.loads(raw)]
        tokens = sum((p['choices'][0]['logprobs']['tokens'] for p in parts), [])
        assert tokens == ['h', 'e']


def test_completion_logprobs(fake):
    lp = fake.complete('do:say:aé', max_tokens=9, logprobs=2)[1]['choices'][0]['logprobs']
    assert lp['tokens'] == ['a', 'bytes:\\xc3', 'bytes:\\xa9']
    assert lp['token_logprobs'] == [-0.5] * 3
    assert lp['text_offset'] == [0, 1, 1]
    assert lp['top_logprobs'][0] == {'a': -0.5, 'b': -1.5}
    lp = fake.complete('do:say:a', max_tokens=9, logprobs=0)[1]['choices'][0]['logprobs']
    assert lp['top_logprobs'] is None
    assert fake.complete('do:say:a', logprobs=False)[1]['choices'][0]['logprobs'] is None


def test_chat_logprobs(fake):
    r = fake.chat('do:say:é', logprobs=True, top_logprobs=20)[1]
    content = r['choices'][0]['logprobs']['content']
    assert [c['bytes'] for c in content] == [[0xc3], [0xa9]]
    assert [len(c['top_logprobs']) for c in content] == [20, 20]
    assert content[0]['top_logprobs'][19]['logprob'] == -9999.0  # minus infinity is no JSON
    r = fake.chat('do:say:é', logprobs=True)[1]
    assert r['choices'][0]['logprobs']['content'][0]['top_logprobs'] == []


def test_stream_logprobs_are_whole(fake):
    body = {'messages': [{'role': 'user', 'content': 'do:say:abcabx'}], 'stream': True, 'stop': 'abd',
            'logprobs': True, 'top_logprobs': 1}
    parts = events(fake.request('POST', '/v1/chat/completions', body)[2])
    text, tokens = '', ''
    for p in parts[1:]:
        c = p['choices'][0]
        text += c['delta'].get('content', '')
        tokens += ''.join(t['token'] for t in c['logprobs']['content'])
        assert text == tokens  # a token is told with its text, not before
    assert text == 'abcabx'


def test_long_answers_are_whole(fake):
    """Long enough for a worker to write them."""
    r = fake.complete('letters', n=8, max_tokens=500, logprobs=20, seed=1)[1]
    assert [len(c['logprobs']['top_logprobs']) for c in r['choices']] == [500] * 8
    short = fake.complete('letters', n=8, max_tokens=500, seed=1)[1]
    assert [c['text'] for c in r['choices']] == [c['text'] for c in short['choices']]
    assert [''.join(c['logprobs']['tokens']) for c in r['choices']] == [c['text'] for c in r['choices']]


def test_several_choices(fake):
    r = fake.complete('letters', n=3, max_tokens=8, seed=5)[1]
    texts = [c['text'] for c in r['choices']]
    assert [c['index'] for c in r['choices']] == [0, 1, 2] and len(set(texts)) == 3
    again = fake.complete('letters', n=3, max_tokens=8, seed=5)[1]
    assert [c['text'] for c in again['choices']] == texts
    assert fake.complete('letters', max_tokens=8, seed=5)[1]['choices'][0]['text'] == texts[0]
    assert fake.complete('letters', max_tokens=8)[1]['choices'][0]['text'] != \
        fake.complete('letters', max_tokens=8)[1]['choices'][0]['text']


def test_several_prompts(fake):
    r = fake.complete(['do:say:one', 'do:say:two'], n=2, max_tokens=9)[1]
    assert [c['text'] for c in r['choices']] == ['one', 'one', 'two', 'two']
    ids = [256] + list(b'do:say:ids')
    assert fake.complete(ids, max_tokens=9)[1]['choices'][0]['text'] == 'ids'
    r = fake.complete([ids, ids], max_tokens=9)[1]
    assert [c['text'] for c in r['choices']] == ['ids', 'ids']
    body = {'prompt': ['do:say:one', 'do:say:two'], 'n': 2, 'max_tokens': 9, 'stream': True}
    texts = ['', '', '', '']
    for p in events(fake.request('POST', '/v1/completions', body)[2]):
        texts[p['choices'][0]['index']] += p['choices'][0]['text']
    assert texts == ['one', 'one', 'two', 'two']


def test_a_prompt_does_not_depend_on_its_neighbours(fake):
    both = fake.complete(['letters a', 'letters b'], n=2, seed=3, max_tokens=8)[1]['choices']
    alone = fake.complete('letters b', n=2, seed=3, max_tokens=8)[1]['choices']
    assert [c['text'] for c in both[2:]] == [c['text'] for c in alone]


def test_echo(fake):
    assert fake.complete('do:say:x', echo=True)[1]['choices'][0]['text'] == 'do:say:xx'
    ids = [256] + list('do:say:é'.encode())
    assert fake.complete(ids, echo=True)[1]['choices'][0]['text'] == 'do:say:éé'
    body = {'prompt': 'do:say:x', 'echo': True, 'stream': True}
    assert ''.join(p['choices'][0]['text']
                   for p in events(fake.request('POST', '/v1/completions', body)[2])) == 'do:say:xx'


def test_parts_of_a_message(fake):
    parts = [{'type': 'text', 'text': 'do:say:a'}, {'type': 'text', 'text': 'b'}]
    assert fake.chat(parts)[1]['choices'][0]['message']['content'] == 'a\nb'
    assert fake.chat([])[0] == 200


def test_template_errors_reach_the_client(fake):
    error = check_error(fake.post('/v1/chat/completions',
                                  {'messages': [{'role': 'assistant', 'content': 'x'}]}), 400,
                        param='messages')
    assert 'assistant must not be first' in error['message']


def test_context_is_never_cut(fake):
    check_error(fake.complete('x' * 5000), 400, 'context_length_exceeded', 'prompt')
    check_error(fake.complete('x' * 4095), 400, 'context_length_exceeded', 'prompt')  # and BOS
    assert fake.complete('x' * 4094)[1]['usage']['completion_tokens'] == 1
    check_error(fake.complete('x' * 4000, max_tokens=200), 400, 'context_length_exceeded', 'max_tokens')
    check_error(fake.chat('x' * 5000), 400, 'context_length_exceeded', 'messages')
    check_error(fake.complete('x' * 100000), 400, 'context_length_exceeded')  # by a worker
    assert fake.complete('x' * 4000, max_tokens=95)[1]['usage']['total_tokens'] == 4096
    assert fake.chat('do:say:' + 'y' * 2000)[1]['usage']['completion_tokens'] == 2000


def test_errors_of_the_engine(fake):
    error = check_error(fake.complete('do:fail:ab', max_tokens=9), 500)
    assert 'the script says so' in error['message'] and error['type'] == 'server_error'
    check_error(fake.complete('do:lost:ab', max_tokens=9), 503, 'device_lost')
    # in a stream the status has gone out already: the error is the last event
    body = {'prompt': 'do:fail:ab', 'max_tokens': 9, 'stream': True}
    parts = events(fake.request('POST', '/v1/completions', body)[2])
    assert [p['choices'][0]['text'] for p in parts[:-1]] == ['a', 'b']
    assert 'the script says so' in parts[-1]['error']['message']
    # one bad choice of several fails the request, and the others end
    check_error(fake.complete(['do:fail:ab', 'do:hang:x'], max_tokens=9), 500)


def test_metrics(fake):
    fake.complete('do:say:abc', max_tokens=50)
    text = fake.get('/metrics')[1]
    for name in ['q35_time_to_first_token_seconds', 'q35_inter_token_seconds', 'q35_request_seconds']:
        counts = [int(line.split()[1]) for line in text.split('\n') if line.startswith(name + '_bucket')]
        assert counts == sorted(counts) and counts[-1] > 0
        assert fake.metric(name + '_count') == counts[-1]
    before = fake.metric('q35_output_tokens_total'), fake.metric('q35_choices_total{finish="stop"}')
    fake.complete('do:say:abc', max_tokens=50)
    after = fake.metric('q35_output_tokens_total'), fake.metric('q35_choices_total{finish="stop"}')
    assert after == (before[0] + 3, before[1] + 1)
    assert fake.metric('q35_kv_tokens_capacity') == 4 * 4096
    assert fake.metric('q35_ready') == 1
    for line in text.strip().split('\n'):
        assert line.startswith('# HELP ') or line.startswith('# TYPE ') or len(line.split()) >= 2


def test_status_and_page(fake):
    status = json.loads(fake.get('/q35/status')[1])
    assert status['phase'] == 'serving' and status['model'] == 'fake' and status['chat'] is True
    code, headers, text = fake.request('GET', '/')
    assert code == 200 and headers['Content-Type'].startswith('text/html')
    assert 'default-src' in headers['Content-Security-Policy']
    assert text.startswith('<!doctype html>') and 'http://' not in text and 'https://' not in text


def test_alternatives_are_told_apart(fake):
    """Parts of characters have no text of their own; as keys of an object they must differ."""
    for prompt in ['do:say:\u00e9', 'do:say:\\"']:
        raw = fake.request('POST', '/v1/completions', {'prompt': prompt, 'logprobs': 20})[2]
        seen = []
        json.loads(raw, object_pairs_hook=lambda pairs: seen.append([k for k, _ in pairs]))
        tops = [keys for keys in seen if len(keys) == 20]
        assert len(tops) == 2
        for keys in seen:
            assert len(set(keys)) == len(keys), keys


def test_fingerprint(fake):
    for stream in [False, True]:
        for path, body in [('/v1/completions', {'prompt': 'do:say:a'}),
                           ('/v1/chat/completions', {'messages': [{'role': 'user', 'content': 'do:say:a'}]})]:
            text = fake.request('POST', path, {**body, 'stream': stream})[2]
            for part in events(text) if stream else [json.loads(text)]:
                assert part['system_fingerprint'] == 'q35-fake'


def test_request_ids(fake):
    seen = set()
    for path, body in [('/health', None), ('/nothing', None), ('/v1/completions', {'prompt': 'do:say:a'}),
                       ('/v1/completions', {'prompt': 'do:say:a', 'stream': True}),
                       ('/v1/completions', {'prompt': 5})] * 2:
        status, headers, text = fake.request('POST' if body else 'GET', path, body)
        seen.add(headers['X-Request-Id'])
        assert re.fullmatch('[0-9a-f]{16}', headers['X-Request-Id'])
        if body and status == 200:
            assert '"id":"cmpl-%s"' % headers['X-Request-Id'] in text
    assert len(seen) == 10


def test_whole_urls(fake):
    def status(target):
        s = fake.connect()
        s.sendall(('GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' % target).encode())
        return int(read_all(s).split()[1])
    for good in ['/health', 'http://x/health', 'HTTP://x:80/health?a=b', 'https://x/health',
                 'http://x/v1/models/fake']:
        assert status(good) == 200, good
    for bad in ['http://x', 'http://x/', 'http://x//health', 'http://health']:
        assert status(bad) in (200, 404) and (status(bad) == 200) == (bad == 'http://x/'), bad


def test_what_is_not_there_is_named(fake):
    error = check_error(fake.post('/v1/embeddings', {'input': 'x'}), 404, 'unknown_url')
    assert '/v1/embeddings' in error['message'] and '/v1/completions' in error['message']


def test_log(start):
    """One line for each request, with what an operator looks for and not a word of the text."""
    d = start(level='debug')
    secret = 'my-secret-words'
    d.complete('do:say:' + secret, n=2)
    d.chat('do:say:' + secret, stop='words')
    d.request('POST', '/v1/completions', {'prompt': 'do:say:' + secret, 'stream': True, 'max_tokens': 3})
    d.request('POST', '/v1/completions', {'prompt': 'do:fail:' + secret, 'stream': True})
    d.complete('do:fail:' + secret)
    d.complete('x', temperature=9)
    d.request('GET', '/nothing?key=' + secret)
    s = d.open_stream('/v1/completions', {'prompt': 'do:hang:' + secret})
    read_until(s, b'"-"')
    s.close()
    d.wait_log('finish=left')
    text = d.log()
    assert secret not in text and 'secret' not in text
    stamp = r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z '
    assert all(re.match(stamp + '(info|warning|error|debug): .', line) for line in text.splitlines())
    line = stamp + 'info: [0-9a-f]{16} 127.0.0.1 '
    times = r' first=\d+\.\d{3}s total=\d+\.\d{3}s$'
    for want in ['POST /v1/completions 200 finish=stop prompt=23 cached=0 output=30 choices=2' + times,
                 'POST /v1/chat/completions 200 finish=stop prompt=25 cached=0 output=15 choices=1' + times,
                 'POST /v1/completions 200 finish=length prompt=23 cached=0 output=3 choices=1' + times,
                 'POST /v1/completions 200 finish=error prompt=24 cached=0 output=15 choices=1' + times,
                 'POST /v1/completions 500 error=none$',
                 'POST /v1/completions 400 error=invalid_value param=temperature$',
                 'GET /nothing 404 error=unknown_url$',
                 r'POST /v1/completions 200 finish=left prompt=24 cached=0 output=\d+ choices=1' + times]:
        assert len(re.findall(line + want, text, re.M)) == 1, want + '\n' + text
    assert re.search(stamp + 'debug: [0-9a-f]{16} 127.0.0.1 GET /ready 200$', text, re.M)
    ids = re.findall('[a-z]: ([0-9a-f]{16}) ', text)
    assert len(ids) == len(set(ids)) == 8 + text.count('GET /ready')
    assert d.stop() == 0


def test_log_for_the_journal(start):
    """Into a stream that systemd opened: levels in its notation, and no dates of ours."""
    d = start(journal=True)
    check_error(d.get('/nothing'), 404)
    text = d.log()
    assert re.search('^<6>listening on', text, re.M) and re.search('^<6>[0-9a-f]{16} .* 404 ', text, re.M)
    assert all(re.match('<[3467]>', line) for line in text.splitlines())
    assert d.stop() == 0


def test_metrics_are_well_formed(start):
    """By the rules of the text format, and those that promtool checks."""
    d = start()
    d.complete('do:say:abc', n=2)
    d.complete('do:fail:x')
    d.get('/nothing')
    text = d.get('/metrics')[1]
    assert text.endswith('\n')
    types, samples, family = {}, {}, None
    for line in text[:-1].split('\n'):
        if line.startswith('# HELP '):
            family = line.split(' ')[2]
            assert family not in types and line[len('# HELP ' + family):].strip()
        elif line.startswith('# TYPE '):
            _, _, name, kind = line.split(' ')
            assert name == family and kind in ('counter', 'gauge', 'histogram')
            types[name] = kind
        else:
            name, labels, value = re.fullmatch(
                r'([a-z_0-9]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)', line).groups()
            assert name == family or types[family] == 'histogram' and \
                name in [family + x for x in ('_bucket', '_sum', '_count')]
            assert (name, labels) not in samples
            samples[name, labels] = float(value)
    for name, kind in types.items():
        assert name.endswith('_total') == (kind == 'counter'), name
        if kind == 'histogram':
            found = [(dict(re.findall('(\\w+)="([^"]*)"', k[1]))['le'], v) for k, v in samples.items()
                     if k[0] == name + '_bucket']
            bounds, counts = [float(b) for b, _ in found], [c for _, c in found]
            assert bounds == sorted(bounds) and bounds[-1] == float('inf') and counts == sorted(counts)
            assert counts[-1] == samples[name + '_count', None]
    assert samples['q35_output_tokens_total', None] == 7
    assert samples['process_resident_memory_bytes', None] > 1 << 20
    assert samples['process_cpu_seconds_total', None] > 0
    assert abs(samples['process_start_time_seconds', None] - time.time()) < 600
    assert d.stop() == 0
