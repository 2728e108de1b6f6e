# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""q35 bench prints what it promises; no figure is judged."""
import json
import subprocess
import sys


def bench(*args):
    done = subprocess.run([sys.argv[1], *args], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refuses(*args):
    done = subprocess.run([sys.argv[1], "bench", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and done.stderr, args
    return done.stderr


SMALL = ["--synthetic", "llama-1b:1", "--prompt", "9", "--context", "3", "--rounds", "1"]

doc = json.loads(bench("bench", "--json", *SMALL, "--batch", "2", "--threads", "1"))
for key in ("decode_tokens_per_second", "prefill_tokens_per_second", "bytes_per_token",
            "read_bandwidth", "bandwidth_fraction"):
    assert doc[key] > 0, (key, doc)
assert doc["threads"] == 1 and doc["batch"] == 2 and doc["cpu"], doc
# one layer: 2*2048*2048 + 2*256*2048 + 3*2048*5632 weights of 3.5 bits; head: 32000*2048 of 7
body = (2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632) * 7 // 16
assert body + 32000 * 2048 * 7 // 8 <= doc["bytes_per_token"] <= (body + 32000 * 2048 * 7 // 8) * 1.01
assert doc["kv_bytes_per_token"] == 2 * 2 * 4 * 64 * 4, doc
loud = subprocess.run([sys.argv[1], "bench", *SMALL, "--verbose"], capture_output=True, text=True,
                      timeout=250)
for op in ("matmul", "32000 x 2048", "attention", "rms_norm", "rotate", "rope", "swiglu", "embed"):
    assert op in loud.stderr, (op, loud.stderr)
assert "tokens/s" in bench("bench", *SMALL)
assert "shape" in refuses("--synthetic", "llama-9b")
assert "either" in refuses()
assert "isa" in refuses(*SMALL, "--isa", "sparc")

ladder = json.loads(bench("bench", "ladder", "--json", "--rows", "2048"))
names = [r["name"] for r in ladder["rungs"]]
for rung in ("float32", "int8", "int4", "scalar", "lookup table", "fused", "SIMD", "SIMD + threads"):
    assert any(rung in n for n in names), (rung, names)
assert all(r["same_bits"] and r["seconds"] > 0 for r in ladder["rungs"]), ladder
assert sum(r["packed"] for r in ladder["rungs"]) >= 5, ladder
