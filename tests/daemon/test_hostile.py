# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""HTTP that no friend would send: always an answer or a closed connection, never more."""
import json
import random
import socket
import struct

import pytest

from daemon import check_error, read_all, read_response, read_until, wait_for

HEALTH = b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n'
DO = b'{"prompt":"do:say:x"}'


def send(daemon, data):
    """(status, body) of the one answer, after which the daemon closes."""
    with daemon.connect() as s:
        s.sendall(data)
        status, headers, body, rest = read_response(s)
        assert headers['connection'] == 'close'
        assert rest + read_all(s) == b''
        return status, body


@pytest.mark.parametrize('data', [
    b'\x00' * 100, b'\xff' * 100, b'hello\r\n\r\n', b'GET\r\n\r\n', b'GET /health\r\n\r\n',
    b'GET /health HTTP/9.9\r\nHost: x\r\n\r\n', b'GET /health HTTP/1.1x\r\n\r\n',
    b'GET /health HTTX/1.1\r\n\r\n', b'G\x01T /health HTTP/1.1\r\n\r\n',
    b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    b'GET /health HTTP/1.1\r\nHost x\r\n\r\n', b'GET /health HTTP/1.1\r\n: x\r\n\r\n',
    b'GET /health HTTP/1.1\r\nHo st: x\r\n\r\n', b'GET /health HTTP/1.1\r\nHost: x\x00y\r\n\r\n',
    b'GET /he alth HTTP/1.1\r\nHost: x\r\n\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked, x\r\n\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n',
    b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n'])
def test_garbage(fake, data):
    status, body = send(fake, data)
    check_error((status, body), status)
    assert status in (400, 505)


def test_headers_that_are_refused(fake):
    for extra, status in [(b'Host: x\r\nHost: y\r\n', 400), (b'', 400),
                          (b'Host: x\r\nExpect: miracles\r\nContent-Length: 2\r\n', 417),
                          (b'Host: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n', 415),
                          (b'Host: x\r\nAuthorization: a\r\nAuthorization: b\r\n', 400)]:
        with fake.connect() as s:
            s.sendall(b'POST /v1/completions HTTP/1.1\r\n' + extra + b'\r\n{}')
            got, _, body, _ = read_response(s)
            check_error((got, body), status)
    with fake.connect() as s:  # HTTP/1.0 needs no Host
        s.sendall(b'GET /health HTTP/1.0\r\n\r\n')
        assert b'200 OK' in read_all(s)


def test_large_headers(fake):
    for data in [b'GET /health HTTP/1.1\r\nHost: x\r\nX: ' + b'a' * 100000 + b'\r\n\r\n',
                 b'GET /health HTTP/1.1\r\nHost: x\r\n' + b'X' * 100000 + b': 1\r\n\r\n',
                 b'GET /health HTTP/1.1\r\nHost: x\r\n' + b'X: 1\r\n' * 101 + b'\r\n',
                 b'GET /health HTTP/1.1\r\nHost: x\r\n' + b'X: 1\r\n' * 100000 + b'\r\n']:
        check_error(send(fake, data), 431, 'header_too_large')
    check_error(send(fake, b'GET /' + b'a' * 5000 + b' HTTP/1.1\r\nHost: x\r\n\r\n'), 414)
    answer = send(fake, b'GET /' + b'a' * 1000000 + b' HTTP/1.1\r\nHost: x\r\n\r\n')
    check_error(answer, answer[0])
    assert answer[0] in (414, 431)  # whichever limit the first piece that arrives exceeds
    with fake.connect() as s:  # just below
        s.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n' + b'X: 1\r\n' * 99 + b'\r\n')
        assert read_response(s)[0] == 200


def test_large_bodies(fake):
    head = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\n'
    check_error(send(fake, head + b'Content-Length: 8388609\r\n\r\n'), 413, 'body_too_large')
    check_error(send(fake, head + b'Content-Length: 922337203685477580\r\n\r\n'), 413)
    # chunked: refused while it arrives; what the client still sends must not break the answer
    with fake.connect() as s:
        s.sendall(head + b'Transfer-Encoding: chunked\r\n\r\n')
        chunk = b'100000\r\n' + b' ' * 0x100000 + b'\r\n'
        for _ in range(9):
            s.sendall(chunk)
        check_error(read_response(s)[0:3:2], 413, 'body_too_large')
    for length, status in [(8388608, 200), (8388609, 413)]:  # the limit itself, and one more
        with fake.connect() as s:
            body = DO + b' ' * (length - len(DO))
            s.sendall(head + b'Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n'
                      % (length, body))
            assert read_response(s)[0] == status
    with fake.connect() as s:  # a legal one of 8 MiB
        body = DO + b' ' * (8388608 - len(DO))
        s.sendall(head + b'Content-Length: 8388608\r\n\r\n' + body)
        assert read_response(s)[0] == 200


def test_chunked_bodies(fake):
    head = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
    one_by_one = b''.join(b'1;ext=1\r\n%c\r\n' % c for c in DO)
    for end in [b'0\r\n\r\n', b'0\r\nX-Trailer: 1\r\nAuthorization: 2\r\n\r\n']:
        with fake.connect() as s:
            s.sendall(head + one_by_one + end + HEALTH)
            status, _, body, rest = read_response(s)
            assert status == 200 and json.loads(body)['choices'][0]['text'] == 'x'
            assert read_response(s, rest)[0] == 200


def test_expect_continue(fake):
    with fake.connect() as s:
        s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n'
                  b'Content-Length: %d\r\n\r\n' % len(DO))
        assert read_until(s, b'\r\n\r\n') == b'HTTP/1.1 100 Continue\r\n\r\n'
        s.sendall(DO)
        assert read_response(s)[0] == 200


def test_byte_by_byte(fake):
    data = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(DO), DO)
    with fake.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            s.sendall(data[i:i + 1])
        assert read_response(s)[0] == 200


