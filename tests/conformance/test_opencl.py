#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The demo model on an OpenCL device: the processor's tokens, alone and split with it, whatever the
options. Without a device the plugin says what it looked for.

A device that is lost in the middle, once or for good, changes no token; one without memory is an error.

usage: test_opencl.py Q35 OPENCL_SO CPU_SO FAULT_SO MODEL
"""
import json
import os
import subprocess
import sys
import tempfile

q35, opencl, cpu, fault, model = map(os.path.abspath, sys.argv[1:])
PROMPT = "Tell me a story about a red fox named Ann."


def ini(folder, backends, layers=(), schedule=""):
    """backends: {name: (path, {option: value})}"""
    path = os.path.join(folder, "test.ini")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"[model]\npath = {model}\n")
        for name, (so, options) in backends.items():
            f.write(f"[backend {name}]\npath = {so}\nrequired = true\n")
            f.writelines(f"{k} = {v}\n" for k, v in options.items())
        f.write("[schedule]\nmax_sequences = 1\n" + schedule)
        f.writelines(f"layers.{name} = {span}\n" for name, span in layers)
    return path


def call(*args, **env):
    return subprocess.run([q35, *args], capture_output=True, text=True, check=False,
                          env={**os.environ, **env})


def run(config, **env):
    return call("run", "-c", config, "-p", PROMPT, "--chat", "-n", "16", "--temp", "0",
                "--context", "256", "--json", **env)


def tokens(config):
    r = run(config)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)["text"]


def faults(config, want):
    """What opencl_fault.c makes fail."""
    for env, said in (({"FAULT_LAUNCH": "1500"}, "has been reset"),
                      ({"FAULT_LAUNCH": "1500", "FAULT_STAYS": "1"}, "planning over the rest")):
        r = run(config, LD_PRELOAD=fault, **env)
        assert r.returncode == 0 and said in r.stderr, (env, r.stderr)
        assert json.loads(r.stdout)["text"] == want, (env, r.stdout)
    r = run(config, LD_PRELOAD=fault, FAULT_BUFFER="30")
    assert r.returncode == 1 and "CL_MEM_OBJECT_ALLOCATION_FAILURE" in r.stderr, r.stderr


def sanitized():
    """A sanitizer wants to be the first library loaded."""
    with open(q35, "rb") as f:
        program = f.read()
    return b"__asan_init" in program or b"__tsan_init" in program


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
            "split, isolated": tokens(ini(d, {**both, "gpu": (opencl, {"isolate": "process"})},
                                          [("cpu", "0-39"), ("gpu", "40-79")])),
            "copied, two slices, four tokens": tokens(ini(d, odd)),
        }
        for name, text in got.items():
            assert text == want, f"{name}: {text!r} instead of {want!r}"
        int8 = "kv_type = int8\n"
        want8 = tokens(ini(d, {"cpu": (cpu, {})}, schedule=int8))
        text = tokens(ini(d, both, [("cpu", "0-39"), ("gpu", "40-79")], int8))
        assert text == want8, f"KV in int8: {text!r} instead of {want8!r}"
        if not sanitized():
            faults(ini(d, both, [("cpu", "0-39"), ("gpu", "40-79")]), want)
    return 0


sys.exit(main())
