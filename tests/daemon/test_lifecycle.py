# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Starting, testing a configuration, reloading, draining."""
import json
import os
import signal
import socket
import subprocess

import pytest

from daemon import INI, check_error, events, read_all, read_until, wait_for


def run(tmp_path, *args, ini=None):
    if ini is not None:
        (tmp_path / 'x.ini').write_text(ini)
        args = ('-c', str(tmp_path / 'x.ini')) + args
    p = subprocess.run([os.environ['Q35D_FAKE'], *args], capture_output=True, text=True, timeout=120)
    assert 'Sanitizer' not in p.stderr, p.stderr
    return p


def fill(q35d=''):
    return INI.format(q35d=q35d, context=4096, sequences=4, backend='', level='info')


def test_command_line(tmp_path):
    assert run(tmp_path, '--help').stdout.startswith('usage: q35d -c FILE')
    assert run(tmp_path, '--version').stdout.startswith('q35d ')
    for args in [(), ('-t',), ('--nope',), ('-c',), ('-c', 'a', 'b')]:
        assert run(tmp_path, *args).returncode == 2
    missing = run(tmp_path, '-c', str(tmp_path / 'missing.ini'))
    assert missing.returncode == 1 and 'missing.ini' in missing.stderr


@pytest.mark.parametrize('q35d, message', [
    ('header_seconds = 0', 'x.ini:4'), ('nope = 1', 'nope'), ('host = somewhere', "'somewhere'"),
    ('cors_origins = nonsense', "'nonsense'"), ('api_key_file = missing', 'missing'),
    ('api_key_file = empty', 'no API key'), ('api_key_file = bad', 'bad:2'), ('max_queue = 0', 'max_queue')])
def test_bad_configurations(tmp_path, q35d, message):
    (tmp_path / 'empty').write_text('# none\n\n')
    (tmp_path / 'bad').write_text('good\ntwo words\n')
    for args in [('-t',), ()]:
        p = run(tmp_path, *args, ini=fill(q35d))
        assert p.returncode == 1 and message in p.stderr, p.stderr


def test_good_configuration(tmp_path):
    p = run(tmp_path, '-t', ini=fill('host = 127.0.0.1'))
    assert p.returncode == 0 and 'is fine' in p.stderr
    p = run(tmp_path, '-t', ini=fill('host = 0.0.0.0'))
    assert p.returncode == 0 and 'api_key_file is not set' in p.stderr


def test_port_taken(start, tmp_path):
    d = start()
    p = run(tmp_path, ini=fill().replace('port = 0', 'port = %d' % d.port))
    assert p.returncode == 1 and 'address already in use' in p.stderr
    assert d.stop() == 0


def test_loading(start, tmp_path):
    gate = tmp_path / 'gate'
    d = start(env={'Q35_FAKE_LOAD': str(gate)}, wait_ready=False)
    assert d.get('/health')[0] == 200
    check_error(d.get('/ready'), 503, 'loading')
    check_error(d.complete('x'), 503, 'loading')
    assert json.loads(d.get('/v1/models')[1])['data'] == []
    assert d.metric('q35_ready') == 0
    assert d.get('/q35/status')[0] == 200
    gate.write_text('go')
    wait_for('readiness', lambda: d.get('/ready')[0] == 200)
    assert d.complete('do:say:x')[0] == 200
    assert d.stop() == 0


def test_loading_fails(start, tmp_path):
    gate = tmp_path / 'gate'
    d = start(env={'Q35_FAKE_LOAD': str(gate)}, wait_ready=False)
    gate.write_text('fail')
    assert d.wait() == 1
    assert 'loading was told to fail' in d.log()


def test_terminated_while_loading(start, tmp_path):
    gate = tmp_path / 'gate'
    d = start(env={'Q35_FAKE_LOAD': str(gate)}, wait_ready=False)
    d.signal(signal.SIGTERM)
    d.wait_log('draining')
    gate.write_text('go')
    assert d.wait() == 0
    d = start(env={'Q35_FAKE_LOAD': str(tmp_path / 'never')}, wait_ready=False)
    d.signal(signal.SIGTERM)
    d.wait_log('draining')
    d.signal(signal.SIGTERM)
    assert d.wait() == 1


