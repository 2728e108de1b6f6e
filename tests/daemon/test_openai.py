# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The official Python client against the daemon."""
import threading

import openai
import pytest


@pytest.fixture(scope='module')
def client(fake):
    with openai.OpenAI(base_url='http://127.0.0.1:%d/v1' % fake.port, api_key='none', max_retries=0,
                       timeout=120) as c:
        yield c


def say(text):
    return [{'role': 'user', 'content': 'do:say:' + text}]


def test_models(client):
    assert [m.id for m in client.models.list()] == ['fake']
    assert client.models.retrieve('fake').object == 'model'
    with pytest.raises(openai.NotFoundError) as e:
        client.models.retrieve('other')
    assert e.value.code == 'model_not_found' and e.value.param == 'model'


def test_completion(client):
    r = client.completions.create(model='fake', prompt='do:say:héllo', max_tokens=20, logprobs=1)
    assert r.choices[0].text == 'héllo' and r.choices[0].finish_reason == 'stop'
    assert r.choices[0].logprobs.tokens[0] == 'h'
    assert r.usage.completion_tokens == 6


def test_completion_stream(client):
    stream = client.completions.create(model='fake', prompt='do:say:héllo', max_tokens=20, stream=True,
                                       stream_options={'include_usage': True})
    parts = list(stream)
    assert ''.join(p.choices[0].text for p in parts[:-1]) == 'héllo'
    assert parts[-1].usage.total_tokens == 20 and parts[-1].choices == []


def test_chat(client):
    r = client.chat.completions.create(model='fake', messages=say('hello'), logprobs=True,
                                       top_logprobs=2, n=2)
    assert [c.message.content for c in r.choices] == ['hello', 'hello']
    assert r.choices[0].message.role == 'assistant'
    assert len(r.choices[0].logprobs.content) == 5
    assert len(r.choices[0].logprobs.content[0].top_logprobs) == 2
    assert r.usage.prompt_tokens_details.cached_tokens == 0


def test_chat_stream(client):
    stream = client.chat.completions.create(model='fake', messages=say('hello'), stream=True)
    parts = list(stream)
    assert ''.join(p.choices[0].delta.content or '' for p in parts) == 'hello'
    assert parts[0].choices[0].delta.role == 'assistant'
    assert parts[-1].choices[0].finish_reason == 'stop'


def test_stopping_a_stream_early(client, fake):
    stream = client.chat.completions.create(
        model='fake', messages=[{'role': 'user', 'content': 'do:hang:abc'}], stream=True)
    for part in stream:
        if part.choices[0].delta.content == 'b':
            break
    stream.close()
    assert client.models.list().data


def test_errors(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model='fake', messages=say('x'), temperature=9)
    assert e.value.param == 'temperature' and e.value.type == 'invalid_request_error'
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model='fake', prompt='x' * 9000)
    assert e.value.code == 'context_length_exceeded'
    with pytest.raises(openai.InternalServerError):
        client.completions.create(model='fake', prompt='do:fail:x')
    with pytest.raises(openai.APIError, match='the script says so'):
        list(client.completions.create(model='fake', prompt='do:fail:x', stream=True))


def test_keys(start, tmp_path):
    (tmp_path / 'keys').write_text('secret\n')
    d = start('api_key_file = %s' % (tmp_path / 'keys'))
    url = 'http://127.0.0.1:%d/v1' % d.port
    with openai.OpenAI(base_url=url, api_key='secret', max_retries=0) as good, \
            openai.OpenAI(base_url=url, api_key='wrong', max_retries=0) as bad:
        assert good.models.list().data[0].id == 'fake'
        with pytest.raises(openai.AuthenticationError):
            bad.models.list()
    assert d.stop() == 0


def test_many_at_once(client):
    texts = [None] * 12

    def one(i):
        r = client.chat.completions.create(model='fake', messages=say('number %d' % i))
        texts[i] = r.choices[0].message.content
    threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert texts == ['number %d' % i for i in range(12)]
