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
        for t in ("a0", "a1", "b", "a2"):
            out.append("Definition %s_%d : list Z := %s." % (t, s["id"], literal(s[t])))
    out.append("Definition schemes : list (list Z * list Z * list Z) := [%s]." % "; ".join(
        "(a0_%d, a1_%d, b_%d)" % (s["id"], s["id"], s["id"]) for s in c["schemes"]))
    out.append("Definition triples : list (list Z * list Z) := [%s]." % "; ".join(
        "(a2_%d, b_%d)" % (s["id"], s["id"]) for s in c["schemes"] if s["weights"] == 3))
    return "\n".join(out) + "\n"


def levels(values):
    """The different values in order, and the widest gap between neighbours."""
    found = sorted(set(values))
    return found, max(b - a for a, b in zip(found, found[1:]))


def cover(points, step):
    """Squares of side `step` over the middle six tenths of a codebook, the best point for each, and
    the largest squared distance from a square's corner to its point."""
    def span(values):
        low, high = min(values), max(values)
        n = -(-6 * (high - low) // (10 * step))
        return (low + high - n * step) // 2, n

    def worst(p, x, y):
        return max((x - p[0]) ** 2, (x + step - p[0]) ** 2) + \
            max((y - p[1]) ** 2, (y + step - p[1]) ** 2)

    (x0, nx), (y0, ny) = span([p[0] for p in points]), span([p[1] for p in points])
    rows, r2 = [], 0
    for j in range(ny):
        row = []
        for i in range(nx):
            at = x0 + i * step, y0 + j * step
            row.append(min(points, key=lambda p: worst(p, *at)))
            r2 = max(r2, worst(row[-1], *at))
        rows.append(row)
    return x0, y0, nx, r2, rows


COVER_STEP = 8


def lean(c):
    out = ["-- Written by generate.py from the C headers; do not edit.", "namespace Q35"]
    out += ["def %s : Nat := %d" % (k, v) for k, v in c.items() if k != "schemes"]
    out.append("def cover_h : Int := %d" % COVER_STEP)
    for s in c["schemes"]:
        n = s["id"]
        if s["weights"] == 3:
            continue
        for t in ("a0", "a1", "b"):
            out.append("def %s_%d : List Int := %s" % (t, n, s[t]))
        if n in (1, 5):
            for t in ("0", "1")[:1 if n == 5 else 2]:
                out.append("def levels%s_%d : List Int := %s\ndef gap%s_%d : Int := %d" % (
                    t, n, levels(s["a" + t])[0], t, n, levels(s["a" + t])[1]))
        else:
            x, y, nx, r2, rows = cover(list(zip(s["a0"], s["a1"])), COVER_STEP)
            out += ["def cover_x_%d : Int := %d" % (n, x), "def cover_y_%d : Int := %d" % (n, y),
                    "def cover_n_%d : Nat := %d" % (n, nx), "def cover_r2_%d : Int := %d" % (n, r2),
                    "def cover_%d : List (List (Int × Int)) := %s" % (n, rows)]
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
