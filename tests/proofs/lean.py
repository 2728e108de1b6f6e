#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Checks the Lean proofs on the constants of this build, lists what they rest on, and shows that
each theorem's broken variant is rejected, all in one run of Lean, as a user without privileges and
without a network where that can be had. usage: lean.py CONSTANTS_PROGRAM LEAN_DIR

LEAN_DIR is what fetch_lean.sh filled.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import generate
from lean_variants import VARIANTS

HERE = pathlib.Path(__file__).parent / "lean"
FILES = ["Format", "Sum", "Quantizer", "Tables", "Triple", "Matvec", "Tiling"]
FORBIDDEN = (r"\b(sorry|admit|axiom|native_decide|ofReduceBool|unsafe|implemented_by|extern|opaque|"
             r"run_cmd|elab|macro|syntax|initialize|skipKernelTC)\b")
AXIOMS = {"propext", "Quot.sound", "Classical.choice"}


def theorems(text):
    """The public theorems: name to text, up to the next blank line."""
    return {m.group(1): m.group() for m in re.finditer(r"^theorem ([\w.]+)(?:.+\n)+", text, re.M)}


def broken(number, theorem, text, old, new):
    if text.count(old) < 1:
        sys.exit("FAIL: %s: `%s` is not in it" % (theorem, old))
    return "namespace Broken%d\n%s\nend Broken%d\n" % (number, text.replace(old, new, 1), number)


def compose(constants, stated, proofs):
    """The whole file, the line where the variants begin, and each one's lines."""
    axioms = (HERE / "Axioms.lean").read_text().replace(
        "THEOREMS", ", ".join("``" + name for name in stated))
    imports = re.findall(r"^import Lean.*\n", axioms, re.M)
    parts = imports + [generate.lean(constants)] + proofs + [axioms]
    text = "".join(re.sub(r"^import .*\n", "", p, flags=re.M) for p in parts[len(imports):])
    text = "".join(imports) + text + "namespace Q35\n"
    start, spans = text.count("\n") + 1, []
    for number, (theorem, old, new) in enumerate(VARIANTS):
        first = text.count("\n") + 1
        text += broken(number, theorem, stated[theorem], old, new)
        spans.append((theorem, old, new, first, text.count("\n")))
    return text + "end Q35\n", start, spans


def command(lean, work):
    """Lean as nobody when we are root, and cut off from the network where the kernel lets us."""
    lower = []
    if os.geteuid() == 0:
        lower = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
        if subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0:
            lower = ["unshare", "-n"] + lower
        seen = subprocess.run(lower + ["test", "-r", str(lean / "lean.js")])
        if seen.returncode:
            lean = pathlib.Path(shutil.copytree(lean, work / "lean"))
    env = {"Q35_LEAN": str(lean), "LEAN_PATH": str(lean / "lib"), "HOME": str(work),
           "PATH": os.environ["PATH"]}
    return lower + [str(lean / "node"), "--stack-size=8000", str(lean / "lean.js"), "-j1",
                    "-DwarningAsError=true", "-DmaxErrors=10000", "All.lean"], env


def run(constants, stated, proofs, lean):
    text, start, spans = compose(constants, stated, proofs)
    with tempfile.TemporaryDirectory(prefix="q35-lean-", dir="/tmp") as folder:
        work = pathlib.Path(folder)
        (work / "All.lean").write_text(text)
        work.chmod(0o755)
        args, env = command(lean, work)
        with open(work / "log", "wb") as log:  # a file: a pipe that is full loses output
            subprocess.run(args, cwd=work, env=env, stdout=log, stderr=subprocess.STDOUT)
        out = (work / "log").read_text(errors="replace")
        if os.environ.get("Q35_LEAN_KEEP"):  # for looking into a failure
            pathlib.Path(os.environ["Q35_LEAN_KEEP"]).write_text(text + "\n/-\n" + out + "-/\n")
    return out, start, spans


def check_axioms(out, stated):
    bad, used, library = 0, set(), set()
    rests = dict(re.findall(r"^RESTS (?:_private\.All\.)?Q35\.([\w.]+)(.*)$", out, re.M))
    for name in stated:
        if name not in rests:
            print("FAIL: Lean did not list what %s rests on" % name)
            bad += 1
            continue
        for kind, what in re.findall(r" (\w+):(\S+)", rests[name]):
            (used if kind == "axiom" or "Q35" in what else library).add(what)
    print("axioms: %s" % (", ".join(sorted(used)) or "none"))
    if used - AXIOMS or "sorryAx" in library:
        print("FAIL: not reviewed: %s" % ", ".join(sorted(used - AXIOMS)))
        bad += 1
    return bad


def check_variants(errors, spans):
    bad = 0
    for theorem, old, new, first, last in spans:
        mine = [text for line, text in errors if first <= line <= last]
        wrong = [t for t in mine if re.search(r"[Uu]nknown|unexpected|expected", t)]
        ok = mine and not wrong
        print("  broken variant of %s: %s" % (theorem, "rejected" if ok else
                                              "NOT REJECTED: `%s` -> `%s` %s" % (old, new, wrong)))
        bad += not ok
    return bad


def main():
    lean = pathlib.Path(sys.argv[2]).resolve()
    if not (lean / "installed").exists():
        why = lean / "missing"
        print("SKIP: no Lean: %s" % (why.read_text().strip() if why.exists() else
                                     "tools/setup --tests has not been run"))
        sys.exit(77)
    proofs = [(HERE / (f + ".lean")).read_text() for f in FILES]
    for name, text in zip(FILES, proofs):
        found = re.search(FORBIDDEN, re.sub(r"/-.*?-/|--.*", "", text, flags=re.S))
        if found:
            sys.exit("FAIL: %s.lean: %s" % (name, found.group()))
    stated = theorems("\n".join(proofs))
    without = set(stated) - {v[0] for v in VARIANTS}
    if without:
        sys.exit("FAIL: no broken variant of %s" % ", ".join(sorted(without)))
    out, start, spans = run(generate.read(sys.argv[1]), stated, proofs, lean)
    errors = [(int(line), text) for line, text in re.findall(r"^All\.lean:(\d+):\d+: error(.*)$", out, re.M)]
    early = [e for e in errors if e[0] < start]
    if early or "RESTS" not in out:
        print(out[-2000:] if not early else "")
        for line, error in early:
            print("All.lean:%d: %s" % (line, error))
        sys.exit("FAIL: %d errors in the proofs" % len(early))
    print("%d theorems proved" % len(stated))
    bad = check_axioms(out, stated) + check_variants(errors, spans)
    sys.exit(1 if bad else 0)


main()
