# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""q35 run as a person uses it: one prompt, a conversation by a pipe, a conversation on a terminal.
usage: test_run.py Q35 MODEL"""
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile

q35, model = sys.argv[1:3]
if not os.path.exists(model):
    print("skipped: there is no", model)
    sys.exit(77)
base = [q35, "run", "-m", model, "--temp", "0"]


def run(*args, text=None):
    p = subprocess.run(base + list(args), input=text, capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def refused(words, *args):
    rc, out, err = run(*args)
    assert rc == 2 and out == "" and words in err, (args, rc, out, err)


refused("a prompt is needed")
refused("--json is for one prompt", "--chat", "--json")
refused("--system needs --chat", "-p", "x", "--system", "y")
refused("unknown option --temperature, did you mean --temp?", "--temperature", "1")
refused("unexpected argument 'hello'", "hello")


def failed(words, *args):
    p = subprocess.run([q35, "run", "-p", "x", *args], capture_output=True, text=True, timeout=60)
    assert p.returncode == 1 and p.stdout == "" and p.stderr.startswith("q35 run: " + words), p.stderr


failed("/ is a directory, not a packed model; make one with q35 convert", "-m", "/")
failed("cannot open nope: No such file", "-m", "nope")
failed("required [backend nope]: no such file", "-m", model, "-b", "nope")
failed("there is no plugin ./nope.so", "-m", model, "-b", "./nope.so")

# One message, and the same as the first of a conversation.
hello, more = "Tell me a story about a red fox named Ann.", "And then?"
rc, once, err = run("--chat", "-p", hello)
assert rc == 0 and err == "" and once.endswith("\n") and not once.startswith(" "), (rc, once, err)
doc = json.loads(run("--chat", "-p", hello, "--json")[1])
assert doc["text"] + "\n" == once and len(doc["token_ids"]) == doc["tokens"]
rc, out, err = run("--chat", "-v", text=f"{hello}\n\n{more}\n/clear\n{hello}\n/exit\n{more}\n")
assert rc == 0, err
assert out.startswith(once) and out.endswith(once) and len(out) > 2 * len(once), (once, out)
sizes = [tuple(int(n or 0) for n in x) for x in re.findall(r"^(\d+) prompt tokens(?: \((\d+) of them)?", err, re.M)]
assert len(sizes) == 3, err
assert sizes[1][0] > sizes[0][0] + doc["tokens"], sizes  # it saw the first message and answer,
assert sizes[1][1] >= sizes[0][0] + doc["tokens"] - 2, sizes  # which the KV cache still had
assert sizes[2][0] == sizes[0][0], sizes

# Without -n as much is generated as fits, with it never more than was asked for.
rc, out, err = run("--context", "64", "-p", "a " * 20, "--ignore-eos", "--json")
doc = json.loads(out)
assert rc == 0 and doc["prompt_tokens"] + doc["tokens"] == 64, doc
rc, out, err = run("--context", "64", "-p", "a " * 20, "-n", "60")
assert rc == 1 and "exceed the context of 64" in err, err
rc, out, err = run("--context", "32", "--chat", text="word " * 60 + "\n")
assert rc == 1 and "the context 32; /clear" in err, err

# A model of many positions does not get memory for all of them unasked.
with tempfile.TemporaryDirectory() as tmp:
    with open(model, "rb") as f:
        data = f.read()
    key = b"llama.context_length" + struct.pack("<I", 4)
    assert data.count(key) == 1
    at = data.index(key) + len(key)
    long = os.path.join(tmp, "long.q35.gguf")
    with open(long, "wb") as f:
        f.write(data[:at] + struct.pack("<I", 100000) + data[at + 4:])
    for more, positions in (([], 8192), (["--context", "10000"], 10000)):
        p = subprocess.run([q35, "run", "-m", long, "-p", "x", "-n", "1", "--json", *more],
                           capture_output=True, text=True, timeout=60)
        assert positions <= json.loads(p.stdout)["plan"]["kv_tokens"] < positions + 64, p.stdout

# Nobody reads: it ends, without a word. The disk is full: it says so.
p = subprocess.Popen(base + ["-p", "Once", "--ignore-eos", "-n", "400"], stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE)
p.stdout.read(1)
p.stdout.close()
assert p.stderr.read() == b"" and p.wait(60) == -signal.SIGPIPE, p.returncode
for command in (["--version"], ["--help"], ["run", "--help"], ["inspect", model], ["devices"],
                ["run", "-m", model, "-p", "x", "-n", "1"], ["inspect", model, "--json"]):
    with open("/dev/full", "w") as full:
        p = subprocess.run([q35] + command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert p.returncode == 1 and p.stderr.count("cannot write to standard output") == 1, \
        (command, p.returncode, p.stderr)


class Terminal:
    def __init__(self, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(q35, base + list(args))
        self.seen = b""

    def read(self):
        if not select.select([self.fd], [], [], 60)[0]:
            raise TimeoutError(self.seen)
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            data = b""
        self.seen += data
        return data

    def expect(self, text):
        """Everything up to text, which is taken from what was seen."""
        while text not in self.seen:
            assert self.read(), (text, self.seen)
        before, self.seen = self.seen.split(text, 1)
        return before.decode()

    def send(self, text):
        os.write(self.fd, text)

    def end(self):
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


try:
    for fd in os.openpty():
        os.close(fd)
except OSError as e:
    print(f"SKIP the conversation on a terminal: {e}")
    sys.exit(77)

# On a terminal: Ctrl-C stops the answer, at the prompt it ends nothing, Ctrl-D ends.
t = Terminal("--chat", "--ignore-eos", "-b", "reference", "--context", "20000")
t.expect(b"/clear begins another.")
t.expect(b"> ")
t.send(hello.encode() + b"\n")
t.expect(b"\r\n")  # the echo
t.read()
t.send(b"\x03")
stopped = t.expect(b" ...\r\n> ").replace("^C", "").replace("\r", "")
assert stopped and (once.startswith(stopped) or stopped.startswith(once[:-1])), (stopped, once)
t.send(b"half a line\x03")
t.expect(b"(Ctrl-D ends the conversation)")
t.expect(b"> ")
t.send(b"\x04")
assert t.end() == 0
print("PASS")
