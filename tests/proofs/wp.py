#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Proves the ACSL contracts (/*@ ... */) in the C sources with Frama-C's WP and the solvers z3 and
CVC4: functional contracts, no access out of bounds, no overflow, loops end. Then breaks the C or a
contract of each function and shows that its proof fails. usage: wp.py SOURCE_ROOT WORK_DIR
"""
import pathlib
import re
import shutil
import subprocess
import sys

UNSIGNED = ["-warn-unsigned-overflow"]  # wrapping is an error too
REALS = ["-warn-special-float", "none", "-wp-model", "real"]  # floats as real numbers

FORMAT = "include/q35/format.h"
BASE = "core/base/base.c"
OPS = "backends/reference/ops.c"
ARITH = "include/q35/arith.h"
GGUF = "core/model/gguf_parse.c"
TILING = "backends/groq/mlir/tiling.h"

# A file to parse (a header by an include), its functions and options.
UNITS = [
    (FORMAT, UNSIGNED, ["q35_pad_rows", "q35_pad_cols", "q35_tile_cols", "q35_tiles_per_row", "q35_tile_used",
                        "q35_codes_offset", "q35_blob_bytes", "q35_code_get", "q35_code_before",
                        "q35_b_third"]),
    (FORMAT, UNSIGNED, ["q35_decode_row"]),
    (FORMAT, [], ["q35_code_put"]),
    (OPS, UNSIGNED, ["row_dot"]),
    (ARITH, REALS, ["q35_clamp_int8", "q35_quantize"]),
    (BASE, UNSIGNED, ["q35_mul_size", "q35_add_size"]),
    (GGUF, UNSIGNED, ["need", "get_u32", "get_u64", "get_string", "count_values", "value_bytes"]),
    (GGUF, [], ["load_le"]),
    (TILING, UNSIGNED, ["groq_tile_fixed_bytes", "groq_tile_block_bytes", "groq_tile_bytes",
                        "groq_tile_choose"]),
]

# Function, file, text, what it becomes: its proof must then fail.
BROKEN = [
    ("q35_pad_rows", FORMAT, "(rows + (Q35_ROW_ALIGN - 1)) /", "(rows + (Q35_ROW_ALIGN - 2)) /"),
    ("q35_blob_bytes", FORMAT, "requires rows <= Q35_MAX_ROWS && cols", "requires cols"),
    ("q35_code_get", FORMAT, "if (shift > 1u) /* the", "if (shift > 0u) /* the"),
    ("q35_code_get", FORMAT, "return (v >> shift) % 128u", "return (v >> shift) % 256u"),
    ("q35_code_put", FORMAT, "row[byte + 1] = (uint8_t)(row", "row[byte + 2] = (uint8_t)(row"),
    ("q35_code_before", FORMAT, "(r + 16u - back) % 16u", "(r + 16u - back) % 17u"),
    ("q35_decode_row", FORMAT, "Q35_B_STEP * (int)(b % 16u)", "Q35_B_STEP * (int)(b % 32u)"),
    ("q35_decode_row", FORMAT, "w[j + 64u]", "w[j + 65u]"),
    ("row_dot", OPS, "requires n <= Q35_MAX_COLS &&", "requires n <= Q35_MAX_COLS + 1 &&"),
    ("row_dot", OPS, "uint32_t k;\n", "uint32_t k; sum = 1;\n"),
    ("q35_clamp_int8", ARITH, "v < -127.0f ? -127.0f", "v < -127.0f ? -128.0f"),
    ("q35_mul_size", BASE, "b > UINT64_MAX / a", "b > UINT64_MAX / a + 1"),
    ("q35_add_size", BASE, "b > UINT64_MAX - a", "b >= UINT64_MAX - a"),
    ("need", GGUF, "if (n <= c->g->bytes - c->at)", "if (n <= c->g->bytes)"),
    ("get_u32", GGUF, "need(c, 4, what)", "need(c, 3, what)"),
    ("get_string", GGUF, "st = need(c, len, what)", "st = need(c, len - 1, what)"),
    ("count_values", GGUF, "*n > (uint64_t)INT64_MAX / 16)", "*n > (uint64_t)INT64_MAX / 8)"),
    ("value_bytes", GGUF, "bytes <= 9 * block;", "bytes <= 32 * block;"),
    ("groq_tile_choose", TILING, "blocks > rows_padded / 16u", "blocks > rows_padded / 8u"),
    ("groq_tile_choose", TILING, "#define GROQ_ACT_BYTES (64u", "#define GROQ_ACT_BYTES (256u"),
    ("q35_pad_cols", FORMAT, "(cols + (Q35_COL_ALIGN - 1)) /", "(cols + Q35_COL_ALIGN) /"),
    ("q35_tile_cols", FORMAT, "return Q35_TILE_CODES * Q35", "return 63u * Q35"),
    ("q35_tiles_per_row", FORMAT, "ensures 64 * \\result <= cols + 127", "ensures 64 * \\result <= cols + 126"),
    ("q35_tiles_per_row", FORMAT, "(q35_pad_cols(cols) + (width - 1)) / width", "q35_pad_cols(cols) / width"),
    ("q35_tile_used", FORMAT, "left < width ? left : width", "width"),
    ("q35_b_third", FORMAT, "return (b / 16u ^ b) % 16u", "return (b / 16u ^ b) % 32u"),
    ("q35_decode_row", FORMAT, "w[j + 128u]", "w[j + 129u]"),
    ("q35_codes_offset", FORMAT, "4u * (uint64_t)q35_pad_rows", "3u * (uint64_t)q35_pad_rows"),
    ("q35_quantize", ARITH, "            q[i] = 0;", "            q[i + 1] = 0;"),
    ("get_u64", GGUF, "need(c, 8, what)", "need(c, 7, what)"),
    ("load_le", GGUF, "(uint64_t)p[i] << (8 * i)", "(uint64_t)p[i] << (10 * i)"),
    ("groq_tile_fixed_bytes", TILING, "16u * 64u + 16u *", "16u * 65u + 16u *"),
    ("groq_tile_block_bytes", TILING, "k_tiles + 128u + 128u", "k_tiles + 129u + 128u"),
    ("groq_tile_bytes", TILING, "t.rows / 16u * groq", "t.rows / 8u * groq"),
]

# Solver steps for a goal: what cannot be proved is given up after so many, so few save time.
STEPS = {"q35_decode_row": 300000}
FEW_STEPS = 80000


def configure(work):
    """The provers by version: Why3's own detection, without its file in the home."""
    found = []
    for name, program, pattern in [("Z3", "z3", r"version (\S+)"), ("CVC4", "cvc4", r"version (\S+)")]:
        path = shutil.which(program)
        if path:
            text = subprocess.run([path, "--version"], text=True, capture_output=True).stdout
            found.append((name, path, re.search(pattern, text).group(1)))
    out = "[main]\nmagic = 14\nmemlimit = 4000\nrunning_provers_max = 2\ntimelimit = 60\n"
    for name, path, version in found:
        out += '\n[partial_prover]\nname = "%s"\npath = "%s"\nversion = "%s"\n' % (name, path, version)
    (work / "why3.conf").write_text(out)
    return [name for name, _, _ in found]


