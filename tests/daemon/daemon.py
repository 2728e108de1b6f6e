# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Starts a daemon on a free port and talks to it; raw sockets and plain HTTP."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

DEADLINE = 120  # seconds after which something that should happen has not

INI = """[q35d]
port = 0
log_level = {level}
{q35d}
[model]
path = model.gguf
name = fake
context = {context}
[backend none]
path = none.so
{backend}
[schedule]
max_sequences = {sequences}
"""


def wait_for(what, condition):
    """Polls until condition() is true; its value."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError('waited in vain for ' + what)


class Daemon:
    """A running daemon. ini: text of its configuration, kept in folder/q35d.ini."""

    def __init__(self, folder, program, ini, env=None, wait_ready=True, pass_fds=(), preexec=None,
                 prefix=(), journal=False):
        self.folder = folder
        self.ini = folder / 'q35d.ini'
        self.ini.write_text(ini)
        self.log_path = folder / 'log'
        self.log_file = open(self.log_path, 'wb')
        if journal:  # as systemd would say it
            info = os.fstat(self.log_file.fileno())
            env = {**(env or {}), 'JOURNAL_STREAM': '%d:%d' % (info.st_dev, info.st_ino)}
        self.process = subprocess.Popen([*prefix, program, '-c', str(self.ini)], stderr=self.log_file,
                                        stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})},
                                        pass_fds=pass_fds, preexec_fn=preexec)
        try:
            self.port = int(self.wait_log(r'listening on https?://[^ ]*:(\d+)\n').group(1))
            if wait_ready:
                wait_for('readiness', lambda: self.get('/ready')[0] == 200)
        except BaseException:
            self.kill()
            raise

    def log(self):
        return self.log_path.read_text(errors='replace')

    def wait_log(self, pattern):
        def look():
            found = re.search(pattern, self.log())
            assert found or self.process.poll() is None, 'it ended:\n' + self.log()
            return found
        return wait_for('log line ' + pattern, look)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Exit status; also checks that no sanitizer complained."""
        status = self.process.wait(DEADLINE)
        self.log_file.close()
        text = self.log()
        assert 'Sanitizer' not in text and 'runtime error' not in text, text
        return status

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log_file.close()

    # ---- HTTP ----

    def connect(self, receive_buffer=None):
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(DEADLINE)
        s.connect(('127.0.0.1', self.port))
        return s

    def request(self, method, path, body=None, headers=None):
        """(status, headers, text)"""
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=DEADLINE)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.headers, r.read().decode()
        finally:
            c.close()

    def get(self, path, headers=None):
        status, _, text = self.request('GET', path, headers=headers)
        return status, text

    def post(self, path, body, headers=None):
        """(status, decoded JSON)"""
        status, _, text = self.request('POST', path, body, headers)
        return status, json.loads(text)

    def complete(self, prompt, **fields):
        return self.post('/v1/completions', {'prompt': prompt, **fields})

    def chat(self, content, **fields):
        return self.post('/v1/chat/completions',
                         {'messages': [{'role': 'user', 'content': content}], **fields})

    def metric(self, name):
        text = self.get('/metrics')[1]
        found = re.search('^' + re.escape(name) + r' (\S+)$', text, re.M)
        return float(found.group(1)) if found else None

    def open_stream(self, path, body, receive_buffer=None):
        """A socket on which a streamed request has been sent."""
        s = self.connect(receive_buffer)
        text = json.dumps({**body, 'stream': True}).encode()
        s.sendall(b'POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
                  % (path.encode(), len(text), text))
        return s


def read_all(s):
    """Everything until the peer closes."""
    data = b''
    while True:
        piece = s.recv(65536)
        if not piece:
            return data
        data += piece


def read_until(s, marker, data=b''):
    while marker not in data:
        piece = s.recv(65536)
        assert piece, 'closed before %r: %r' % (marker, data)
        data += piece
    return data


def read_response(s, data=b''):
    """(status, headers, body, rest) of one answer with Content-Length."""
    data = read_until(s, b'\r\n\r\n', data)
    head, _, rest = data.partition(b'\r\n\r\n')
    lines = head.decode().split('\r\n')
    headers = {k.lower(): v for k, v in (line.split(': ', 1) for line in lines[1:])}
    length = int(headers.get('content-length', 0))
    while len(rest) < length:
        piece = s.recv(65536)
        assert piece, 'closed inside a body'
        rest += piece
    return int(lines[0].split()[1]), headers, rest[:length], rest[length:]


def events(text):
    """The data of server-sent events."""
    found = [line[6:] for line in text.split('\n') if line.startswith('data: ')]
    assert found and found[-1] == '[DONE]', text
    return [json.loads(x) for x in found[:-1]]


def check_error(answer, status, code=None, param=None):
    """The error object, complete and of the right types."""
    got, body = answer
    assert got == status, (got, body)
    if isinstance(body, (str, bytes)):
        body = json.loads(body)
    error = body['error']
    assert set(error) == {'message', 'type', 'param', 'code'}, error
    assert isinstance(error['message'], str) and error['message']
    assert isinstance(error['type'], str)
    if code:
        assert error['code'] == code, error
    if param:
        assert error['param'] == param, error
    return error
