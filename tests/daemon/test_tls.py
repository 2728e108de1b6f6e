# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""HTTPS by the daemon itself: real clients, bad certificates, slow and broken handshakes, reload."""
import http.client
import json
import signal
import socket
import ssl
import subprocess

import openai
import pytest

from daemon import check_error, events, wait_for


def make(folder, name, *extra):
    """A self-signed certificate for 127.0.0.1: NAME.pem and NAME.key."""
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                    '-subj', '/CN=' + name, '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2',
                    '-keyout', name + '.key', '-out', name + '.pem', *(extra or ['-nodes'])],
                   cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope='module')
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('certs')
    make(folder, 'one')
    make(folder, 'two')
    make(folder, 'secret', '-passout', 'pass:word')
    (folder / 'garbage.pem').write_text('not a certificate\n')
    return folder


def keys(certs, cert='one', key=None):
    return 'tls_cert = %s/%s.pem\ntls_key = %s/%s.key\n' % (certs, cert, certs, key or cert)


@pytest.fixture
def secure(start, certs):
    return lambda q35d='', **options: start(keys(certs) + q35d, wait_ready=False, **options)


def client(d, certs, name='one', timeout=120):
    """An HTTPS connection that trusts this certificate alone."""
    context = ssl.create_default_context(cafile=str(certs / (name + '.pem')))
    return http.client.HTTPSConnection('127.0.0.1', d.port, timeout=timeout, context=context)


def call(c, method, path, body=None):
    c.request(method, path, json.dumps(body) if body else None)
    r = c.getresponse()
    return r.status, r.read().decode()


def ready(d, certs, name='one'):
    wait_for('readiness', lambda: call(client(d, certs, name), 'GET', '/ready')[0] == 200)


def test_requests(secure, certs):
    d = secure()
    ready(d, certs)
    assert 'listening on https://' in d.log()
    c = client(d, certs)
    for i in range(20):  # one connection
        status, text = call(c, 'POST', '/v1/completions', {'prompt': 'do:say:%d' % i})
        assert status == 200 and json.loads(text)['choices'][0]['text'] == str(i)
    status, text = call(c, 'POST', '/v1/completions', {'prompt': 'do:say:abc', 'stream': True})
    assert ''.join(e['choices'][0]['text'] for e in events(text)) == 'abc'
    # larger than records and socket buffers, both ways
    body = {'prompt': 'x' * 2000000, 'echo': True, 'max_tokens': 1}
    status, text = call(c, 'POST', '/v1/completions', body)
    check_error((status, text), 400, 'context_length_exceeded')
    status, text = call(c, 'POST', '/v1/completions',
                        {'prompt': 'letters', 'max_tokens': 3000, 'logprobs': 20, 'seed': 1})
    assert status == 200 and len(json.loads(text)['choices'][0]['logprobs']['tokens']) == 3000
    assert len(text) > 500000
    check_error(call(c, 'GET', '/nothing'), 404)
    assert d.stop() == 0


def test_openai_and_curl(secure, certs, monkeypatch):
    d = secure()
    ready(d, certs)
    monkeypatch.setenv('SSL_CERT_FILE', str(certs / 'one.pem'))
    with openai.OpenAI(base_url='https://127.0.0.1:%d/v1' % d.port, api_key='x') as o:
        r = o.chat.completions.create(model='fake', stream=True,
                                      messages=[{'role': 'user', 'content': 'do:say:hello'}])
        assert ''.join(p.choices[0].delta.content or '' for p in r) == 'hello'
    p = subprocess.run(['curl', '-sS', '--cacert', str(certs / 'one.pem'), '-w', '%{http_version}',
                        'https://127.0.0.1:%d/health' % d.port], capture_output=True, text=True)
    assert p.stdout == '{"status":"ok"}1.1', p.stderr
    assert d.stop() == 0


def test_the_end_is_said(secure, certs):
    """An answer that ends with its connection cannot be cut short unnoticed."""
    d = secure()
    ready(d, certs)
    context = ssl.create_default_context(cafile=str(certs / 'one.pem'))
    with context.wrap_socket(d.connect(), server_hostname='127.0.0.1',
                             suppress_ragged_eofs=False) as s:
        s.sendall(b'GET /health HTTP/1.0\r\n\r\n')
        data = b''
        while True:
            piece = s.recv(1000)  # raises at an end that was not announced
            if not piece:
                break
            data += piece
    assert data.endswith(b'{"status":"ok"}')
    assert d.stop() == 0


