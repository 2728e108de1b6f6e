#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Writes text files as arrays of lines in C: embed.py NAME FILE... -> NAME[] of {name, lines}."""
import os
import sys


def literal(line):
    escape = {"\\": "\\\\", '"': '\\"', "\t": "\\t"}
    return '    "' + "".join(escape.get(c, c) for c in line.rstrip("\n")) + '\\n",'


for i, path in enumerate(sys.argv[2:]):
    with open(path, encoding="ascii") as f:
        print("static const char *const file_%d[] = {" % i)
        print("\n".join(literal(line) for line in f))
        print("    NULL,\n};")
print("static const struct {\n    const char *name;\n    const char *const *lines;\n} %s[] = {"
      % sys.argv[1])
for i, path in enumerate(sys.argv[2:]):
    print('    {"%s", file_%d},' % (os.path.basename(path), i))
print("};")
