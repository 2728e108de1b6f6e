#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The daemon survives every broken plugin in a process of its own (isolate = process).

Each is given half of the layers. Either it is refused before the daemon serves, by name, and the
daemon serves without it; or the daemon serves with it, whatever it does, and stops when asked to.
Unless the plugin computes wrong values, the text is the one that the good backend gives alone.

usage: test_survive.py Q35D MODEL BAD.so ...
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# These give wrong values or forget them: the kit finds that, isolation cannot.
WRONG_VALUES = {"wrong_shape", "batch_dependent", "write_past", "write_before", "write_input",
                "keeps_pointer", "rounds_up", "fork_nothing", "truncate_nothing"}
REFUSED = {"wrong_major", "crash_constructor", "hang_constructor", "exit_query", "bad_info"}
PROMPT = "Once upon a time"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    def __init__(self, q35d, folder, model, plugin, ranges):
        self.port = free_port()
        ini = os.path.join(folder, "t.ini")
        text = (f"[q35d]\nport = {self.port}\ndrain_seconds = 20\n"
                f"[model]\npath = {model}\nname = any\ncontext = 64\n"
                "[backend plain]\npath = reference.so\nrequired = true\n")
        if plugin:
            text += f"[backend bad]\npath = {plugin}\nisolate = process\nhang_seconds = 2\n"
        text += "[schedule]\nprobe_seconds = 2\nmax_sequences = 2\nmax_batch = 32\n"
        if ranges:
            text += "layers.plain = 0-39\nlayers.bad = 40-79\n"
        with open(ini, "w", encoding="utf-8") as f:
            f.write(text)
        self.log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([q35d, "-c", ini], stdout=self.log, stderr=self.log,
                                        start_new_session=True)

    def get(self, path, body=None, timeout=60):
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout) as r:
            return json.loads(r.read() or b"{}")

    def ready(self):
        """True when it serves, False if it has ended."""
        for _ in range(600):
            if self.process.poll() is not None:
                return False
            try:
                self.get("/ready", timeout=5)
                return True
            except (OSError, ValueError):
                time.sleep(0.05)
        raise AssertionError("neither ready nor ended: " + self.text())

    def complete(self):
        body = {"model": "any", "prompt": PROMPT, "max_tokens": 6, "temperature": 0, "seed": 1}
        return self.get("/v1/completions", body)["choices"][0]["text"]

    def text(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("it did not stop when asked to: " + self.text())
        return self.process.returncode


def children_of_session(pid):
    """Processes that the daemon left behind."""
    left = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                if int(fields[3]) == pid and fields[0] != "Z":
                    left.append(int(name))
            except (OSError, IndexError):
                pass
    return left


def serve(q35d, model, plugin, ranges):
    """(text or None if it did not start, log)"""
    with tempfile.TemporaryDirectory() as folder:
        d = Daemon(q35d, folder, model, plugin, ranges)
        try:
            out = d.complete() if d.ready() else None
            if out is not None:
                assert d.get("/health") is not None
                again = d.complete()  # also after whatever happened in the first
                assert again is not None
        except urllib.error.HTTPError as e:
            raise AssertionError(f"status {e.code}: {e.read()!r}; {d.text()}") from e
        finally:
            rc = d.stop()
        log = d.text()
        assert rc == (0 if out is not None else 1), (rc, log)
        time.sleep(0.1)
        assert not children_of_session(d.process.pid), "it left processes behind: " + log
        return out, log


def main():
    q35d, model, plugins = sys.argv[1], sys.argv[2], sys.argv[3:]
    if not os.path.exists(model):
        print("there is no", model)
        return 77
    want, _ = serve(q35d, model, None, False)
    failures = 0
    for plugin in plugins:
        name = os.path.basename(plugin)[len("hostile_"):-len(".so")]
        try:
            got, log = serve(q35d, model, plugin, True)
            how = "served"
            if got is None:
                assert "bad" in log, log
                got, log = serve(q35d, model, plugin, False)
                how = "served without it"
                assert "[backend bad]" in log or name not in REFUSED, log
            else:
                assert name not in REFUSED, "it was let in"
            if "is lost" in log:
                how = "lost it, served on"
            assert got is not None, log
            assert got == want or name in WRONG_VALUES, (got, want)
            print("ok  ", name, "->", how, flush=True)
        except (AssertionError, OSError) as e:
            print("FAIL", name, "->", str(e)[:1500], flush=True)
            failures += 1
    return 1 if failures else 0


sys.exit(main())