def test_old_versions_are_refused(secure, certs):
    d = secure()
    ready(d, certs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers('ALL:@SECLEVEL=0')
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(d.connect()).close()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.wrap_socket(d.connect()).close()
    assert d.stop() == 0


def test_plain_http_is_told(secure, certs):
    d = secure()
    ready(d, certs)
    assert d.request('GET', '/health')[0] == 400
    check_error(d.post('/v1/completions', {'prompt': 'x'}), 400, 'https_needed')
    assert d.stop() == 0


def test_broken_handshakes(secure, certs):
    d = secure('header_seconds = 1')
    ready(d, certs)
    hello = bytearray()

    class Record:  # what a client says first
        def __init__(self):
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            o = ssl._create_unverified_context().wrap_bio(self.incoming, self.outgoing)
            with pytest.raises(ssl.SSLWantReadError):
                o.do_handshake()
            hello.extend(self.outgoing.read())
    Record()

    def closed(s):
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
        s.close()

    for data in [b'\x00' * 100, b'\x16\x03\x01\xff\xff' + b'x' * 70000, bytes(range(256)) * 20,
                 bytes(hello) + b'garbage' * 10, b'\r\n\r\n', b'\x80\x2e\x01\x03\x01']:
        s = d.connect()
        try:
            s.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass
        closed(s)
    # neither silence nor a trickle keeps a connection beyond header_seconds
    silent, half = d.connect(), d.connect()
    half.sendall(bytes(hello[:len(hello) // 2]))
    closed(silent)
    closed(half)
    s = d.connect()
    s.settimeout(0.1)
    for byte in bytes(hello[:200]):
        try:
            s.send(bytes([byte]))
            if s.recv(100) == b'':
                break
        except socket.timeout:
            pass
        except (ConnectionResetError, BrokenPipeError):
            break
    else:
        pytest.fail('a slow handshake was never cut')
    assert call(client(d, certs), 'GET', '/health')[0] == 200
    text = call(client(d, certs), 'GET', '/metrics')[1]
    assert int(text.split('q35_rejected_total{reason="tls"} ')[1].split('\n')[0]) >= 4
    wait_for('no connections left', lambda: 'q35_connections 1\n' in
             call(client(d, certs), 'GET', '/metrics')[1])
    assert d.stop() == 0


def test_a_broken_record_ends_the_connection(secure, certs):
    d = secure()
    ready(d, certs)
    context = ssl.create_default_context(cafile=str(certs / 'one.pem'))
    raw = d.connect()
    s = context.wrap_socket(raw, server_hostname='127.0.0.1')
    body = json.dumps({'prompt': 'do:hang:ab', 'stream': True})
    s.sendall(('POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
               % (len(body), body)).encode())
    s.recv(100)
    fd = s.detach()
    plain = socket.socket(fileno=fd)
    plain.sendall(b'\x17\x03\x03\x00\x20' + b'?' * 32)
    wait_for('the cancel', lambda: 'q35_choices_total{finish="cancelled"} 1\n' in
             call(client(d, certs), 'GET', '/metrics')[1])
    plain.close()
    assert d.stop() == 0


@pytest.mark.parametrize('cert, key, message', [
    ('missing', 'one', 'tls_cert: .*missing.pem.*No such file'), ('one', 'missing', 'tls_key: .*missing.key'),
    ('one', 'two', 'tls_key: .*two.key: key values mismatch'), ('garbage', 'one', 'tls_cert: .*garbage.pem: '),
    ('secret', 'secret', 'tls_key: .*secret.key: '), ('one', None, 'tls_key is missing'),
    (None, 'one', 'tls_cert is missing')])
def test_bad_files(start, certs, cert, key, message):
    text = keys(certs).split('\n')
    text[0] = 'tls_cert = %s/%s.pem' % (certs, cert) if cert else ''
    text[1] = 'tls_key = %s/%s.key' % (certs, key) if key else ''
    with pytest.raises(AssertionError, match=message):
        start('\n'.join(text), wait_ready=False)


def test_reload(secure, certs):
    d = secure()
    ready(d, certs)
    old = client(d, certs)
    assert call(old, 'GET', '/health')[0] == 200
    good = d.ini.read_text()
    for bad in [good.replace('one.key', 'two.key'), good.replace('one.pem', 'missing.pem')]:
        d.ini.write_text(bad)
        d.signal(signal.SIGHUP)
        wait_for('the complaint', lambda: d.log().count('the old configuration stays') == 1
                 + (bad.count('missing')))
        assert call(client(d, certs), 'GET', '/health')[0] == 200
    d.ini.write_text(good.replace('one.', 'two.'))
    d.signal(signal.SIGHUP)
    d.wait_log('configuration reloaded')
    assert call(client(d, certs, 'two'), 'GET', '/health')[0] == 200
    with pytest.raises(ssl.SSLError):
        call(client(d, certs, 'one'), 'GET', '/health')
    assert call(old, 'GET', '/health')[0] == 200  # what is open stays
    assert d.stop() == 0


def test_many_at_once(secure, certs):
    """Connections that were accepted and never shake hands do not keep others out."""
    d = secure('max_connections = 50')
    ready(d, certs)
    idle = [d.connect() for _ in range(60)]
    assert call(client(d, certs), 'GET', '/health')[0] == 200
    for s in idle:
        s.close()
    assert d.stop() == 0