def test_pipelining(fake):
    with fake.connect() as s:
        post = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(DO), DO)
        s.sendall((post + HEALTH) * 20 + b'GET /nope HTTP/1.1\r\nHost: x\r\n\r\n' + HEALTH)
        rest = b''
        for _ in range(20):
            status, _, body, rest = read_response(s, rest)
            assert status == 200 and b'text_completion' in body
            status, _, body, rest = read_response(s, rest)
            assert status == 200 and body == b'{"status":"ok"}'
        assert read_response(s, rest)[0] == 404


def test_thousands_of_pipelined_requests(fake):
    count = 5000
    with fake.connect() as s:
        s.sendall(HEALTH * count)
        data = b''
        while data.count(b'{"status":"ok"}') < count:
            piece = s.recv(65536)
            assert piece
            data += piece


def test_requests_without_reading(fake):
    """A client that pipelines and never reads is held back, not buffered for."""
    with fake.connect(receive_buffer=4096) as s:
        s.settimeout(1)
        sent = 0
        with pytest.raises(socket.timeout):
            while sent < 1 << 26:
                sent += s.send(b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' * 1000)
        assert fake.get('/health')[0] == 200


def test_connection_header(fake):
    with fake.connect() as s:
        s.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' + HEALTH)
        assert read_all(s).count(b'200 OK') == 1
    with fake.connect() as s:
        s.sendall(b'GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n' * 2)
        status, headers, _, rest = read_response(s)
        assert status == 200 and headers['connection'] == 'keep-alive'
        assert read_response(s, rest)[0] == 200
    for extra in [b'Upgrade: h2c\r\nConnection: Upgrade\r\n', b'Upgrade: websocket\r\nConnection: Upgrade\r\n']:
        with fake.connect() as s:
            s.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n' + extra + b'\r\nbinary\x00')
            assert read_all(s).startswith(b'HTTP/1.1 200 OK')
    for method in [b'CONNECT x:1', b'TRACE /health', b'OPTIONS *', b'OPTIONS /health', b'PATCH /v1/models']:
        with fake.connect() as s:
            s.sendall(method + b' HTTP/1.1\r\nHost: x\r\n\r\n')
            got, _, body, _ = read_response(s)
            check_error((got, body), got)
            assert got in (404, 405)


def test_stream_for_http_1_0(fake):
    body = b'{"prompt":"do:say:abc","stream":true}'
    with fake.connect() as s:
        s.sendall(b'POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
        text = read_all(s)
    assert b'Transfer-Encoding' not in text and text.endswith(b'data: [DONE]\n\n')


def test_streams_one_after_another(fake):
    body = b'{"prompt":"do:say:abc","stream":true}'
    post = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)
    with fake.connect() as s:
        data = b''
        for _ in range(5):
            s.sendall(post)
            data = read_until(s, b'0\r\n\r\n', data).partition(b'0\r\n\r\n')[2]
        s.sendall(post + post)
        while data.count(b'[DONE]') < 2:
            data += s.recv(65536)


def test_early_close(fake):
    request = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(DO), DO)
    for n in range(0, len(request), 3):
        s = fake.connect()
        s.sendall(request[:n])
        s.close()
    for n in range(0, len(request), 3):  # with a reset
        s = fake.connect()
        s.sendall(request[:n])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        s.close()
    wait_for('connections to go', lambda: fake.metric('q35_connections') == 1)
    assert fake.metric('q35_requests') == 0