def missing():
    if not shutil.which("frama-c"):
        return "frama-c is not installed (package frama-c-base)"
    if not pathlib.Path("/usr/share/why3/provers-detection-data.conf").exists():
        return "Why3's data are not installed (package why3)"
    absent = [p for p in ("z3", "cvc4") if not shutil.which(p)]
    return "%s is not installed" % " and ".join(absent) if absent else None


def parsed(root, work, file):
    """What Frama-C parses for a file: a header is included, arith.h with the C library abstract."""
    if file == ARITH:
        return root / "tests/proofs/wp_arith.c"
    if file.endswith(".c"):
        return root / file
    out = work / (pathlib.Path(file).stem + ".c")
    out.write_text('#include "%s"\n' % file)
    return out


def prove(root, work, file, options, functions):
    """Goals proved and goals in all, and the names of those that are not."""
    cpp = "-I%s -I%s/include" % (root, root)
    steps = str(STEPS.get(functions[0], FEW_STEPS))
    got = subprocess.run(
        ["frama-c", "-no-autoload-plugins", "-load-module", "wp,rtegen,variadic", "-machdep",
         "gcc_x86_64", "-cpp-extra-args=" + cpp, *options, "-wp", "-wp-rte", "-wp-prover", "z3,cvc4",
         "-wp-steps", steps, "-wp-timeout", "60", "-wp-par", "2", "-wp-fct", ",".join(functions),
         str(parsed(root, work, file))],
        env={"PATH": "/usr/bin:/bin", "HOME": str(work), "WHY3CONFIG": str(work / "why3.conf")},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=work)
    total = re.search(r"Proved goals:\s+(\d+) / (\d+)", got.stdout)
    if not total:
        return 0, 0, [got.stdout[-2000:]]
    open_goals = re.findall(r"\[wp\] \[(?:Failed|Unknown|Timeout|Stepout)\] Goal (\S+)", got.stdout)
    return int(total.group(1)), int(total.group(2)), open_goals


