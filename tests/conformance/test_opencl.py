#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The demo model on an OpenCL device: the processor's tokens, alone and split with it, whatever the
options. Without a device the plugin says what it looked for.

usage: test_opencl.py Q35 OPENCL_SO CPU_SO MODEL
"""
import json
import os
import subprocess
import sys
import tempfile

q35, opencl, cpu, model = map(os.path.abspath, sys.argv[1:])
PROMPT = "Tell me a story about a red fox named Ann."


def ini(folder, backends, layers=()):
    """backends: {name: (path, {option: value})}"""
    path = os.path.join(folder, "test.ini")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"[model]\npath = {model}\n")
        for name, (so, options) in backends.items():
            f.write(f"[backend {name}]\npath = {so}\nrequired = true\n")
            f.writelines(f"{k} = {v}\n" for k, v in options.items())
        f.write("[schedule]\nmax_sequences = 1\n")
        f.writelines(f"layers.{name} = {span}\n" for name, span in layers)
    return path


def call(*args):
    return subprocess.run([q35, *args], capture_output=True, text=True, check=False)


def tokens(config):
    r = call("run", "-c", config, "-p", PROMPT, "--chat", "-n", "16", "--temp", "0", "--context",
             "256", "--json")
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)["text"]


def main():
    with tempfile.TemporaryDirectory() as d:
        c = ini(d, {"gpu": (opencl, {"platform": "no such platform"})})
        r = call("devices", "-c", c)
        assert "looked for OpenCL 1.2 devices" in r.stdout + r.stderr, r.stdout + r.stderr
        r = call("devices", "-c", ini(d, {"gpu": (opencl, {"slices": "many"})}))
        assert "slices = many" in r.stdout + r.stderr, r.stdout + r.stderr

        r = call("devices", "-c", ini(d, {"gpu": (opencl, {})}), "--json")
        if '"determinism"' not in r.stdout and "exact" not in r.stdout.lower():
            print("no OpenCL device of class EXACT here:", r.stdout + r.stderr)
            return 77
        want = tokens(ini(d, {"cpu": (cpu, {})}))
        assert len(want) > 20, want
        both = {"cpu": (cpu, {}), "gpu": (opencl, {})}
        odd = {"gpu": (opencl, {"zero_copy": "off", "slices": "2", "tokens_at_once": "4"})}
        got = {
            "alone": tokens(ini(d, {"gpu": (opencl, {})})),
            "split": tokens(ini(d, both, [("cpu", "0-39"), ("gpu", "40-79")])),
            "split the other way": tokens(ini(d, both, [("gpu", "0-19"), ("cpu", "20-79")])),
            "copied, two slices, four tokens": tokens(ini(d, odd)),
        }
        for name, text in got.items():
            assert text == want, f"{name}: {text!r} instead of {want!r}"
    return 0


sys.exit(main())
