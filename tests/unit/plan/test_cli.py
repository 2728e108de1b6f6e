# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""q35 plan and q35 devices as a person or a script would use them.
usage: test_cli.py Q35 CONFIGS FOLDER_OF_SAMPLE_PLUGINS"""
import json
import os
import subprocess
import sys
import tempfile

q35, configs, samples = map(os.path.abspath, sys.argv[1:4])


def run(*args):
    p = subprocess.run([q35, *args], capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def plan(*args):
    rc, out, err = run("plan", "--json", *args)
    assert rc == 0, err
    return json.loads(out)


# The 70B shape: sizes that can be worked out by hand.
layer = 855_638_016 * 7 // 16
p = plan("-b", "reference", "--synthetic", "llama-70b:4", "--context", "1024", "--sequences", "1")
[stage] = p["stages"]
assert (stage["first"], stage["count"], stage["layers"]) == (0, 6, [0, 3]), stage
assert stage["embedding"] and stage["head"]
mem = stage["memory"]
assert mem["kv_token_bytes"] == 4 * 2 * 8 * 128 * 2, mem  # layers, K and V, heads, head_dim, f16
assert mem["kv_bytes"] >= 1024 * mem["kv_token_bytes"]
assert 4 * layer < mem["host_bytes"] + mem["weight_bytes"] < 5.5 * layer, mem
assert p["kv_tokens"] == 1024 and p["objective"] == "latency" and p["seconds"] is None

# Too large for any machine: the numbers are in the message, nothing is on stdout.
rc, out, err = run("plan", "-b", "reference", "--synthetic", "llama-70b:80", "--context", "8388608")
assert rc == 1 and out == "", (rc, out)
for words in ("does not fit", "82 layers", "reference:0 has", "GiB free", "decoder layers"):
    assert words in err, err

# Given ranges.
demo = os.path.join(configs, "demo.q35.gguf")
if os.path.exists(demo):
    p = plan("-c", os.path.join(configs, "split.ini"))
    assert p["given"]
    assert [(s["backend"], s["layers"]) for s in p["stages"]] == \
        [("cpu", [0, 39]), ("plain", [40, 79])], p["stages"]
    assert [s["embedding"] for s in p["stages"]] == [True, False]
    assert [s["head"] for s in p["stages"]] == [False, True]

with tempfile.TemporaryDirectory() as tmp:
    ini = os.path.join(tmp, "t.ini")

    def write(text):
        with open(ini, "w", encoding="utf-8") as f:
            f.write(text)

    # Two backends and a choice: measured, explained.
    if os.path.exists(demo):
        write("[backend a]\npath = cpu_simd.so\n[backend b]\npath = reference.so\n")
        p = plan("-c", ini, "-m", demo, "--explain")
        assert p["seconds"] > 0 and not p["given"]
        for words in ("a:0", "b:0", "(measured)", "all layers on b:0", "chosen for latency"):
            assert words in p["explanation"], p["explanation"]
        write("[backend a]\npath = reference.so\n[schedule]\nlayers.a = 0-78\n")
        rc, _, err = run("plan", "-c", ini, "-m", demo)
        assert rc == 1 and "t.ini:4: no range of [schedule] has decoder layer 79" in err, err

    # One bad plugin beside a good one.
    write(f"[backend bad]\npath = {samples}/sample_crash.so\n[backend good]\npath = reference.so\n")
    rc, out, err = run("devices", "-c", ini, "--json")
    assert rc == 0, err
    bad, good = json.loads(out)["backends"]
    assert not bad["loaded"] and "crashes while loading it: signal 11" in bad["reason"], bad
    assert good["loaded"] and good["plugin"] == "reference"
    assert good["devices"][0]["class"] == "exact" and good["devices"][0]["memory_total"] > 0
    rc, out, _ = run("devices", "-c", ini)
    assert rc == 0 and "bad: left out: crashes" in out and "good:0  reference" in out, out
    rc, _, err = run("plan", "-c", ini, "--synthetic", "llama-1b", "--context", "128")
    assert rc == 0 and "[backend bad] is left out: crashes" in err, err
    write(f"[backend bad]\npath = {samples}/sample_crash.so\nrequired = true\n")
    rc, out, err = run("devices", "-c", ini)
    assert rc == 1 and "required backend bad" in err, err
    write("[backend a]\npath = reference.so\nthreads = 3\n")
    rc, _, err = run("devices", "-c", ini)
    assert rc == 1 and "t.ini:3: [backend a]: unknown option 'threads'" in err, err

for args in (["plan"], ["plan", "-b", "reference", "--synthetic", "no-such"],
             ["plan", "-b", "nothing", "--synthetic", "llama-1b"], ["devices", "-c", "/none.ini"]):
    rc, out, err = run(*args)
    assert rc == 1 and out == "" and err.startswith("q35 " + args[0] + ": "), (args, rc, err)
