#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Keeps README.md's table true: every theorem it names is stated in the file it names, every piece
of C is in the source it names (its line is printed), and no theorem is left out.
usage: readme.py SOURCE_ROOT
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
HERE = ROOT / "tests/proofs"
STATED = {
    ".v": r"^(?:Theorem|Corollary) (\w+)", ".lean": r"^theorem (\w+)",
    ".py": r"^    \((\w+), \[(?:lambda|\{|spread)",
}


def names(cell):
    """`file`: `name`, `name`; `file`: ... as pairs."""
    for part in re.split(r"; (?=`)", cell):
        found = re.findall(r"`([^`]+)`", part)
        for name in found[1:]:
            yield found[0], name


def stated_in(path):
    if path.name == "wp.py":
        units = re.search(r"UNITS = (.*?)\n\]", path.read_text(), re.S).group(1)
        return set(re.findall(r'"(\w+)"', units))
    return set(re.findall(STATED[path.suffix], path.read_text(), re.M))


def main():
    bad, named = 0, {}
    for line in (HERE / "README.md").read_text().splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if not line.startswith("| ") or len(cells) != 4 or cells[0] == "in plain words":
            continue
        for file, name in names(cells[1]):
            named.setdefault(file, set()).add(name)
        for file, text in names(cells[2]):
            lines = (ROOT / file).read_text().splitlines()
            at = [i + 1 for i, l in enumerate(lines) if text in l]
            print("%s:%s %s" % (file, at[0] if at else "MISSING", text))
            bad += not at
    files = [p for p in sorted(HERE.glob("*/*")) if p.suffix in (".v", ".lean") and p.name != "Axioms.lean"]
    for path in files + [HERE / n for n in ("unpack.py", "decoders.py", "wp.py")]:
        name = str(path.relative_to(HERE))
        wrong = stated_in(path) ^ named.pop(name, set())
        if wrong:
            print("FAIL: %s: in one of table and file only: %s" % (name, ", ".join(sorted(wrong))))
        bad += bool(wrong)
    if named:
        print("FAIL: unknown files in the table: %s" % ", ".join(named))
    sys.exit(1 if bad or named else 0)


main()
