# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Every field of a request: what is taken, what is refused, and how the refusal names it."""
import json

import pytest

from daemon import check_error

BOTH = ['/v1/completions', '/v1/chat/completions']
COMPLETIONS, CHAT = BOTH[:1], BOTH[1:]
BIG = 10 ** 18

# name, endpoints, values that are fine, values that are refused
FIELDS = [
    ('n', BOTH, [1, 2, None], [0, -1, 129, BIG, 1.0, 1.5, '1', True, [], {}]),
    ('max_tokens', BOTH, [1, 16, None], [0, -1, 4096, BIG, 1.5, '1', True, [], {}]),
    ('temperature', BOTH, [0, 0.0, 1, 2, 1e-300, None], [-0.001, 2.001, -1, BIG, '1', True, [], {}]),
    ('top_p', BOTH, [0, 1, 0.5, None], [-0.1, 1.1, '1', False, [], {}]),
    ('top_k', BOTH, [-1, 0, 1, 2 ** 31 - 1, None], [-2, 2 ** 31, 1.5, '1', True, [], {}]),
    ('min_p', BOTH, [0, 1, 0.5, None], [-0.1, 1.1, '1', True, [], {}]),
    ('frequency_penalty', BOTH, [-2, 2, 0.5, None], [-2.1, 2.1, '1', True, [], {}]),
    ('presence_penalty', BOTH, [-2, 2, 0.5, None], [-2.1, 2.1, '1', True, [], {}]),
    ('repetition_penalty', BOTH, [0.01, 1, 10, None], [0, -1, 10.1, '1', True, [], {}]),
    ('repeat_penalty', BOTH, [0.01, 1, 10, None], [0, -1, 10.1, '1', True, [], {}]),
    ('seed', BOTH, [0, -1, 2 ** 63 - 1, -2 ** 63, None], [1.5, '1', True, [], {}]),
    ('stream', BOTH, [False, None], [0, 1, 'true', [], {}]),
    ('stream_options', BOTH, [None, {}, {'include_usage': False}, {'include_usage': None}],
     [1, 'x', [], True]),
    ('stop', BOTH, ['x', ['x'], ['a', 'b', 'c', 'd'], [], 'x' * 512, None],
     ['', [''], ['a', 'b', 'c', 'd', 'e'], 1, {}, True, [1], ['a', None], 'x' * 513]),
    ('ignore_eos', BOTH, [True, False, None], [0, 'true', [], {}]),
    ('model', BOTH, ['fake', None], [1, True, [], {}]),
    ('logit_bias', BOTH, [{}, None], [{'5': 1}, 'x', 1, True]),
    ('response_format', BOTH, [{'type': 'text'}, None], [{'type': 'json_object'}, 'text', 1, []]),
    ('logprobs', COMPLETIONS, [0, 1, 20, None, False], [-1, 21, 1.5, '1', True, [], {}]),
    ('echo', COMPLETIONS, [True, False, None], [0, 1, 'x', [], {}]),
    ('best_of', COMPLETIONS, [1, None], [0, 2, 129, 1.5, '1', True, [], {}]),
    ('suffix', COMPLETIONS, ['', None], ['x', 1, ['x']]),
    ('prompt', COMPLETIONS, ['x', '', ['x'], [1, 2], [[1], [2, 259]]],
     [None, 1, True, {}, [], [[]], [True], [None], [{}], ['x', 1], [1, 'x'], [[1], 'x', 2], [-1],
      [260], [1.5], [[1, [2]]], [BIG], ['x'] * 65, [[1]] * 129]),
    ('logprobs', CHAT, [True, False, None], [0, 1, 'x', [], {}]),
    ('max_completion_tokens', CHAT, [1, 16, None], [0, -1, BIG, 1.5, '1', True, [], {}]),
    ('tools', CHAT, [[], None], [[{'type': 'function'}], 'x', 1]),
    ('tool_choice', CHAT, ['none', 'auto', None], ['required', {'type': 'function'}, 1]),
    ('function_call', CHAT, ['none', 'auto', None], [{'name': 'f'}, 'f']),
    ('web_search_options', CHAT, [{}, None], [{'search_context_size': 'low'}]),
    ('grammar', BOTH, ['', None], ['root ::= "x"']),
    ('json_schema', BOTH, [{}, None], [{'type': 'object'}]),
    ('structured_outputs', BOTH, [{}, None], [{'choice': ['a']}]),
    ('guided_json', BOTH, [None], [{'type': 'object'}, '{"type":"object"}']),
    ('guided_regex', BOTH, [None], ['a+']),
    ('guided_choice', BOTH, [None], [['a']]),
    ('guided_grammar', BOTH, [None], ['x']),
    ('functions', CHAT, [[], None], [[{'name': 'f'}]]),
]


