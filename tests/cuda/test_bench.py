#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""tools/bench-cuda when parts of it fail: the others' results stay, and what failed is named.

usage: test_bench.py BENCH_CUDA
"""
import argparse
import importlib.util
import os
import sys
import tempfile
from importlib.machinery import SourceFileLoader

sys.dont_write_bytecode = True
loader = SourceFileLoader("bench_cuda", sys.argv[1])
bench = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_cuda", loader))
loader.exec_module(bench)


def made_up(o, model, batch, prompt, path):
    """What `q35 bench --json` would say; 70B fails on one path, and is absurd on the other."""
    if model.startswith("llama-70b") and path == "cublaslt":
        raise bench.Failed("no memory for | it")
    return {"decode_tokens_per_second": 200.0 if model.endswith(":8") else 100.0,
            "prefill_tokens_per_second": 1000.0, "bytes_per_token": 10**9, "kv_bytes_per_token": 100}


def main():
    assert bench.scaled((1.0, 2.0)) == 20.0
    assert bench.scaled((2.0, 1.0)) is None and bench.scaled((1.0, 1.0)) is None
    try:
        bench.run(["sh", "-c", "echo one; echo two >&2; exit 3"])
        raise AssertionError("a failing program is not noticed")
    except bench.Failed as e:
        assert "exit status 3: two" in str(e), e
    try:
        bench.run(["/nowhere/q35"])
        raise AssertionError("a missing program is not noticed")
    except bench.Failed as e:
        assert "/nowhere/q35" in str(e), e
    with tempfile.TemporaryDirectory() as folder:
        o = argparse.Namespace(out=os.path.join(folder, "table.md"), emulate=False)
        report = bench.Report(o)
        report.part("first", lambda: ("all is well", True))
        report.part("second", lambda: {}["key"])
        report.part("third", lambda: ("tokens DIFFER", False))
        report.table = bench.Table(3e12, 1e15)
        bench.bench = made_up
        bench.measure(o, report, report.table, "a library")
        with open(o.out, encoding="utf-8") as f:
            text = f.read()
    assert text == report.text()
    assert "- all is well" in text and "FAILED: second: KeyError" in text
    assert "FAILED: third: tokens DIFFER" in text
    assert "| llama-1b | decode, batch 1 | 100.0 |" in text, text
    assert "| llama-1b | prefill of 2048, by cublaslt |" in text, text
    assert "| llama-70b:8 | decode, batch 64, by kernel |" in text, text
    assert "| llama-70b | batch 64, by cublaslt | failed | no memory for / it |" in text, text
    assert not any("scaled" in line and "decode" in line for line in text.splitlines()), text
    print("what fails is named, the rest is kept")


main()
