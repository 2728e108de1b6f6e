#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Every broken plugin is named by verify-plugin: the right check, the right rule.

usage: test_hostile.py Q35 GOOD.so GOOD_CLOSE.so FILLS_CACHES.so CHECK RULE BAD.so [CHECK ...]
"""
import json
import os
import subprocess
import sys

# Deadlines are shortened where the plugin hangs on purpose.
HANGS = ("hang_constructor", "hang_run", "never_completes")
# Words of a finding that lead to the line.
WORDS = {
    "keeps_pointer": "weights_commit touched the data of a put (DURING_CALL)",
    "keeps_run": "wait touched the struct q35_run (DURING_CALL)",
    "keeps_tokens": "run_layers touched the tokens of a run (UNTIL_EVENT)",
    "leak_heap": "bytes of heap, from open and close on",
    "leak_close": "from a KV cache on; none where the host frees all before close",
    "late_results": "they were not written",
    "write_past": "byte",
    "wrong_shape": "1 of 33 differ, by 1 in the last place at most",
}


def verify(q35, plugin, check, timeout=None):
    command = [q35, "verify-plugin", "--quick", "--json", "--check", check, plugin]
    if timeout:
        command[2:2] = ["--timeout", str(timeout)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    report = json.loads(done.stdout)
    (result,) = report["checks"]
    assert (done.returncode == 0) == (result["outcome"] != "fail"), (plugin, check)
    return result


def main():
    q35, goods, rest = sys.argv[1], sys.argv[2:5], sys.argv[5:]
    failures = 0
    every = sorted({*rest[0::3], "layers", "contexts"})
    for good, checks in zip(goods, (every, every, ["leaks"])):
        for check in checks:
            result = verify(q35, good, check)
            if result["outcome"] != "pass":
                print("FAIL the good plugin", good, "check", check, result)
                failures += 1
    for check, rule, plugin in zip(rest[0::3], rest[1::3], rest[2::3]):
        name = os.path.basename(plugin)[len("hostile_"):-len(".so")]
        result = verify(q35, plugin, check, 6 if name in HANGS else None)
        found = [(f["rule"], f["text"]) for f in result["findings"]]
        fine = result["outcome"] == "fail" and any(
            r == rule and WORDS.get(name, "") in text for r, text in found)
        print("ok  " if fine else "FAIL", name, "->", found)
        failures += not fine
    return 1 if failures else 0


sys.exit(main())
