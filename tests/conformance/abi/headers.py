# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Reads the public headers just well enough to list their structs and enumerators."""
import re

HEADERS = ["status.h", "format.h", "ops.h", "backend.h", "measure.h"]
STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.M | re.S)
ENUM = re.compile(r"^enum (\w+) \{(.*?)\};", re.M | re.S)
MACRO = re.compile(r"^#define (Q35_[A-Z0-9_]+) +[^\s\\].*$", re.M)
# Structs that a reader steps over by a stride instead of reading their size.
STRIDED = ["q35_tensor_desc", "q35_token", "q35_option_spec"]


def strip(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def fields(body):
    """Names of the fields, in order."""
    out = []
    for line in re.sub(r"\s+", " ", body).split(";"):
        pointer = re.search(r"\(\*(\w+)\)\s*\(", line)
        name = pointer or re.search(r"(\w+)(\[[^\]]*\])*\s*$", line.strip())
        if name and line.strip():
            out.append(name.group(1))
            # "struct x *prev, *next": every name
            if not pointer:
                for more in re.findall(r"(\w+)(?:\[[^\]]*\])*\s*,", line):
                    out.insert(-1, more)
    return out


def declarations(body):
    """The fields as they are written, blanks aside: the types, and what functions take."""
    return [re.sub(r"\s+", " ", d).strip() for d in body.split(";") if d.strip()]


def types(text):
    """A line for each declaration in each struct."""
    return [f"type struct {m.group(1)}: {d}" for m in STRUCT.finditer(strip(text))
            for d in declarations(m.group(2))]


def structs(text):
    return [(m.group(1), fields(m.group(2))) for m in STRUCT.finditer(strip(text))]


def enumerators(text):
    """(enum, name) of every enumerator that is written out."""
    out = []
    for m in ENUM.finditer(strip(text)):
        body = re.sub(r"^#.*$", "", m.group(2), flags=re.M)
        for item in re.sub(r"\([^()]*\)", "", body).split(","):
            name = re.match(r"\s*(Q35_\w+)", item)
            if name and not name.group(1).startswith("Q35_STATUS_MAP"):
                out.append((m.group(1), name.group(1)))
    for m in re.finditer(r"^    X\((\w+), \d+,", text, re.M):
        out.append(("q35_status", "Q35_" + m.group(1)))
    return out


def grow(text):
    """The header one minor later: two fields more at the end of every struct that may grow."""
    def longer(m):
        names = fields(strip(m.group(2)))
        if names[0] != "size" and m.group(1) not in STRIDED:
            return m.group(0)
        return f"struct {m.group(1)} {{\n{m.group(2)}    uint64_t later_a;\n    uint64_t later_b;\n}};"

    text = STRUCT.sub(longer, text)
    return re.sub(r"(#define Q35_ABI_MINOR )(\d+)u", lambda m: f"{m.group(1)}{int(m.group(2)) + 1}u", text)