def test_no_device(start, tmp_path):
    lost = tmp_path / 'lost'
    d = start(env={'Q35_FAKE_LOST': str(lost)})
    lost.write_text('')
    check_error(d.get('/ready'), 503, 'no_device')
    assert d.get('/health')[0] == 200
    status, headers, text = d.request('POST', '/v1/completions', {'prompt': 'x'})
    check_error((status, text), 503, 'no_device')
    assert int(headers['Retry-After']) > 0
    lost.unlink()
    assert d.get('/ready')[0] == 200
    assert d.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_drain_finishes_streams(start, number):
    d = start()
    text = 'abcdefghij' * 3
    s = d.open_stream('/v1/completions', {'prompt': 'do:slow:' + text, 'max_tokens': 50})
    idle = d.connect()
    busy = d.connect()
    data = read_until(s, b'"a"')
    busy.sendall(b'GET /hea')  # a request half sent may still arrive
    wait_for('the connections', lambda: d.metric('q35_connections') == 4)
    d.signal(number)
    d.wait_log('draining')
    assert idle.recv(1) == b''  # closed: nothing was asked on it
    with pytest.raises(OSError):
        d.connect()
    busy.sendall(b'lth HTTP/1.1\r\nHost: x\r\n\r\n')
    answer = read_all(busy)
    assert b'200 OK' in answer and b'Connection: close' in answer
    data += read_all(s)
    body = data.decode().split('\r\n\r\n', 1)[1]
    got = ''.join(json.loads(line[6:])['choices'][0]['text'] for line in body.split('\n')
                  if line.startswith('data: {'))
    assert got == text and '[DONE]' in body
    assert d.wait() == 0


def test_new_work_is_refused_while_draining(start):
    d = start()
    s = d.open_stream('/v1/completions', {'prompt': 'do:hang:a'})
    data = read_until(s, b'"a"')
    other = d.connect()
    other.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{"prompt":')
    ready = d.connect()
    ready.sendall(b'GET /rea')
    wait_for('the connections', lambda: d.metric('q35_connections') == 4)
    d.signal(signal.SIGTERM)
    d.wait_log('draining')
    other.sendall(b'"x"}')
    assert b'shutting_down' in read_all(other)
    ready.sendall(b'dy HTTP/1.1\r\nHost: x\r\n\r\n')
    assert b'503 Service' in read_all(ready)
    s.close()  # the last request leaves: done
    assert d.wait() == 0


def test_second_signal_cuts_off(start):
    d = start()
    s = d.open_stream('/v1/completions', {'prompt': 'do:hang:abc'})
    data = read_until(s, b'"c"')
    waiting = d.connect()
    waiting.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n'
                    b'{"prompt":"do:hang:"}')
    wait_for('two requests', lambda: d.metric('q35_requests') == 2)
    d.signal(signal.SIGTERM)
    d.wait_log('draining: 2 requests')
    d.signal(signal.SIGTERM)
    data = (data + read_all(s)).decode()
    assert 'shutting_down' in data and '[DONE]' in data
    assert b'shutting_down' in read_all(waiting)
    assert d.wait() == 3
    assert '2 requests were cut off' in d.log()


def test_drain_has_an_end(start):
    d = start('drain_seconds = 1')
    s = d.open_stream('/v1/completions', {'prompt': 'do:hang:abc'})
    read_until(s, b'"c"')
    d.signal(signal.SIGTERM)
    assert d.wait() == 3
    assert 'drain_seconds are over' in d.log()