def test_end_of_input_after_a_request(fake):
    for data in [HEALTH, HEALTH * 3, HEALTH + b'GET /hea']:
        with fake.connect() as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            assert read_all(s).count(b'200 OK') == data.count(b'/health')


def test_random_requests(fake):
    """Mutations of good requests; the seed is in the failure's message."""
    seed = random.randrange(1 << 32)
    r = random.Random(seed)
    good = [b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(DO), DO),
            b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
            b'3a\r\n{"messages":[{"role":"user","content":"do:say:x"}],"n":2}  \r\n0\r\n\r\n', HEALTH * 3]
    for _ in range(400):
        data = bytearray(r.choice(good))
        for _ in range(r.randrange(1, 6)):
            at = r.randrange(len(data))
            kind = r.randrange(4)
            if kind == 0:
                data[at] = r.randrange(256)
            elif kind == 1:
                del data[at:at + r.randrange(1, 20)]
            elif kind == 2:
                data[at:at] = bytes(r.randrange(256) for _ in range(r.randrange(1, 20)))
            else:
                data[at:at] = data[at:at + r.randrange(1, 40)]
            if not data:
                break
        with fake.connect() as s:
            s.sendall(bytes(data))
            s.shutdown(socket.SHUT_WR)
            try:
                read_all(s)
            except ConnectionResetError:
                pass
        assert fake.process.poll() is None, 'seed %d' % seed
    assert fake.get('/health')[0] == 200


def test_random_json(fake):
    seed = random.randrange(1 << 32)
    r = random.Random(seed)

    def value(depth=0):
        kind = r.randrange(9 if depth < 4 else 6)
        if kind < 3:
            return r.choice([0, 1, -1, 1.5, 2 ** 31, 2 ** 53, -2 ** 63, 1e308, 20, 4096])
        if kind < 6:
            return r.choice([None, True, False, '', 'do:say:x', 'user', 'text', 'fake', '€'])
        if kind < 8:
            return [value(depth + 1) for _ in range(r.randrange(4))]
        return {r.choice(names): value(depth + 1) for _ in range(r.randrange(4))}

    names = ['prompt', 'messages', 'role', 'content', 'n', 'max_tokens', 'stop', 'logprobs', 'type',
             'stream_options', 'include_usage', 'temperature', 'echo', 'model', 'seed', 'top_logprobs']
    for i in range(1000):
        path = r.choice(['/v1/completions', '/v1/chat/completions'])
        body = {'prompt': 'do:say:x', 'messages': [{'role': 'user', 'content': 'do:say:x'}]}
        for _ in range(r.randrange(1, 5)):
            body[r.choice(names)] = value()
        body.pop('stream', None)
        status, answer = fake.post(path, body)
        assert status in (200, 400, 404, 429), 'seed %d: %s' % (seed, body)
        if status != 200:
            check_error((status, answer), status)