def refute(root, work, function, file, old, new):
    """The proof of one function over a copy of the sources in which a text is changed."""
    copy = work / "broken"
    shutil.rmtree(copy, ignore_errors=True)
    for folder in ("include", "core/base", "core/model", "backends/reference", "backends/groq"):
        shutil.copytree(root / folder, copy / folder)
    (copy / "tests/proofs").mkdir(parents=True)
    shutil.copy(root / "tests/proofs/wp_arith.c", copy / "tests/proofs")
    text = (copy / file).read_text()
    if text.count(old) != 1:
        print("FAIL: %s: `%s` occurs %d times" % (file, old, text.count(old)))
        return 1
    (copy / file).write_text(text.replace(old, new))
    options = next(o for f, o, names in UNITS if f == file and function in names)
    done, goals, open_goals = prove(copy, work, file, options, [function])
    ok = 0 < goals and done < goals
    print("  broken variant of %s: %s" % (function, "rejected" if ok else "NOT REJECTED (%d of %d) %s" % (
        done, goals, open_goals)))
    return 0 if ok else 1


def check_types(root):
    """The precondition of value_bytes for every row of tensor_types."""
    text = (root / GGUF).read_text()
    table = re.search(r"tensor_types\[\] = \{(.*?)\n\};", text, re.S).group(1)
    rows = re.findall(r"\{\w+, (\d+), (\d+), \"\w+\"\}", table)
    ok = len(rows) == table.count("{") and all(1 <= int(b) and int(n) <= 9 * int(b) for b, n in rows)
    print("tensor_types: %d rows %s" % (len(rows), "keep to value_bytes' contract" if ok else "FAIL"))
    return 0 if ok else 1


def main():
    why = missing()
    if why:
        print("SKIP: " + why)
        sys.exit(77)
    root, work = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    configure(work)
    bad = check_types(root)
    for file, options, functions in UNITS:
        done, goals, open_goals = prove(root, work, file, options, functions)
        ok = done == goals > 0
        print("%s: %s: %d of %d goals%s" % (file, ", ".join(functions), done, goals,
                                          "" if ok else " FAIL " + " ".join(open_goals)))
        bad += not ok
    without = {f for _, _, fs in UNITS for f in fs} - {b[0] for b in BROKEN}
    if without:
        print("FAIL: no broken variant of %s" % ", ".join(sorted(without)))
        bad += 1
    for variant in BROKEN:
        bad += refute(root, work, *variant)
    sys.exit(1 if bad else 0)


main()
