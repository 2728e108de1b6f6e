# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Many clients, slow clients, clients that leave."""
import json
import resource
import socket
import threading

import pytest

from daemon import check_error, events, read_all, read_response, read_until, wait_for

COMPLETIONS = '/v1/completions'


def idle(d):
    wait_for('an idle engine', lambda: d.metric('q35_requests_running') == 0
             and d.metric('q35_requests_waiting') == 0 and d.metric('q35_requests') == 0)


def test_requests_at_once_equal_requests_alone(fake):
    bodies = [{'prompt': 'letters %d' % i, 'max_tokens': 40, 'seed': i} for i in range(12)]
    alone = [fake.post(COMPLETIONS, b)[1]['choices'][0]['text'] for b in bodies]
    together = [None] * len(bodies)

    def one(i):
        if i % 2:
            together[i] = fake.post(COMPLETIONS, bodies[i])[1]['choices'][0]['text']
        else:
            raw = fake.request('POST', COMPLETIONS, {**bodies[i], 'stream': True})[2]
            together[i] = ''.join(p['choices'][0]['text'] for p in events(raw))
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(bodies))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert together == alone


@pytest.mark.parametrize('prompt', ['do:hang:ab', 'do:slow:abcdefghijklmnopqrstuvwxyz'])
@pytest.mark.parametrize('stream', [False, True])
def test_a_client_that_leaves_is_cancelled(fake, prompt, stream):
    before = fake.metric('q35_choices_total{finish="cancelled"}')
    s = fake.connect()
    text = json.dumps({'prompt': prompt, 'max_tokens': 50, 'stream': stream, 'n': 2}).encode()
    s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
              % (len(text), text))
    if stream:
        read_until(s, b'"b"')
    else:
        wait_for('two choices', lambda: fake.metric('q35_requests_running') == 2)
    s.close()
    idle(fake)
    assert fake.metric('q35_choices_total{finish="cancelled"}') == before + 2


def test_a_client_that_leaves_the_queue(fake):
    busy = [fake.open_stream(COMPLETIONS, {'prompt': 'do:hang:a'}) for _ in range(4)]
    for s in busy:
        read_until(s, b'"a"')
    waiting = fake.open_stream(COMPLETIONS, {'prompt': 'do:say:never'})
    wait_for('a queue', lambda: fake.metric('q35_requests_waiting') == 1)
    waiting.close()
    wait_for('no queue', lambda: fake.metric('q35_requests_waiting') == 0)
    for s in busy:
        s.close()
    idle(fake)


def test_a_client_that_leaves_during_parsing(fake):
    text = json.dumps({'prompt': 'do:hang:' + 'x' * 2000000}).encode()
    for _ in range(20):
        s = fake.connect()
        s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
                  % (len(text), text))
        s.close()
    idle(fake)


def test_full_queue(start):
    d = start('max_queue = 3')
    busy = [d.open_stream(COMPLETIONS, {'prompt': 'do:hang:a'}) for _ in range(4)]
    for s in busy:
        read_until(s, b'"a"')
    waiting = [d.open_stream(COMPLETIONS, {'prompt': 'do:hang:later'}) for _ in range(3)]
    wait_for('a full queue', lambda: d.metric('q35_requests_waiting') == 3)
    for stream in [False, True]:
        status, headers, text = d.request('POST', COMPLETIONS, {'prompt': 'x', 'stream': stream})
        error = check_error((status, text), 429, 'queue_full')
        assert error['type'] == 'rate_limit_error' and 1 <= int(headers['Retry-After']) <= 60
    assert d.metric('q35_rejected_total{reason="queue_full"}') == 2
    assert d.get('/health')[0] == 200 and d.get('/ready')[0] == 200
    # a request of several choices goes in whole or not at all
    waiting.pop().close()
    wait_for('room', lambda: d.metric('q35_requests_waiting') == 2)
    check_error(d.complete('do:hang:b', n=3), 429, 'queue_full')
    wait_for('its parts to leave', lambda: d.metric('q35_requests_waiting') == 2)
    for s in busy:
        s.close()
    for s in waiting:
        read_until(s, b'"r"')
        s.close()
    idle(d)
    assert d.stop() == 0


def test_a_reader_that_stalls_is_dropped(start):
    d = start(context=1 << 20)
    s = d.open_stream(COMPLETIONS, {'prompt': 'x', 'max_tokens': 1000000}, receive_buffer=4096)
    wait_for('the drop', lambda: d.metric('q35_stalled_readers_total') == 1)
    idle(d)
    assert d.metric('q35_choices_total{finish="cancelled"}') == 1
    # an event has over 150 bytes: what was kept for the reader, by us and the kernel, is bounded
    assert d.metric('q35_output_tokens_total') * 150 < 8 << 20
    s.close()
    assert d.stop() == 0


def test_a_reader_that_stalls_for_long(start):
    """Little is unsent, but nothing moves for stall_seconds."""
    d = start('stall_seconds = 1', context=65536)
    s = d.connect(receive_buffer=4096)
    body = json.dumps({'prompt': 'x', 'n': 25, 'max_tokens': 900, 'logprobs': 20}).encode()
    s.sendall((b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
               % (len(body), body)))
    wait_for('the drop', lambda: d.metric('q35_stalled_readers_total') == 1)
    s.close()
    idle(d)
    assert d.stop() == 0


