#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Turns kernels.cl into C arrays, one for each part that begins with a line //NAME.

usage: embed.py kernels.cl out.h
"""
import re
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    parts = re.split(r"^//([A-Z]+)\n", f.read(), flags=re.M)[1:]
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for name, text in zip(parts[::2], parts[1::2]):
        out.write(f"static const char source_{name.lower()}[] = {{\n")
        data = list(text.encode("ascii")) + [0]
        for i in range(0, len(data), 24):
            out.write("    " + ", ".join(map(str, data[i:i + 24])) + ",\n")
        out.write("};\n")
