#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Proves with z3, for all inputs, that packing and unpacking are inverse and that the SIMD decoders
of backends/cpu_simd/x86 read the same codes and terms as the scalar functions of format.h.

Constants are read out of the C sources, and the lines that a model stands for are quoted: if the C
changes, this fails until the model is looked at again. usage: unpack.py SOURCE_ROOT
"""
import pathlib
import re
import sys

try:
    import z3
except ImportError:
    print("SKIP: z3 for Python is not installed (package python3-z3)")
    sys.exit(77)

ROOT = pathlib.Path(sys.argv[1])
X86 = "backends/cpu_simd/x86/"
FORMAT = "include/q35/format.h"

# What the models below were written from, by file. White space does not matter.
QUOTED = {
    FORMAT: [
        "uint32_t bit = j * Q35_CODE_BITS, byte = bit / 8u, shift = bit % 8u; uint32_t v = row[byte];"
        " if (shift > 1u) /* the code runs into the next byte */"
        " v += 256u * row[byte + 1]; return (v >> shift) % 128u;",
        "uint32_t v = (code & 127u) << shift; row[byte] = (uint8_t)(row[byte] | (v & 255u));"
        " if (shift > 1u) row[byte + 1] = (uint8_t)(row[byte + 1] | (v >> 8));",
        "t->a0[c] + Q35_B_STEP * (int)(b / 16u)", "t->a1[c] + Q35_B_STEP * (int)(b % 16u)",
        "t->a2[c] + Q35_B_STEP * (int)q35_b_third(b)", "return (b / 16u ^ b) % 16u;",
    ],
    X86 + "vbmi.h": [
        "t->spread = _mm512_loadu_si512(vbmi_spread);",
        "w[2] = _mm512_add_epi8(w[2], _mm512_xor_si512(high, low));",
        "__m512i x = _mm512_permutexvar_epi8(t->spread, _mm512_loadu_si512(row));"
        " return _mm512_multishift_epi64_epi8(t->shifts, x);",
        "return _mm512_permutex2var_epi8(table[0], codes, table[1]);",
        "_mm512_gf2p8affine_epi64_epi8(b, t->high, 0)", "_mm512_and_si512(b, t->low)",
        "#define BIT(row, bit) (1ull << (8 * (7 - (row)) + (bit)))",
    ],
    X86 + "dots_shuffle.h": [
        "vec v = v_shuffle(load_groups(p), v_table(spread));",
        "return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),"
        " _mm_loadu_si128((const __m128i *)(p + 14)), 1);",
        "#define v_odd32(a, b) _mm256_blend_epi32(a, b, 0xaa)",
        "out->d[i][j][k] = (uint8_t)(from[i][16 * j + k] ^ (j ? from[i][16 * (j - 1) + k] : 0));",
        "index[7] = v_sub8(index[6], v_set8(16));",
        "z = v_add8(z, v_xor(high_term(b), low_term(b)));",
    ],
}

# Constants of the C, by name: file and pattern.
NUMBERS = {
    "shifts": (X86 + "vbmi.h", r"t->shifts = _mm512_set1_epi64\((0x[0-9a-f]+)ll\)"),
    "low": (X86 + "vbmi.h", r"t->low = _mm512_set1_epi8\((0x[0-9a-f]+)\)"),
    "odd_left": (X86 + "dots_shuffle.h", r"v_odd32\(v, v_shl64\(v, (\d+)\)\)"),
    "mask28": (X86 + "dots_shuffle.h", r"v_set64\((0x0f[0-9a-f]+)ull\)"),
    "mask14": (X86 + "dots_shuffle.h", r"v_or\(v_and\(v, v_set64\((0x[0-9a-f]+)ull\)\)"),
    "left14": (X86 + "dots_shuffle.h", r"v_and\(v_shl32\(v, (\d+)\)"),
    "mask14b": (X86 + "dots_shuffle.h", r"v_and\(v_shl32\(v, 2\), v_set64\((0x[0-9a-f]+)ull\)\)"),
    "mask7": (X86 + "dots_shuffle.h", r"return v_add16\(v, v_and\(v, v_set16\((0x[0-9a-f]+)\)\)\)"),
    "high_right": (X86 + "dots_shuffle.h", r"return v_and\(v_shr16\(b, (\d+)\), v_set8\(0x78\)\)"),
    "high_mask": (X86 + "dots_shuffle.h", r"return v_and\(v_shr16\(b, 1\), v_set8\((0x[0-9a-f]+)\)\)"),
    "low_left": (X86 + "dots_shuffle.h", r"return v_and\(v_shl16\(b, (\d+)\), v_set8\(0x78\)\)"),
    "low_mask": (X86 + "dots_shuffle.h", r"return v_and\(v_shl16\(b, 3\), v_set8\((0x[0-9a-f]+)\)\)"),
}
BITS = {"turn": r"__m512i turn = (.*?);", "high_bits": r"t->high = (.*?);"}


def read_sources(quoted, numbers):
    """The sources without their white space, and the numbers in them."""
    text = {f: " ".join((ROOT / f).read_text().split()) for f in quoted}
    for f, lines in quoted.items():
        for line in lines:
            if line not in text[f]:
                sys.exit("FAIL: %s no longer says `%s`: look at its model again" % (f, line))
    c = {}
    for name, (f, pattern) in numbers.items():
        found = re.findall(pattern, text[f])
        if len(found) != 1:
            sys.exit("FAIL: %s: `%s` matches %d times" % (f, pattern, len(found)))
        c[name] = int(found[0], 0)
    return text, c


def numbers_of(text, array):
    """The initialiser of an array."""
    found = re.findall(re.escape(array) + r" = \{(.*?)\}", text)
    return [int(x, 0) for x in found[0].split(",")]


def read_constants():
    text, c = read_sources(QUOTED, NUMBERS)
    for name, pattern in BITS.items():
        bits = re.findall(r"BIT\((\d), (\d)\)", re.findall(pattern, text[X86 + "vbmi.h"])[0])
        c[name] = sum(1 << (8 * (7 - int(r)) + int(b)) for r, b in bits)
    spread = re.findall(r"spread\[16\] = \{(.*?)\}", text[X86 + "dots_shuffle.h"])[0]
    c["spread"] = [int(x, 0) for x in spread.split(",")]
    c["spread512"] = numbers_of(text[X86 + "vbmi.h"], "vbmi_spread[64]")
    c["runs_over"] = 1
    c["code_mask"] = 127
    return c


def byte(v, i):
    return z3.Extract(8 * i + 7, 8 * i, v)


def join(parts):
    """Bytes, lowest first, as one vector."""
    return z3.Concat(*reversed(parts))


def wide(v):
    return z3.ZeroExt(32 - v.size(), v)


def code_get(c, row, j):
    """q35_code_get; row is a list of bytes."""
    at, shift = 7 * j >> 3, 7 * j & 7
    v = wide(row[at])
    if shift > c["runs_over"]:
        v = v + 256 * wide(row[at + 1])
    return z3.Extract(7, 0, z3.LShR(v, shift) & c["code_mask"])


def code_put(c, row, j, code):
    """q35_code_put."""
    at, shift = 7 * j >> 3, 7 * j & 7
    v = (wide(code) & 127) << shift
    row[at] = row[at] | z3.Extract(7, 0, v & 255)
    if shift > c["runs_over"]:
        row[at + 1] = row[at + 1] | z3.Extract(7, 0, z3.LShR(v, 8))


def pack_then_unpack(c):
    codes = [z3.BitVec("code%d" % j, 8) for j in range(64)]
    row = [z3.BitVecVal(0, 8)] * 56
    for j in range(64):
        code_put(c, row, j, codes[j])
    return z3.And([code_get(c, row, j) == codes[j] & 127 for j in range(64)])


def unpack_then_pack(c):
    row = [z3.BitVec("byte%d" % i, 8) for i in range(56)]
    out = [z3.BitVecVal(0, 8)] * 56
    for j in range(64):
        code_put(c, out, j, code_get(c, row, j))
    return z3.And([a == b for a, b in zip(row, out)])


def vbmi_codes(c):
    """vpermb and vpmultishiftqb; table look-ups take the low 7 bits of an index. Loads 64 bytes."""
    row = [z3.BitVec("byte%d" % i, 8) for i in range(64)]
    same = []
    for q in range(8):
        x = join([row[c["spread512"][8 * q + i] & 63] for i in range(8)])
        for i in range(8):
            turned = z3.RotateRight(x, (c["shifts"] >> (8 * i)) & 63)
            same.append(byte(turned, 0) & 127 == code_get(c, row, 8 * q + i))
    return z3.And(same)


def avx2_codes(c):
    """codes_of of dots_shuffle.h, the two halves of a row; two bytes over its end are loaded. The
    512-bit form does the same in each 128 bits."""
    row = [z3.BitVec("byte%d" % i, 8) for i in range(58)]
    same = []
    for lane in range(4):
        load = row[14 * lane:14 * lane + 16]
        moved = [z3.BitVecVal(0, 8) if s & 0x80 else load[s & 15] for s in c["spread"]]
        for half in range(2):
            v = join(moved[8 * half:8 * half + 8])
            v = z3.Concat(z3.Extract(63, 32, v << c["odd_left"]), z3.Extract(31, 0, v))
            v = v & c["mask28"]
            left = z3.Concat(*[z3.Extract(32 * k + 31, 32 * k, v) << c["left14"] for k in (1, 0)])
            v = v & c["mask14"] | left & c["mask14b"]
            words = [z3.Extract(16 * k + 15, 16 * k, v) for k in range(4)]
            v = join([w + (w & c["mask7"]) for w in words])
            for i in range(8):
                same.append(byte(v, i) == code_get(c, row, 16 * lane + 8 * half + i))
    return z3.And(same)


def shuffle_lookup(c):
    """look() and indices(): eight shuffles of 16 bytes are one table of 128."""
    table = [z3.BitVec("t%d" % i, 8) for i in range(128)]
    same = []
    for code in range(128):
        r = z3.BitVecVal(0, 8)
        for i in range(8):
            index = (code - c.get("index_step", 16) * i) & 255
            if not index & 0x80:
                k = index & 15
                r = r ^ (table[16 * i + k] ^ table[16 * (i - 1) + k] if i else table[k])
        same.append(r == table[code])
    return z3.And(same)


def affine(matrix, x):
    """gf2p8affineqb of a byte: bit i is the parity of x and byte 7 - i of the matrix."""
    bits = []
    for i in range(8):
        m = (matrix >> (8 * (7 - i))) & 255
        bit = z3.BitVecVal(0, 1)
        for k in range(8):
            if m >> k & 1:
                bit = bit ^ z3.Extract(k, k, x)
        bits.append(bit)
    return join(bits)


def scalar_terms(b):
    return 8 * z3.LShR(b, 4), 8 * (b & 15)


def gfni_terms(c):
    b = z3.BitVec("b", 8)
    turned = affine(c["turn"], b)
    high, low = scalar_terms(b)
    return z3.And(affine(c["high_bits"], turned) == high, turned & c["low"] == low)


def shuffle_terms(c):
    """16-bit shifts, so a neighbouring byte's bits come in and are masked off."""
    b = z3.BitVec("bb", 16)
    same = []
    for i in range(2):
        high, low = scalar_terms(byte(b, i))
        same += [byte(z3.LShR(b, c["high_right"]), i) & c["high_mask"] == high,
                 byte(b << c["low_left"], i) & c["low_mask"] == low]
    return z3.And(same)


