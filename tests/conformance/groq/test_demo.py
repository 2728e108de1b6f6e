#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The simulator with whole models: the demo model's tokens, alone and split with the processor; a 70B
model planned, refused and reported on.

usage: test_demo.py Q35 DEMO_MODEL GROQ_SO CPU_SO
"""
import json
import os
import resource
import subprocess
import sys
import tempfile

Q35, DEMO, GROQ, CPU = [os.path.abspath(a) for a in sys.argv[1:5]]
failures = 0


def expect(ok, what):
    global failures
    print("ok  " if ok else "FAIL", what)
    failures += not ok


def q35(*args):
    done = subprocess.run([Q35, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, done.stderr


def config(folder, name, backends, schedule=""):
    path = os.path.join(folder, name + ".ini")
    with open(path, "w") as f:
        for section, so, options in backends:
            f.write(f"[backend {section}]\npath = {so}\nrequired = true\n{options}\n")
        f.write("[schedule]\n" + schedule)
    return path


def tokens(path):
    status, out, err = q35("run", "-c", path, "-m", DEMO, "-p", "Once upon a time", "-n", "16",
                           "--temp", "0")
    return out if status == 0 else err


def demo(folder):
    want = tokens(config(folder, "cpu", [("cpu", CPU, "")]))
    expect(len(want) > 20, "the processor tells a story")
    for name, options in (("one chip", ""), ("two chips a layer", "chips = 2\nchips_per_layer = 2"),
                          ("int8 weights", "weights = decoded"),
                          ("at its own pace", "pace = real")):
        got = tokens(config(folder, "sim", [("groq", GROQ, options)]))
        expect(got == want, f"the simulator's tokens, {name}: {got[:40]!r}")
    int8 = "kv_type = int8\n"
    want8 = tokens(config(folder, "cpu8", [("cpu", CPU, "")], int8))
    got = tokens(config(folder, "sim8", [("groq", GROQ, "")], int8))
    expect(len(want8) > 20 and got == want8, f"KV in int8: {got[:40]!r}")
    both = [("cpu", CPU, ""), ("groq", GROQ, "")]
    for first, second in (("cpu", "groq"), ("groq", "cpu")):
        split = f"layers.{first} = 0-39\nlayers.{second} = 40-79\n"
        got = tokens(config(folder, "split", both, split))
        expect(got == want, f"split, {first} first: {got[:40]!r}")


def plan(folder):
    path = config(folder, "plan", [("groq", GROQ, "chips = 160")])
    status, out, err = q35("plan", "-c", path, "--synthetic", "llama-70b:80", "--context", "2048",
                           "--sequences", "1")
    expect(status == 0 and "layers 0-79" in out, "a 70B model on 160 chips: " + out + err)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    expect(most < 1 << 20, f"no command took a GiB so far: {most} KiB")
    long = ("--synthetic", "llama-70b:80", "--context", "8192", "--sequences", "1")
    expect(q35("plan", "-c", path, *long)[0] == 1 and
           q35("plan", "-c", path, *long, "--kv-type", "int8")[0] == 0,
           "a KV cache of 8192 positions fits in int8 and not in binary16")
    for chips in (1, 131):
        path = config(folder, "small", [("groq", GROQ, f"chips = {chips}")])
        status, out, err = q35("plan", "-c", path, "--synthetic", "llama-70b:80", "--context",
                               "2048", "--sequences", "1")
        expect(status == 1 and f"chips = {chips} have" in err and "chips of 230.7 MB" in err,
               "refused with the numbers: " + err)


def report():
    args = ("bench", "--backend", GROQ, "--set", "chips=160", "--synthetic", "llama-70b:80",
            "--json")
    status, out, err = q35(*args)
    doc = json.loads(out) if status == 0 else {}
    expect(doc.get("simulated") is True, "the report says that it is simulated " + err)
    anchors, own = doc["anchors"], doc["configured"]
    expect(anchors["layer_weights"] == 855638016 and abs(anchors["layer_us"] - 46.4) < 0.1 and
           abs(anchors["single_stream_tokens_per_second"] - 269) < 1, f"anchor 1: {anchors}")
    expect(own["chips_per_layer"] == 2 and own["chips"] <= 160, f"two chips a layer: {own}")
    total = sum(s["cycles"] for s in doc["layer"]["steps"])
    expect(total == doc["layer"]["cycles"] == own["layer_cycles"], "steps add up to the layer")
    used = [v for s in doc["layer"]["steps"] for v in s["in_use"].values()]
    expect(max(used) <= 1 and min(used) >= 0, "no unit is used more than all the time")
    best = [doc["best_single_stream"], doc["best_aggregate"]]
    expect(best[0]["single_stream_tokens_per_second"] >= own["single_stream_tokens_per_second"] and
           best[1]["aggregate_tokens_per_second"] > 10000, f"anchor 2, and the best: {best}")
    isolated = [a.replace("chips=160", "chips=160,isolate=process") for a in args]
    expect(q35(*isolated)[1] == out, "the same figures again, from a process of its own")


def main():
    with tempfile.TemporaryDirectory() as folder:
        plan(folder)
        demo(folder)
    report()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
