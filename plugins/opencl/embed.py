#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Turns OpenCL sources into C arrays, one for each part that begins with a line //NAME.

usage: embed.py out.h source.cl ...
"""
import re
import sys

parts = []
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as f:
        parts += re.split(r"^//([A-Z]+)\n", f.read(), flags=re.M)[1:]
with open(sys.argv[1], "w", encoding="utf-8") as out:
    for name, text in zip(parts[::2], parts[1::2]):
        out.write(f"static const char source_{name.lower()}[] = {{\n")
        data = list(text.encode("ascii")) + [0]
        for i in range(0, len(data), 24):
            out.write("    " + ", ".join(map(str, data[i:i + 24])) + ",\n")
        out.write("};\n")