def base(path):
    if path == '/v1/completions':
        return {'prompt': 'do:say:x', 'max_tokens': 4}
    return {'messages': [{'role': 'user', 'content': 'do:say:x'}], 'max_tokens': 4}


def cases(which):
    for name, paths, good, bad in FIELDS:
        for path in paths:
            for value in good if which == 'good' else bad:
                label = json.dumps(value)
                yield pytest.param(path, name, value, id='%s-%s-%s' % (path[4:], name, label[:40]))


@pytest.mark.parametrize('path, name, value', list(cases('good')))
def test_taken(fake, path, name, value):
    body = base(path)
    body[name] = value
    if name == 'max_completion_tokens':
        del body['max_tokens']
    status, r = fake.post(path, body)
    assert status == 200, r


@pytest.mark.parametrize('path, name, value', list(cases('bad')))
def test_refused(fake, path, name, value):
    body = base(path)
    body[name] = value
    error = check_error(fake.post(path, body), 400)
    assert error['type'] == 'invalid_request_error'
    assert error['param'] == name, error


@pytest.mark.parametrize('path', BOTH)
@pytest.mark.parametrize('name', ['temperature', 'top_p', 'min_p', 'frequency_penalty', 'n', 'seed'])
@pytest.mark.parametrize('literal', ['NaN', 'Infinity', '-Infinity', '1e999', '-1e999', '9' * 400,
                                     '0x10', '01', '+1', '.5', '1.', 'nan', "'1'", 'undefined'])
def test_numbers_that_are_none(fake, path, name, literal):
    text = json.dumps(base(path))[:-1] + ', "%s": %s}' % (name, literal)
    error = check_error(fake.post(path, text), 400)
    if literal in ('NaN', 'Infinity', '-Infinity'):
        assert error['param'] == name


def test_unknown_fields_are_ignored(fake):
    for path in BOTH:
        body = {**base(path), 'user': 'me', 'service_tier': 'auto', 'never_heard_of': {'a': [1]}}
        assert fake.post(path, body)[0] == 200


def test_unknown_model(fake):
    for path in BOTH:
        check_error(fake.post(path, {**base(path), 'model': 'other'}), 404, 'model_not_found', 'model')


def test_fields_together(fake):
    def refused(path, param, **fields):
        check_error(fake.post(path, {**base(path), **fields}), 400, param=param)
    refused('/v1/chat/completions', 'max_tokens', max_completion_tokens=5)
    refused('/v1/chat/completions', 'top_logprobs', top_logprobs=3)
    refused('/v1/completions', 'echo', echo=True, logprobs=1)
    refused('/v1/completions', 'stream_options', stream_options={'include_usage': True})
    refused('/v1/completions', 'stream_options.include_usage', stream=True,
            stream_options={'include_usage': 1})
    for n in [-1, 21, 1.5, '1', True, [], {}]:
        refused('/v1/chat/completions', 'top_logprobs', logprobs=True, top_logprobs=n)
    assert fake.chat('do:say:x', logprobs=True, top_logprobs=0)[0] == 200
    refused('/v1/completions', 'logprobs', n=60, max_tokens=420, logprobs=20)
    assert fake.complete('do:say:x', n=60, max_tokens=420)[0] == 200
    refused('/v1/completions', 'n', n=65)  # more than the queue could ever hold


