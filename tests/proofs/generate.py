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
    """Squares (or cubes) of side `step` over the middle six tenths of a codebook, the best point for
    each, and the largest squared distance from a corner to its point. The axes' origins and counts,
    that distance, and the points in nested lists, the first axis innermost."""
    def span(values):
        low, high = min(values), max(values)
        n = -(-6 * (high - low) // (10 * step))
        return (low + high - n * step) // 2, n

    def worst(p, at):
        return sum(max((x - v) ** 2, (x + step - v) ** 2) for x, v in zip(at, p))

    def cells(axis, at):
        if axis < 0:
            best = min(points, key=lambda p: worst(p, at))
            distances.append(worst(best, at))
            return best
        low, n = spans[axis]
        return [cells(axis - 1, (low + i * step,) + at) for i in range(n)]

    spans, distances = [span(v) for v in zip(*points)], []
    found = cells(len(spans) - 1, ())
    return spans, max(distances), found


COVER_STEP = 8


def lean(c):
    out = ["-- Written by generate.py from the C headers; do not edit.", "namespace Q35"]
    out += ["def %s : Nat := %d" % (k, v) for k, v in c.items() if k != "schemes"]
    out.append("def cover_h : Int := %d" % COVER_STEP)
    for s in c["schemes"]:
        n = s["id"]
        tables = ("a0", "a1", "a2")[:max(2, s["weights"])]
        for t in tables + ("b",):
            out.append("def %s_%d : List Int := %s" % (t, n, s[t]))
        if n in (1, 5):
            for t in ("0", "1")[:1 if n == 5 else 2]:
                out.append("def levels%s_%d : List Int := %s\ndef gap%s_%d : Int := %d" % (
                    t, n, levels(s["a" + t])[0], t, n, levels(s["a" + t])[1]))
        else:
            spans, r2, found = cover(list(zip(*(s[t] for t in tables))), COVER_STEP)
            out += ["def cover_%s_%d : Int := %d" % (axis, n, low) for axis, (low, _) in zip("xyz", spans)]
            out += ["def cover_%s_%d : Nat := %d" % (axis, n, count)
                    for axis, (_, count) in zip("nm", spans[:-1])]
            out += ["def cover_r2_%d : Int := %d" % (n, r2), "def cover_%d : %s := %s" % (
                n, "List (List (List (Int × Int × Int)))" if len(spans) == 3 else "List (List (Int × Int))",
                found)]
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
