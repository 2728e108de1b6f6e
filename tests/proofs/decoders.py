#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""More of unpack.py: the NEON decoder, the ring of TRELLIS2 in each decoder, the tiles of the AMX
kernel, and the last step of the activation quantizer on every float. usage: decoders.py SOURCE_ROOT
"""
import sys

import unpack
from unpack import X86, byte, code_get, join, z3

ARM = "backends/cpu_simd/arm/dots_table.h"
ARITH = "include/q35/arith.h"
RING = "uint32_t row = (r + 16u - back) % 16u; uint32_t col = Q35_SCHEME_RING(scheme) && r < back ?"

QUOTED = {
    unpack.FORMAT: [RING + " (j + 63u) % 64u : j;",
                    "h = (h ^ q35_code_before(scheme, tile, r, j, 2)) % 128u;"],
    ARITH: ["v = v > 127.0f ? 127.0f : v; v = v < -127.0f ? -127.0f : v;"
            " return v == v ? (int8_t)(int)v : (int8_t)0;"],
    ARM: [
          "z = vaddq_u8(z, veorq_u8(high, low));","return vqtbx4q_u8(vqtbl4q_u8(t->low, code), t->high, vsubq_u8(code, vdupq_n_u8(64)));",
          "spread[16] = {0, 1, 2, 3, 4, 5, 6, 255, 7, 8, 9, 10, 11, 12, 13, 255};",
          "vqtbl1q_u8(vld1q_u8(p), vld1q_u8(spread))",
          "b[i] = look(&t->b, ring ? veorq_u8(up[i], vextq_u8(c14[(i + 3) & 3], c14[i], 15)) : up[i]);",
          "b[part] = look(&t->b, ring ? veorq_u8(code, up[part]) : code); up[part] = code;",
          "int16x8_t p = vmull_s8(vget_low_s8(w), vget_low_s8(q));"
          " return vpadalq_s16(sum, vmlal_s8(p, vget_high_s8(w), vget_high_s8(q)));"],
    X86 + "vbmi.h": [
        "a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);"
        " a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);",
        "b[4 * i + 2 * j] = _mm512_unpacklo_epi64(a[4 * i + j], a[4 * i + 2 + j]);"
        " b[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a[4 * i + j], a[4 * i + 2 + j]);",
        "__m512i lo2 = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);"
        " __m512i hi2 = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);"
        " out[i] = _mm512_shuffle_i32x4(lo, lo2, 0x88); out[8 + i] = _mm512_shuffle_i32x4(lo, lo2, 0xdd);"
        " out[4 + i] = _mm512_shuffle_i32x4(hi, hi2, 0x88);"
        " out[12 + i] = _mm512_shuffle_i32x4(hi, hi2, 0xdd);",
        "code = codes_of(t, tile + 15 * Q35_ROW_BYTES);", "before = codes_of(t, tile + 14 * Q35_ROW_BYTES);",
        "before = _mm512_permutexvar_epi8(t->column, _mm512_xor_si512(code, before));"
        " up->code = _mm512_permutexvar_epi8(t->column, code); up->b = look(t->b, before);",
        "t->column = _mm512_loadu_si512(vbmi_column);",
        "up->b = look(t->b, ring ? _mm512_xor_si512(code, up->code) : code); up->code = code;"],
    X86 + "dots_shuffle.h": [
        "v_store(code + 1 + part * BYTES, codes_of(tile + (14 + r) * Q35_ROW_BYTES + part * STEP_BYTES));",
        "memcpy(out[r], code, 64);",
        "above = ring ? v_load(seam[1] + part * BYTES) :",
        "indices(ring ? v_xor(above, v_load(seam[0] + part * BYTES)) : above, index);",
        "indices(v_xor(code, above), index); above = code;"],
    X86 + "dots_amx.c": [
        "decode(t, tile + Q35_ROW_BYTES * r, &up, weights, has_b, ring, of_row);"
        " for (c = 0; c < (uint32_t)weights; c++)"
        " _mm512_store_si512(w + c * TILE + 64 * r, of_row[c]);"],
    X86 + "amx_tile.h": ["c[m][n] += sum over k of u8 a[m][k] * s8 b[k / 4][4 n + k % 4]"],
}

NUMBERS = {
    "n28": (ARM, r"vandq_u64\(v, vdupq_n_u64\((0x[0-9a-f]+)ull\)\)"),
    "n28up": (ARM, r"vandq_u64\(vshlq_n_u64\(v, 4\), vdupq_n_u64\((0x[0-9a-f]+)ull\)\)"),
    "n_left": (ARM, r"vandq_u64\(vshlq_n_u64\(v, (\d+)\)"),
    "n14": (ARM, r"vandq_u32\(w, vdupq_n_u32\((0x[0-9a-f]+)u\)\)"),
    "n14up": (ARM, r"vandq_u32\(vshlq_n_u32\(w, 2\), vdupq_n_u32\((0x[0-9a-f]+)u\)\)"),
    "n7": (ARM, r"vaddq_u16\(x, vandq_u16\(x, vdupq_n_u16\((0x[0-9a-f]+)\)\)\)"),
    "n_high": (ARM, r"vshlq_n_u8\(vshrq_n_u8\(b\[part\], 4\), (\d+)\)"),
    "n_low": (ARM, r"vshrq_n_u8\(vshlq_n_u8\(b\[part\], 4\), (\d+)\)"),
    "n_ext": (ARM, r"up\[i\] = ring \? vextq_u8\(c15\[\(i \+ 3\) & 3\], c15\[i\], (\d+)\)"),
    "s_wrap": (X86 + "dots_shuffle.h", r"code\[0\] = code\[(\d+)\]"),
    "amx_lo": (X86 + "vbmi.h", r"lo = _mm512_shuffle_i32x4\(b\[i\], b\[4 \+ i\], (0x[0-9a-f]+)\)"),
    "amx_hi": (X86 + "vbmi.h", r"hi = _mm512_shuffle_i32x4\(b\[i\], b\[4 \+ i\], (0x[0-9a-f]+)\)"),
}


def neon_codes(c):
    """codes_of: the four parts of a row; two bytes over its end are loaded."""
    row, same = [z3.BitVec("byte%d" % i, 8) for i in range(58)], []
    spread = [0, 1, 2, 3, 4, 5, 6, 255, 7, 8, 9, 10, 11, 12, 13, 255]
    for part in range(4):
        moved = [row[14 * part + s] if s < 16 else z3.BitVecVal(0, 8) for s in spread]
        for half in range(2):
            v = join(moved[8 * half:8 * half + 8])
            v = v & c["n28"] | v << c["n_left"] & c["n28up"]
            words = [z3.Extract(32 * k + 31, 32 * k, v) for k in range(2)]
            v = join([w & c["n14"] | w << 2 & c["n14up"] for w in words])
            words = [z3.Extract(16 * k + 15, 16 * k, v) for k in range(4)]
            v = join([w + (w & c["n7"]) for w in words])
            same += [byte(v, i) == code_get(c, row, 16 * part + 8 * half + i) for i in range(8)]
    return z3.And(same)


def neon_look(c):
    """Two tables of 64 bytes are one of 128: tbl gives 0 outside, tbx keeps what was there."""
    table, same = [z3.BitVec("t%d" % i, 8) for i in range(128)], []
    for code in range(128):
        r = table[code] if code < 64 else z3.BitVecVal(0, 8)
        k = (code - c.get("split", 64)) & 255
        same.append((table[64 + k] if k < 64 else r) == table[code])
    return z3.And(same)


def neon_terms(c):
    b = z3.BitVec("b", 8)
    high, low = unpack.scalar_terms(b)
    return z3.And(z3.LShR(b, 4) << c["n_high"] == high, z3.LShR(b << 4, c["n_low"]) == low)


def neon_products_fit(c):
    """Without sdot two products are summed in 16 bits."""
    w, q, top = z3.Ints("w0 w1"), z3.Ints("q0 q1"), c.get("w_max", 127)
    ranges = [z3.And(-top <= x, x <= top) for x in w + q]
    total = w[0] * q[0] + w[1] * q[1]
    return z3.Implies(z3.And(ranges), z3.And(total <= 32767, total >= -32768))


def tile_codes():
    return [[z3.BitVec("c_%d_%d" % (r, j), 7) for j in range(64)] for r in range(16)]


def before(code, r, j, back):
    """q35_code_before of a ring."""
    return code[(r + 16 - back) % 16][(j + 63) % 64 if r < back else j]


def down(code, h, up):
    """What every decoder does from row to row: the index of B that each row gets."""
    used = []
    for r in range(16):
        used.append(h)
        h = [x ^ y for x, y in zip(code[r], up)]
        up = code[r]
    return used


def ring_holds(code, used):
    return z3.And([used[r][j] == before(code, r, j, 1) ^ before(code, r, j, 2)
                   for r in range(16) for j in range(64)])


def vbmi_ring(c):
    """decode_seam and decode of vbmi.h, which the AMX kernel uses too."""
    code = tile_codes()
    column = c["v_column"]
    both = [x ^ y for x, y in zip(code[15], code[14])]
    return ring_holds(code, down(code, [both[i] for i in column], [code[15][i] for i in column]))


def shuffle_ring(c):
    """ring_codes and decode_tile of dots_shuffle.h."""
    code, seam = tile_codes(), []
    for r in range(2):
        stored = [None] + code[14 + r]
        stored[0] = stored[c["s_wrap"]]
        seam.append(stored[:64])
    return ring_holds(code, down(code, [x ^ y for x, y in zip(seam[1], seam[0])], seam[1]))


def neon_ring(c):
    """seam and decode_tile of dots_table.h."""
    code = tile_codes()

    def moved(row):
        v = [row[16 * i:16 * i + 16] for i in range(4)]
        return sum([(v[(i + 3) & 3] + v[i])[c["n_ext"]:c["n_ext"] + 16] for i in range(4)], [])

    up = moved(code[15])
    return ring_holds(code, down(code, [x ^ y for x, y in zip(up, moved(code[14]))], up))


def lanes(v):
    return [v[4 * i:4 * i + 4] for i in range(4)]


def unpacklo32(a, b):
    return sum([[x[0], y[0], x[1], y[1]] for x, y in zip(lanes(a), lanes(b))], [])


def unpackhi32(a, b):
    return sum([[x[2], y[2], x[3], y[3]] for x, y in zip(lanes(a), lanes(b))], [])


def unpacklo64(a, b):
    return sum([x[:2] + y[:2] for x, y in zip(lanes(a), lanes(b))], [])


def unpackhi64(a, b):
    return sum([x[2:] + y[2:] for x, y in zip(lanes(a), lanes(b))], [])


def shuffle128(a, b, imm):
    a, b = lanes(a), lanes(b)
    return a[imm & 3] + a[imm >> 2 & 3] + b[imm >> 4 & 3] + b[imm >> 6 & 3]


def transpose16(c, rows):
    """vbmi.h, on rows of 16 elements."""
    a, b, out = [None] * 16, [None] * 16, [None] * 16
    for i in range(8):
        a[2 * i] = unpacklo32(rows[2 * i], rows[2 * i + 1])
        a[2 * i + 1] = unpackhi32(rows[2 * i], rows[2 * i + 1])
    for i in range(4):
        for j in range(2):
            b[4 * i + 2 * j] = unpacklo64(a[4 * i + j], a[4 * i + 2 + j])
            b[4 * i + 2 * j + 1] = unpackhi64(a[4 * i + j], a[4 * i + 2 + j])
    for i in range(4):
        lo, hi = (shuffle128(b[i], b[4 + i], c[k]) for k in ("amx_lo", "amx_hi"))
        lo2, hi2 = (shuffle128(b[8 + i], b[12 + i], k) for k in (0x88, 0xdd))
        out[i], out[8 + i] = shuffle128(lo, lo2, 0x88), shuffle128(lo, lo2, 0xdd)
        out[4 + i], out[12 + i] = shuffle128(hi, hi2, 0x88), shuffle128(hi, hi2, 0xdd)
    return out


def amx_transpose(c):
    rows = [[z3.BitVec("x_%d_%d" % (i, j), 32) for j in range(16)] for i in range(16)]
    out = transpose16(c, rows)
    return z3.And([out[i][j] == rows[j][i] for i in range(16) for j in range(16)])


def amx_activations(c):
    """Packed tokens are the B-tile that tdpbusd wants: b[k / 4][4 n + k % 4] is token n's column k,
    so that with A-tile row m = weights of row m, c[m][n] is the product of row m and token n."""
    q = [[z3.BitVec("q_%d_%d" % (n, k), 8) for k in range(64)] for n in range(16)]
    tile = transpose16(c, [[join(t[4 * i:4 * i + 4]) for i in range(16)] for t in q])
    return z3.And([byte(tile[k // 4][n], k % 4) == q[n][k] for n in range(16) for k in range(64)])


def clamp_every_float(c):
    """q35_clamp_int8 on all floats, NaN and infinities too: in range, NaN gives 0, the conversion to
    int is always defined, and whole numbers within the range are themselves."""
    v = z3.FP("v", z3.Float32())
    top = z3.FPVal(127, z3.Float32())
    low = z3.FPVal(c.get("low", -127), z3.Float32())
    r = z3.If(v > top, top, v)
    r = z3.If(r < low, low, r)
    n = z3.If(z3.fpEQ(r, r), z3.fpToSBV(z3.RTZ(), r, z3.BitVecSort(32)), z3.BitVecVal(0, 32))
    whole = z3.fpEQ(v, z3.fpRoundToIntegral(z3.RNE(), v))
    inside = z3.And(v <= top, v >= z3.FPVal(-127, z3.Float32()), whole)
    return z3.And(n >= -127, n <= 127, z3.Implies(z3.fpIsNaN(v), n == 0),
                  z3.Implies(inside, z3.fpEQ(z3.fpSignedToFP(z3.RNE(), n, z3.Float32()), v)))


THEOREMS = [
    (neon_codes, [lambda c: {"n28": c["n28"] ^ 1 << 27}, lambda c: {"n28up": c["n28up"] ^ 1 << 32},
                  {"n_left": 3}, lambda c: {"n14": c["n14"] ^ 1}, lambda c: {"n14up": c["n14up"] ^ 1 << 29},
                  lambda c: {"n7": c["n7"] ^ 1 << 13}]),
    (neon_look, [{"split": 63}]),
    (neon_terms, [{"n_high": 2}, {"n_low": 2}]),
    (neon_products_fit, [{"w_max": 129}]),
    (vbmi_ring, [lambda c: {"v_column": c["v_column"][1:] + c["v_column"][:1]}]),
    (shuffle_ring, [{"s_wrap": 63}]),
    (neon_ring, [{"n_ext": 14}]),
    (amx_transpose, [{"amx_lo": 0xdd}, {"amx_hi": 0x8d}]),
    (amx_activations, [{"amx_hi": 0x8d}]),
    (clamp_every_float, [{"low": -128}]),
]


if __name__ == "__main__":
    text, constants = unpack.read_sources(QUOTED, NUMBERS)
    constants["v_column"] = unpack.numbers_of(text[X86 + "vbmi.h"], "vbmi_column[64]")
    sys.exit(unpack.report(THEOREMS, {**constants, "runs_over": 1, "code_mask": 127}))