@pytest.mark.parametrize('messages, param', [
    (None, 'messages'), ('x', 'messages'), ({}, 'messages'), ([], 'messages'), (1, 'messages'),
    ([1], 'messages[0]'), ([[]], 'messages[0]'), ([None], 'messages[0]'),
    ([{}], 'messages[0].role'), ([{'role': 1}], 'messages[0].role'),
    ([{'role': 'root', 'content': 'x'}], 'messages[0].role'),
    ([{'role': 'user'}], 'messages[0].content'),
    ([{'role': 'user', 'content': None}], 'messages[0].content'),
    ([{'role': 'user', 'content': 1}], 'messages[0].content'),
    ([{'role': 'user', 'content': {}}], 'messages[0].content'),
    ([{'role': 'user', 'content': ['x']}], 'messages[0].content'),
    ([{'role': 'user', 'content': [{'text': 'x'}]}], 'messages[0].content'),
    ([{'role': 'user', 'content': [{'type': 'text'}]}], 'messages[0].content'),
    ([{'role': 'user', 'content': [{'type': 'text', 'text': 1}]}], 'messages[0].content'),
    ([{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {}}]}], 'messages[0].content'),
    ([{'role': 'assistant', 'content': None, 'tool_calls': [{'id': '1'}]}], 'messages[0]'),
    ([{'role': 'assistant', 'content': '', 'function_call': {'name': 'f'}}], 'messages[0]'),
    ([{'role': 'user', 'content': 'x'}, {'role': 'user', 'content': 2}], 'messages[1].content'),
    ([{'role': 'user', 'content': 'x'}] * 4097, 'messages')])
def test_messages(fake, messages, param):
    body = {'max_tokens': 1}
    if messages is not None:
        body['messages'] = messages
    check_error(fake.post('/v1/chat/completions', body), 400, param=param)


@pytest.mark.parametrize('role', ['system', 'developer', 'user', 'tool'])
def test_roles(fake, role):
    messages = [{'role': role, 'content': 'x'}, {'role': 'assistant', 'content': 'y'},
                {'role': 'user', 'content': 'do:say:fine'}]
    status, r = fake.post('/v1/chat/completions', {'messages': messages})
    assert status == 200 and r['choices'][0]['message']['content'] == 'fine'


@pytest.mark.parametrize('text', [
    '', ' ', '{', '}', 'null', '[]', '1', '"x"', '{"prompt":}', '{"prompt":"x"', "{'prompt':'x'}",
    '{"prompt":"x",}', '{"prompt":"x"}{}', '{"prompt":"x"} x', '{"prompt":"x","prompt":"y"}',
    '{"prompt":"\\ud800"}', '{"prompt":"\\u0000"}', '{"prompt":"\\x"}', '{"prompt":"a\nb"}',
    '{"prompt":"x', '{"prompt":"x\\', '\ufeff{"prompt":"x"}', '[' * 100000, '{"a":' * 100000,
    '{"prompt":' + '[' * 33 + ']' * 33 + '}', '/* */ {"prompt":"x"}', '{"prompt": "x" // y\n}'])
def test_bad_json(fake, text):
    for path in BOTH:
        check_error(fake.post(path, text.encode()), 400, 'invalid_json')


def test_bytes_that_are_no_text(fake):
    for raw in [b'{"prompt":"\xff"}', b'{"prompt":"\xc0\x80"}', b'{"prompt":"\xed\xa0\x80"}', b'\x00',
                b'{"prompt":"\x00"}', bytes(range(256)) * 100, b'{"\xf5\xff\xff\xff":1}']:
        check_error(fake.post('/v1/completions', raw), 400, 'invalid_json')


def test_messages_of_errors_survive_strange_names(fake):
    for name in ['"', '\\', '\x01', 'é', '%s%n', 'x' * 100000, '\u2028', '</script>']:
        check_error(fake.complete('x', model=name), 404, 'model_not_found')


def test_no_chat_template(start):
    d = start(env={'Q35_FAKE_NO_CHAT': '1'})
    check_error(d.chat('x'), 400, 'unsupported_model')
    assert d.complete('do:say:x')[0] == 200
    assert d.stop() == 0
