#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Offsets, sizes and values of the ABI against golden files.

Every fact of frozen/MAJOR.MINOR must still hold, except that a struct may have become longer and a
reserved field may have got a name; abi.txt must be what the headers are now. A change of abi.txt is a change of the ABI: append only, and
Q35_ABI_MINOR goes up.

usage: test_abi.py [--write] ROOT CC [RUNNER...]
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from headers import HEADERS, enumerators, structs, types

HERE = os.path.dirname(os.path.abspath(__file__))


def program(include):
    """C that prints the layout, a line for each fact."""
    body = []
    for h in HEADERS:
        path = os.path.join(include, "q35", h)
        if not os.path.exists(path):  # of an earlier version, which had fewer headers
            continue
        with open(path, encoding="utf-8") as f:
            text = f.read()
        for name, names in structs(text):
            body.append(f'printf("struct {name} size %zu\\n", sizeof(struct {name}));')
            body += [f'printf("struct {name} {f} at %zu, %zu bytes\\n", offsetof(struct {name}, {f}), '
                     f"sizeof(((struct {name} *)0)->{f}));" for f in names]
        body += [f'printf("enum {e} {n} %lld\\n", (long long){n});' for e, n in enumerators(text)]
    for m in ["Q35_ABI_MAJOR", "Q35_ABI_MINOR", "Q35_FORMAT_VERSION", "Q35_TILE_BYTES",
              "Q35_BLOB_TABLES", "Q35_BLOB_ALIGN", "Q35_MAX_COLS", "Q35_MAX_ROWS"]:
        body.append(f'printf("macro {m} %lld\\n", (long long){m});')
    for m in ["Q35_PLUGIN_SYMBOL", "Q35_EXT_MEASURE"]:
        body.append(f'printf("macro {m} %s\\n", {m});')
    return "#include <stdio.h>\n#include <q35/measure.h>\nint main(void)\n{\n" + "\n".join(body) + \
        "\nreturn 0;\n}\n"


def layout(include, cc, runner):
    with tempfile.TemporaryDirectory() as d:
        source, binary = os.path.join(d, "abi.c"), os.path.join(d, "abi")
        with open(source, "w", encoding="utf-8") as f:
            f.write(program(include))
        facts = []
        for h in filter(lambda h: os.path.exists(os.path.join(include, "q35", h)), HEADERS):
            with open(os.path.join(include, "q35", h), encoding="utf-8") as f:
                facts += types(f.read())
        static = ["-static"] if runner else []
        subprocess.run([cc, "-std=gnu11", "-I", include, *static, source, "-o", binary], check=True)
        r = subprocess.run([*runner, binary], check=True, capture_output=True, text=True)
        return r.stdout.splitlines() + facts


def padding(lines):
    """Structs of which some byte belongs to no field."""
    bad, size, end = [], {}, {}
    for line in lines:
        w = line.replace(",", "").split()
        if w[0] == "struct" and w[2] == "size" and len(w) == 4:
            size[w[1]] = int(w[3])
        elif w[0] == "struct":
            if int(w[4]) != end.get(w[1], 0):
                bad.append(f"{w[1]}: a gap before {w[2]}")
            end[w[1]] = int(w[4]) + int(w[5])
    return bad + [f"{n}: {s - end[n]} bytes after the last field" for n, s in size.items()
                  if s != end[n]]


# Fields that were zero and not looked at: they may get a name and a type of the same size.
RESERVED = ["reserved", "q35_tables.c"]


def reserved_still_there(line, now):
    """True if the line is about a reserved field, and a field lies at the same place now."""
    w = line.split(maxsplit=3)
    if w[:2] == ["type", "struct"]:
        field = re.search(r"(\w+)(\[\w+\])?$", line).group(1)
        return field in RESERVED or f"{w[2][:-1]}.{field}" in RESERVED
    if w[0] != "struct" or (w[2] not in RESERVED and f"{w[1]}.{w[2]}" not in RESERVED):
        return False
    return any(x.startswith(f"struct {w[1]} ") and x.endswith(" " + w[3]) for x in now)


def still_holds(frozen, now):
    """Facts of an earlier version that are no longer true."""
    have, lost = set(now), []
    sizes = {w[1]: int(w[3]) for w in map(str.split, now) if w[0] == "struct" and w[2] == "size"
             and len(w) == 4}
    for line in frozen:
        w = line.split()
        if line in have or line.startswith("macro Q35_ABI_MINOR"):
            continue
        if w[0] == "struct" and w[2] == "size" and len(w) == 4 and sizes.get(w[1], 0) > int(w[3]):
            continue
        if line.startswith("enum q35_role Q35_ROLE_COUNT") or reserved_still_there(line, now):
            continue
        lost.append(line)
    return lost


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().splitlines()


def main(args):
    write = args[:1] == ["--write"]
    root, cc, runner = args[write], args[write + 1], args[write + 2:]
    for tool in [cc, *runner[:1]]:
        if not shutil.which(tool):
            print(f"skipped: no {tool}")
            return 77
    now = layout(os.path.join(root, "include"), cc, runner)
    golden = os.path.join(HERE, "abi.txt")
    if write:
        with open(golden, "w", encoding="utf-8") as f:
            f.write("\n".join(now) + "\n")
        return 0
    wrong = padding(now)
    wrong += [f"not in abi.txt: {x}" for x in sorted(set(now) - set(read(golden)))]
    wrong += [f"only in abi.txt: {x}" for x in sorted(set(read(golden)) - set(now))]
    for version in sorted(os.listdir(os.path.join(HERE, "frozen"))):
        old = os.path.join(HERE, "frozen", version)
        wrong += [f"{version} had: {x}" for x in still_holds(layout(old, cc, runner), now)]
    print(f"{len(now)} facts, {len(wrong)} wrong")
    print("\n".join(wrong))
    return bool(wrong)


sys.exit(main(sys.argv[1:]))
