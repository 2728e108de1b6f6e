#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Checks the Coq proofs on the constants of this build, lists the axioms they rest on, and shows
that each theorem's broken variant is rejected. usage: coq.py CONSTANTS_PROGRAM WORK_DIR [FILE...]
"""
import pathlib
import re
import shutil
import subprocess
import sys

import generate

HERE = pathlib.Path(__file__).parent / "coq"

# Coq's own axioms of the real numbers and of classical logic, which Flocq is built on.
ALLOWED = {"ClassicalDedekindReals.sig_not_dec", "ClassicalDedekindReals.sig_forall_dec",
           "FunctionalExtensionality.functional_extensionality_dep", "Classical_Prop.classic"}
FORBIDDEN = r"\b(Admitted|admit|Axioms?|Parameters?|Conjecture|Hypothes[ie]s|Variables?|Abort)\b"


def constant(**change):
    return lambda c: c.update(change)


def broken_table(c):
    c["schemes"][2]["a0"][0] = 127


def broken_third(c):
    next(s for s in c["schemes"] if s["weights"] == 3)["a2"][0] = 127


# File: variants, either of the constants or of the text (old, new), and the theorem it must break.
VARIANTS = {
    "Overflow": [
        ("sum_fits_int32", constant(max_cols=133145)), ("sum_fits_int32", constant(w_max=128)),
        ("bound_is_exact", constant(max_cols=133143)),
        ("ffn_28672", ("products s <= 28672", "products s <= 133145")),
        ("cols_8192", ("products s <= 8192", "products s <= 133145")),
        ("shipped_tables_in_range", broken_table),
        ("shipped_thirds_in_range", broken_third),
        ("third_is_xor_of_nibbles", ("Z.lxor (y / 16) y mod 16", "Z.lxor (y / 16) y mod 32")),
        ("sizes_agree", constant(row_bytes=55)),
    ],
    "Quantizer": [
        ("quantized_is_bounded", ("(Z.abs (quantize s x) <= w_max)", "(Z.abs (quantize s x) < w_max)")),
        ("dequantize_is_linear", ("s * IZR q.", "s * IZR q + 1.")),
        ("error_within_range", ("(quantize s x)) <= s / 2", "(quantize s x)) <= s / 4")),
        ("error_with_clamping", ("= Rabs x - IZR w_max * s", "= Rabs x - IZR w_max * s / 2")),
        ("error_of_a_token", ("top / IZR w_max / 2", "top / IZR w_max / 4")),
    ],
    "Rounding": [
        ("rescale_error", ("(3 * u + 4 * u * u)", "(2 * u + 4 * u * u)")),
        ("small_sums_convert_exactly", ("(Z.abs acc < 2 ^ 24)", "(Z.abs acc < 2 ^ 26)")),
    ],
}


def compile_one(folder, name):
    return subprocess.run(["coqc", "-q", "-Q", ".", "", name + ".v"], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def prepare(folder, constants, name, text):
    shutil.rmtree(folder, ignore_errors=True)
    generate.write(constants, folder)
    (folder / (name + ".v")).write_text(text)
    if compile_one(folder, "Constants").returncode:
        sys.exit("FAIL: the generated constants do not compile")


def theorem_at(text, line):
    """The lemma or theorem whose statement or proof holds a line."""
    name = None
    for found in re.finditer(r"^(?:Lemma|Theorem|Corollary) (\w+)", text, re.M):
        if text.count("\n", 0, found.start()) < line:
            name = found.group(1)
    return name


def check(name, text, constants, folder):
    code = re.sub(r"\(\*.*?\*\)", "", text, flags=re.S)
    if re.search(FORBIDDEN, code):
        print("FAIL: %s.v: %s" % (name, re.search(FORBIDDEN, code).group()))
        return 1
    prepare(folder, constants, name, text)
    got = compile_one(folder, name)
    axioms = set(re.findall(r"^([\w.]+)\s*(?:$|:)", got.stdout, re.M)) - {"Axioms"}
    axioms = {a for a in axioms if "." in a}
    stated = set(re.findall(r"^(?:Theorem|Corollary) (\w+)", text, re.M))
    printed = set(re.findall(r"^Print Assumptions (\w+)", text, re.M))
    print("%s.v: %d theorems, %s; axioms: %s" % (name, len(stated), "FAIL" if got.returncode else "proved",
                                               ", ".join(sorted(axioms)) or "none"))
    if got.returncode:
        print(got.stdout)
    if axioms - ALLOWED or stated != printed:
        print("FAIL: unreviewed axioms or theorems not looked at: %s" % (axioms - ALLOWED | stated ^ printed))
        return 1
    return got.returncode


def refute(name, text, theorem, change, program, folder):
    constants = generate.read(program)
    if callable(change):
        change(constants)
    else:
        if change[0] not in text:
            sys.exit("FAIL: %s.v: `%s` is not in it" % (name, change[0]))
        text = text.replace(change[0], change[1])
    prepare(folder, constants, name, text)
    got = compile_one(folder, name)
    where = re.search(r"line (\d+), characters.*:\n\s*Error", got.stdout)
    at = theorem_at(text, int(where.group(1))) if where else None
    print("  broken variant of %s: %s" % (theorem, "rejected in %s" % at if at else "NOT REJECTED"))
    return 0 if at else 1


def main():
    if not shutil.which("coqc"):
        print("SKIP: coqc is not installed (packages coq libcoq-flocq)")
        sys.exit(77)
    program, work = sys.argv[1], pathlib.Path(sys.argv[2])
    probe = work / ("probe-" + "-".join(sys.argv[3:]))
    probe.mkdir(parents=True, exist_ok=True)
    (probe / "Probe.v").write_text("From Flocq Require Import Core.\n")
    if compile_one(probe, "Probe").returncode:
        print("SKIP: Flocq is not installed (package libcoq-flocq)")
        sys.exit(77)
    bad = 0
    for name in sys.argv[3:] or VARIANTS:
        text = (HERE / (name + ".v")).read_text()
        bad += check(name, text, generate.read(program), work / name)
        stated = set(re.findall(r"^(?:Theorem|Corollary) (\w+)", text, re.M))
        without = stated - {t for t, _ in VARIANTS[name]}
        if without:
            print("FAIL: no broken variant of %s" % ", ".join(sorted(without)))
            bad += 1
        for theorem, change in VARIANTS[name]:
            bad += refute(name, text, theorem, change, program, work / (name + "-broken"))
    sys.exit(1 if bad else 0)


main()
