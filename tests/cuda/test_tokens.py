#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The demo model's tokens are the same wherever its layers are: on the processor, on one or two
GPUs, split between them, with and without graphs, and when a GPU is lost in mid-sentence.

usage: test_tokens.py Q35 Q35D CONFIGS PLAIN SIMT  (folders of configurations and of fake drivers)
"""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

Q35, Q35D, CONFIGS, PLAIN, SIMT = sys.argv[1:6]
PROMPT = "Once upon a time"
MODEL = os.path.join(CONFIGS, "demo.q35.gguf")
HEAD = f"[model]\npath = {MODEL}\nname = demo\ncontext = 128\n"
CPU = "[backend cpu]\npath = cpu_simd.so\nrequired = true\n"
CUDA = "[backend cuda]\npath = cuda.so\nrequired = true\n"
SPLIT = "[schedule]\nlayers.cpu = 0-39\nlayers.cuda = 40-79\n"
TWO = "[schedule]\nlayers.cuda:0 = 0-39\nlayers.cuda:1 = 40-79\n"
THREE = "[schedule]\nlayers.cuda:1 = 0-19\nlayers.cpu = 20-49\nlayers.cuda:0 = 50-79\n"


def environment(driver, faults):
    return dict(os.environ, LD_LIBRARY_PATH=driver, Q35_FAKE_CUDA=faults)


def generate(ini, driver=PLAIN, faults="", n=40):
    """Text and standard error of q35 run."""
    done = subprocess.run([Q35, "run", "-v", "-c", ini, "-p", PROMPT, "-n", str(n), "--temp", "0"],
                          env=environment(driver, faults), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n"), done.stderr


def ranges(stderr):
    """Which devices have layers."""
    return re.findall(r"^([a-z]+:\d)", stderr, re.M)


def lost_in_the_daemon(folder, expected):
    """A GPU dies for good while the daemon answers: the answer is the same, and the next one too."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    ini, log = os.path.join(folder, "lost.ini"), os.path.join(folder, "log")
    with open(ini, "w", encoding="utf-8") as f:
        f.write(f"[q35d]\nport = {port}\nlog_level = info\n" + HEAD + CPU + CUDA + THREE)
    body = json.dumps({"model": "demo", "prompt": PROMPT, "max_tokens": 40, "temperature": 0})

    def ask(path, data=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as r:
            return json.loads(r.read() or b"{}")

    with open(log, "w", encoding="utf-8") as out:
        daemon = subprocess.Popen([Q35D, "-c", ini], stdout=out, stderr=out,
                                  env=environment(PLAIN, "dead_at=6000"))
    try:
        for _ in range(2000):
            assert daemon.poll() is None, open(log, encoding="utf-8").read()
            try:
                ask("/ready")
                break
            except (OSError, urllib.error.URLError, ValueError):
                time.sleep(0.02)
        for _ in range(4):
            answer = ask("/v1/completions", body.encode())
            assert answer["choices"][0]["text"] == expected, answer
    finally:
        daemon.terminate()
        status = daemon.wait(timeout=60)
    with open(log, encoding="utf-8") as f:
        text = f.read()
    assert status == 0, text
    assert "is lost; planning over the rest" in text, text


def main():
    with tempfile.TemporaryDirectory() as folder:
        def ini(name, text):
            path = os.path.join(folder, name + ".ini")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            return path

        expected, _ = generate(ini("cpu", HEAD + CPU))
        assert len(expected) > 100, expected
        cuda = ini("cuda", HEAD + CUDA)
        cases = [("cuda alone", cuda, "devices=1", ["cuda:0"]),
                 ("an old GPU alone", ini("old", HEAD + CUDA + "[schedule]\nlayers.cuda:1 = 0-79\n"),
                  "", ["cuda:1"]),
                 ("split, as configs/cuda.ini", os.path.join(CONFIGS, "cuda.ini"), "",
                  ["cpu:0", "cuda:0"]),
                 ("two GPUs", ini("two", HEAD + CUDA + TWO), "", ["cuda:0", "cuda:1"]),
                 ("three ranges", ini("three", HEAD + CPU + CUDA + THREE), "",
                  ["cuda:1", "cpu:0", "cuda:0"]),
                 ("graphs = false", ini("graphs", HEAD + CUDA + "graphs = false\n"), "devices=1",
                  ["cuda:0"]),
                 ("a driver without graphs", cuda, "no_graphs=1,devices=1", ["cuda:0"]),
                 ("lost and reset", cuda, "devices=1,lost_at=9000", ["cuda:0"]),
                 ("lost for good, of two", ini("dead", HEAD + CUDA + TWO), "dead_at=6000",
                  ["cuda:0", "cuda:1"])]
        for name, path, faults, devices in cases:
            text, stderr = generate(path, faults=faults)
            assert text == expected, f"{name}: {text!r} instead of {expected!r}\n{stderr}"
            assert ranges(stderr)[:len(devices)] == devices, f"{name}: {stderr}"
            if "lost_at" in faults:
                assert "has been reset" in stderr, f"{name}: {stderr}"
            if "dead_at" in faults:
                assert "planning over the rest" in stderr, f"{name}: {stderr}"
            print(f"{name}: same tokens")
        text, _ = generate(os.path.join(CONFIGS, "cuda.ini"), SIMT, n=4)
        assert expected.startswith(text) and text, text
        print("emulated kernels: same tokens")
        lost_in_the_daemon(folder, expected)
        print("lost in the daemon: same tokens")


main()