def test_reload(start, tmp_path):
    keys = tmp_path / 'keys'
    keys.write_text('old-key\n')
    d = start('api_key_file = %s' % keys)

    def authorized(key):
        return d.get('/v1/models', {'Authorization': 'Bearer ' + key})[0] == 200
    assert authorized('old-key') and not authorized('new-key')
    s = d.connect()  # what is open stays open
    keys.write_text('new-key\n')
    d.signal(signal.SIGHUP)
    d.wait_log('configuration reloaded')
    assert authorized('new-key') and not authorized('old-key')
    s.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
    read_until(s, b'"ok"')
    # bad configurations change nothing
    good = d.ini.read_text()
    for text, message in [(good + '[nope]\n', 'nope'), (good.replace('log_level = info', 'log_level = 7'),
                                                        'log_level'), ('', 'q35d.ini'),
                          (good.replace('port = 0', 'port = 0\nhost = nonsense'), 'nonsense')]:
        d.ini.write_text(text)
        d.signal(signal.SIGHUP)
        d.wait_log('reload: .*' + message + '.*the old configuration stays')
        assert authorized('new-key')
    keys.write_text('')
    d.ini.write_text(good)
    d.signal(signal.SIGHUP)
    d.wait_log('reload: .*keys.*the old configuration stays')
    assert authorized('new-key')
    # keys that a reload cannot apply are named
    keys.write_text('third-key\n')
    d.ini.write_text(good.replace('port = 0', 'port = 1') + 'max_batch = 7\n')
    d.signal(signal.SIGHUP)
    d.wait_log(r'only a restart applies: \[q35d\] port, \[schedule\] max_batch')
    assert authorized('third-key')
    # limits apply at once
    d.ini.write_text(good.replace('[model]', 'max_body_kib = 1\n[model]').replace('api_key_file', '; '))
    d.signal(signal.SIGHUP)
    wait_for('the limit', lambda: d.complete('x' * 2000)[0] == 413)
    assert d.stop() == 0


def test_reload_under_load(start):
    d = start()
    streams = [d.open_stream('/v1/completions', {'prompt': 'do:slow:abcdefghij', 'max_tokens': 50})
               for _ in range(4)]
    for _ in range(5):
        d.signal(signal.SIGHUP)
        assert d.get('/health')[0] == 200
    for s in streams:
        data = read_until(s, b'[DONE]').decode()
        assert ''.join(p['choices'][0]['text'] for p in
                       events(data.split('\r\n\r\n', 1)[1])) == 'abcdefghij'
    assert d.stop() == 0


def test_systemd_notify(start, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / 'notify'))
        s.settimeout(120)
        gate = tmp_path / 'gate'
        d = start(env={'NOTIFY_SOCKET': str(tmp_path / 'notify'), 'Q35_FAKE_LOAD': str(gate),
                       'WATCHDOG_USEC': '1000000'},
                  wait_ready=False)
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.recv(100)  # not before the model is loaded
        s.settimeout(120)
        gate.write_text('go')
        assert s.recv(100) == b'READY=1'
        assert s.recv(100) == b'WATCHDOG=1'
        d.signal(signal.SIGHUP)
        said = [next_state(s) for _ in range(2)]
        assert said[0].startswith(b'RELOADING=1\nMONOTONIC_USEC=') and said[1] == b'READY=1'
        d.signal(signal.SIGTERM)
        assert next_state(s) == b'STOPPING=1'
        assert d.wait() == 0


def next_state(s):
    """What systemd is told next, but for life signs."""
    while True:
        text = s.recv(100)
        if text != b'WATCHDOG=1':
            return text


def test_a_device_that_never_returns(start, tmp_path):
    """Without isolate = process its thread is lost: that shows, and nothing waits for it for ever."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / 'notify'))
        d = start('drain_seconds = 1', backend='hang_seconds = 1', env={
            'NOTIFY_SOCKET': str(tmp_path / 'notify'), 'WATCHDOG_USEC': '400000'})
        stuck = d.open_stream('/v1/completions', {'prompt': 'do:stuck:a'})
        read_until(stuck, b'"a"')
        wait_for('503', lambda: d.get('/ready')[0] == 503)
        check_error(d.get('/ready'), 503, 'device_hangs')
        assert d.get('/health')[0] == 200
        assert json.loads(d.get('/q35/status')[1])['ready'] is False
        assert d.metric('q35_ready') == 0
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                s.recv(100)
        s.settimeout(1.5)
        with pytest.raises(TimeoutError):  # systemd may restart it now
            s.recv(100)
        d.signal(signal.SIGTERM)
        assert d.wait() == 3
        assert 'does not return' in d.log() and '/ready 503' not in d.log()
        stuck.close()


def test_socket_activation(start):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        port = s.getsockname()[1]

        def child():
            os.dup2(s.fileno(), 3)
        # LISTEN_PID must be the child's own: let a shell set it
        prefix = ['sh', '-c', 'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@"', 'sh']
        d = start(prefix=prefix, pass_fds=(3, s.fileno()), preexec=child)
    assert d.port == port
    assert d.complete('do:say:x')[0] == 200
    assert d.stop() == 0