def test_silent_streams_show_life(start):
    d = start('stall_seconds = 1')
    s = d.open_stream(COMPLETIONS, {'prompt': 'do:hang:ab'})
    data = read_until(s, b': still here\n\n', read_until(s, b'"b"'))
    read_until(s, b': still here\n\n', data.partition(b': still here\n\n')[2])
    s.close()
    idle(d)
    assert d.stop() == 0


def test_slow_headers_and_bodies(start):
    d = start('header_seconds = 1\nbody_seconds = 1\nidle_seconds = 1')
    silent, slow, body, kept = d.connect(), d.connect(), d.connect(), d.connect()
    slow.sendall(b'GET /health HTTP/1.1\r\nHost: ')
    body.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{')
    kept.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
    assert read_response(kept)[0] == 200
    assert read_all(silent) == b'' and read_all(kept) == b''
    for s in [slow, body]:
        status, headers, text, _ = read_response(s)
        check_error((status, text), 408, 'request_timeout')
        assert headers['connection'] == 'close'
    assert d.stop() == 0


def test_a_trickle_does_not_extend_the_deadline(start):
    d = start('header_seconds = 1')
    s = d.connect()
    s.settimeout(0.05)
    s.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n')
    data = b''
    for _ in range(2400):
        try:
            s.sendall(b'X: 1\r\n'[:1])
            data += s.recv(65536)
        except socket.timeout:
            continue
        break
    assert b'408 Request Timeout' in data
    assert d.stop() == 0


def test_a_thousand_slow_sockets(start):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1100:
        pytest.skip('only %d file descriptors' % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
    d = start('header_seconds = 600')
    slow = []
    for i in range(1000):
        s = d.connect()
        s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Slow: '[:i % 60])
        slow.append(s)
    wait_for('all of them', lambda: d.metric('q35_connections') == 1001)
    for i in range(100):
        assert d.get('/health') == (200, '{"status":"ok"}')
        slow[i].sendall(b'a')
    assert d.complete('do:say:fine', max_tokens=9)[1]['choices'][0]['text'] == 'fine'
    for s in slow:
        s.close()
    wait_for('all of them to go', lambda: d.metric('q35_connections') == 1)
    assert d.stop() == 0


def test_health_while_everything_is_busy(start):
    d = start('max_queue = 8')
    held = [d.open_stream(COMPLETIONS, {'prompt': 'do:hang:a'}) for _ in range(12)]
    long = json.dumps({'prompt': 'y' * 4000000}).encode()
    for _ in range(8):
        s = d.connect()
        s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
                  % (len(long), long))
        held.append(s)
    for _ in range(50):
        assert d.get('/health')[0] == 200
    assert d.get('/metrics')[0] == 200
    for s in held[12:]:
        status, _, text, _ = read_response(s)
        check_error((status, text), 400, 'context_length_exceeded')
    for s in held:
        s.close()
    idle(d)
    assert d.stop() == 0


def test_connection_limit(start):
    d = start('max_connections = 5')
    idle_ones = [d.connect() for _ in range(4)]
    # a newcomer takes the place of the one that has been idle longest
    assert [d.get('/health')[0] for _ in range(10)] == [200] * 10
    # when all are busy it is told so
    busy = []
    while len(busy) < 5:
        s = d.open_stream(COMPLETIONS, {'prompt': 'do:hang:a'})
        if b'200 OK' in read_until(s, b'\r\n\r\n'):
            busy.append(s)
    with d.connect() as s:
        status, headers, text, _ = read_response(s)
        check_error((status, text), 503, 'too_many_connections')
        assert headers['retry-after'] == '1'
    for s in busy + idle_ones:
        s.close()
    wait_for('room', lambda: d.get('/health')[0] == 200)
    idle(d)
    assert d.stop() == 0


def test_memory_of_bodies_is_bounded(start):
    """Unfinished bodies of all connections together have a limit."""
    d = start('max_body_kib = 64')
    held = []
    refused = 0
    for _ in range(20):
        s = d.connect()
        s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n'
                  + b' ' * 65535)
        held.append(s)
    wait_for('refusals', lambda: d.metric('q35_rejected_total{reason="memory"}') == 4)
    for s in held:
        s.setblocking(False)
        try:
            refused += b'503 Service' in s.recv(65536)
        except BlockingIOError:
            pass
        s.close()
    assert refused == 4
    wait_for('all to go', lambda: d.metric('q35_connections') == 1)
    assert d.complete('do:say:x')[0] == 200
    assert d.stop() == 0


def test_many_short_requests(fake):
    errors = []

    def client(k):
        with fake.connect() as s:
            for i in range(50):
                body = b'{"prompt":"do:say:%d","stream":%s}' % (i, b'true' if i % 3 == 0 else b'false')
                s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
                          % (len(body), body))
                if i % 3 == 0:
                    data = read_until(s, b'0\r\n\r\n')
                    if b'[DONE]' not in data:
                        errors.append(data)
                else:
                    status, _, data, _ = read_response(s)
                    if status != 200 or json.loads(data)['choices'][0]['text'] != str(i):
                        errors.append(data)
    threads = [threading.Thread(target=client, args=(k,)) for k in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    idle(fake)