def maddubs_fits(c):
    """|w| * q summed in pairs stays in 16 bits, so vpmaddubsw never saturates."""
    w, q = z3.Ints("w0 w1"), z3.Ints("q0 q1")
    top = c.get("w_max", 127)
    ranges = [z3.And(x >= 0, x <= top) for x in w] + [z3.And(y >= -127, y <= 127) for y in q]
    total = w[0] * q[0] + w[1] * q[1]
    return z3.Implies(z3.And(ranges), z3.And(total <= 32767, total >= -32768))


def third_term(c):
    """The share of B in the third weight: the exclusive or of what the other two get."""
    b = z3.BitVec("b", 8)
    high, low = scalar_terms(b)
    return 8 * ((z3.LShR(b, 4) ^ b) & c.get("third_mask", 15)) == high ^ low


def biased_add(c):
    """Tables that carry +128 give w + 128: added (AVX-512 VBMI) or turned over (shuffles)."""
    a, t = z3.BitVecs("a t", 8)
    bias = c.get("bias", 128)
    return z3.And(a + bias + t == a + t + 128, (a ^ bias) + t == a + t + 128)


def spread_broken(c):
    return {"spread512": [5 if x == 6 else x for x in c["spread512"]]}


# Theorem, then the broken variants that must be refuted.
THEOREMS = [
    (pack_then_unpack, [{"runs_over": 2}, {"code_mask": 63}]),
    (unpack_then_pack, [{"runs_over": 2}, {"code_mask": 63}]),
    (vbmi_codes, [lambda c: {"shifts": c["shifts"] ^ 1 << 8}, spread_broken]),
    (avx2_codes, [lambda c: {"mask28": c["mask28"] ^ 1 << 27}, lambda c: {"mask14": c["mask14"] ^ 1},
                  lambda c: {"mask14b": c["mask14b"] ^ 1 << 16},
                  lambda c: {"mask7": c["mask7"] ^ 1 << 7}, {"odd_left": 3}, {"left14": 1}]),
    (shuffle_lookup, [{"index_step": 15}]),
    (gfni_terms, [lambda c: {"turn": c["turn"] << 1}, lambda c: {"high_bits": c["high_bits"] >> 8},
                  {"low": 0x70}]),
    (shuffle_terms, [{"high_right": 2}, {"high_mask": 0x7c}, {"low_left": 4}, {"low_mask": 0x70}]),
    (third_term, [{"third_mask": 7}, {"third_mask": 31}]),
    (maddubs_fits, [{"w_max": 130}]),
    (biased_add, [{"bias": 127}]),
]


def proved(claim):
    s = z3.Solver()
    s.set("timeout", 60000)
    s.add(z3.Not(claim))
    return s.check()


def report(theorems, constants):
    """Proves each theorem and refutes its variants; the exit status."""
    bad = 0
    for theorem, variants in theorems:
        got = proved(theorem(constants))
        print("%-18s %s" % (theorem.__name__, "proved" if got == z3.unsat else "NOT PROVED (%s)" % got))
        bad += got != z3.unsat
        for number, change in enumerate(variants, 1):
            change = change(constants) if callable(change) else change
            got = proved(theorem({**constants, **change}))
            ok = got == z3.sat
            print("  broken variant %d: %s" % (number, "refuted" if ok else "NOT REFUTED (%s)" % got))
            bad += not ok
    print("z3 %s: %d theorems" % (z3.get_version_string(), len(theorems)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(report(THEOREMS, read_constants()))
