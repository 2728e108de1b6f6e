#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Writes the constants that the C compiler sees as Coq and Lean definitions.

usage: generate.py CONSTANTS_PROGRAM OUT_DIR
"""
import json
import pathlib
import subprocess
import sys


def coq(c):
    def literal(values):
        return "[" + "; ".join("(%d)" % v for v in values) + "]"

    out = ["(* Written by generate.py from the C headers; do not edit. *)",
           "Require Import ZArith List.", "Import ListNotations.", "Open Scope Z_scope."]
    out += ["Definition %s : Z := %d." % (k, v) for k, v in c.items() if k != "schemes"]
    for s in c["schemes"]:
        for t in ("a0", "a1", "b"):
            out.append("Definition %s_%d : list Z := %s." % (t, s["id"], literal(s[t])))
    out.append("Definition schemes : list (list Z * list Z * list Z) := [%s]." % "; ".join(
        "(a0_%d, a1_%d, b_%d)" % (s["id"], s["id"], s["id"]) for s in c["schemes"]))
    return "\n".join(out) + "\n"


def lean(c):
    out = ["-- Written by generate.py from the C headers; do not edit.", "namespace Q35"]
    out += ["def %s : Nat := %d" % (k, v) for k, v in c.items() if k != "schemes"]
    return "\n".join(out + ["end Q35"]) + "\n"


def write(constants, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Constants.v").write_text(coq(constants))
    (folder / "Constants.lean").write_text(lean(constants))
    (folder / "constants.json").write_text(json.dumps(constants))


def read(program):
    return json.loads(subprocess.run([program], check=True, capture_output=True).stdout)


if __name__ == "__main__":
    write(read(sys.argv[1]), sys.argv[2])
