# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""API keys, origins."""
import base64

from daemon import check_error

ROUTES = ['/', '/metrics', '/v1/models', '/v1/models/fake', '/q35/status', '/nope', '/v1/completions']


def with_keys(start, tmp_path, text='# keys\nfirst-key\n\n  second-key  \r\n'):
    (tmp_path / 'keys').write_text(text)
    return start('api_key_file = %s' % (tmp_path / 'keys'))


def bearer(key):
    return {'Authorization': 'Bearer ' + key}


def test_every_route_but_health_needs_a_key(start, tmp_path):
    d = with_keys(start, tmp_path)
    assert d.get('/health')[0] == 200 and d.get('/ready')[0] == 200
    for path in ROUTES:
        status, headers, text = d.request('GET', path)
        error = check_error((status, text), 401, 'invalid_api_key')
        assert error['type'] == 'authentication_error'
        assert headers['WWW-Authenticate'].startswith('Basic' if path == '/' else 'Bearer')
    check_error(d.complete('x'), 401)
    check_error(d.chat('x'), 401)
    assert d.stop() == 0


def test_keys(start, tmp_path):
    d = with_keys(start, tmp_path)
    for key in ['first-key', 'second-key']:
        assert d.get('/v1/models', bearer(key))[0] == 200
        assert d.get('/v1/models', {'Authorization': 'bearer   ' + key})[0] == 200
        basic = base64.b64encode(b'anyone:' + key.encode()).decode()
        assert d.get('/', {'Authorization': 'Basic ' + basic})[0] == 200
    encoded = [base64.b64encode(x).decode() for x in
               [b'first-key', b'first-key:', b':', b'', b'a:first-ke', b'a:first-keyy', b'x' * 600]]
    for value in ['', 'first-key', 'Bearer', 'Bearer ', 'Bearer first', 'Bearer first-key2',
                  'Bearer first-key second-key', 'Bearer # keys', 'Bearer ' + 'x' * 5000, 'Basic',
                  'Basic !!!!', 'Basic ====', 'Digest first-key'] + ['Basic ' + e for e in encoded]:
        assert d.get('/v1/models', {'Authorization': value})[0] == 401, value
    assert d.complete('do:say:x', max_tokens=4)[0] == 401
    status, r = d.post('/v1/completions', {'prompt': 'do:say:x'}, bearer('first-key'))
    assert status == 200 and r['choices'][0]['text'] == 'x'
    assert d.stop() == 0


def test_a_body_is_not_read_without_a_key(start, tmp_path):
    d = with_keys(start, tmp_path)
    with d.connect() as s:
        s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n')
        answer = b''
        while b'invalid_api_key' not in answer:
            piece = s.recv(65536)
            assert piece
            answer += piece
    assert d.stop() == 0


def test_origins(start):
    d = start('cors_origins = https://app.example, http://localhost:3000')
    for origin in ['https://app.example', 'http://localhost:3000']:
        status, headers, _ = d.request('OPTIONS', '/v1/chat/completions', headers={
            'Origin': origin, 'Access-Control-Request-Method': 'POST'})
        assert status == 204 and headers['Access-Control-Allow-Origin'] == origin
        assert 'POST' in headers['Access-Control-Allow-Methods']
        status, headers, _ = d.request('GET', '/v1/models', headers={'Origin': origin})
        assert headers['Access-Control-Allow-Origin'] == origin and headers['Vary'] == 'Origin'
        body = {'prompt': 'do:say:x', 'stream': True}
        status, headers, _ = d.request('POST', '/v1/completions', body, {'Origin': origin})
        assert status == 200 and headers['Access-Control-Allow-Origin'] == origin
    for origin in ['https://evil.example', 'null', 'https://app.example.evil', 'http://app.example', '']:
        status, headers, text = d.request('OPTIONS', '/v1/completions', headers={'Origin': origin})
        check_error((status, text), 403, 'origin_not_allowed')
        assert 'Access-Control-Allow-Origin' not in headers
        status, headers, text = d.request('POST', '/v1/completions', {'prompt': 'x'}, {'Origin': origin})
        check_error((status, text), 403)
        status, headers, _ = d.request('GET', '/v1/models', headers={'Origin': origin})
        assert 'Access-Control-Allow-Origin' not in headers
    # our own page
    for host in ['127.0.0.1:%d' % d.port, 'localhost:%d' % d.port, '[::1]:80', '10.0.0.1']:
        own = {'Origin': 'http://' + host, 'Host': host}
        assert d.request('POST', '/v1/completions', {'prompt': 'do:say:x'}, own)[0] == 200
    # a name that somebody has pointed at us
    for host in ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example']:
        own = {'Origin': 'http://' + host, 'Host': host}
        check_error(d.post('/v1/completions', {'prompt': 'x'}, own), 403)
    assert d.stop() == 0


def test_names_of_our_own_page_need_keys(start, tmp_path):
    d = with_keys(start, tmp_path)
    own = {'Origin': 'https://chat.example', 'Host': 'chat.example', **bearer('first-key')}
    assert d.post('/v1/completions', {'prompt': 'do:say:x'}, own)[0] == 200
    assert d.stop() == 0


def test_any_origin(start):
    d = start('cors_origins = *')
    _, headers, _ = d.request('GET', '/v1/models', headers={'Origin': 'https://x.example'})
    assert headers['Access-Control-Allow-Origin'] == 'https://x.example'
    assert d.stop() == 0


def test_preflight_needs_no_key(start, tmp_path):
    (tmp_path / 'keys').write_text('key\n')
    d = start('api_key_file = %s\ncors_origins = https://a.example' % (tmp_path / 'keys'))
    assert d.request('OPTIONS', '/v1/completions', headers={'Origin': 'https://a.example'})[0] == 204
    assert d.request('OPTIONS', '/v1/completions')[0] == 401
    assert d.stop() == 0
