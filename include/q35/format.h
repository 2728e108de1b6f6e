/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_FORMAT_H
#define Q35_FORMAT_H

/* The packed weight format. This header alone is enough to decode a packed tensor.
 *
 * A weight matrix has M rows (outputs) and K columns (inputs). M is padded to a multiple of 16 and
 * K to a multiple of 128; padding rows and columns decode to anything and must not be used (the
 * activations of padding columns are zero, the outputs of padding rows are dropped).
 *
 * CODE   7 bits. In the pair schemes a code stands for two weights of one row (3.5 bits each), in
 *        the single schemes for one weight (7 bits), in the triple schemes for three (2.33 bits).
 * TILE   16 rows x 64 codes = 896 bytes. A tile covers 128 columns (pair schemes), 64 columns
 *        (single schemes) or 192 (triple schemes), in segments of 64. Tiles are stored row-block
 *        major, then along K. The last tile of a triple row may have one or two segments beyond the
 *        padded K: they decode to anything and must not be used (q35_tile_used).
 * ROW    In a tile row r has 56 bytes at offset 56*r: 8 groups of 7 bytes; a group holds 8 codes in
 *        little-endian bit order, so code j occupies bits 7*j .. 7*j+6 of the 448-bit row.
 *
 * Decoding uses tables of 128 bytes: A0, A1 and A2 (int8), and B, whose bytes hold two unsigned
 * 4-bit numbers, the high nibble for the first weight and the low nibble for the second; the third
 * weight has the exclusive or of both. With c a code, p the code before it and pp the one before p:
 *
 *     w(r, j)       = A0[c] + 8 * (B[h] >> 4)
 *     w(r, j + 64)  = A1[c] + 8 * (B[h] & 15)                     (pair and triple schemes)
 *     w(r, j + 128) = A2[c] + 8 * ((B[h] >> 4) ^ (B[h] & 15))     (triple schemes)
 *
 *     h = p        TRELLIS, TRIPLE: p is the code above in the same tile, tail-biting:
 *                  p = c((r - 1) mod 16, j)
 *     h = p ^ pp   TRELLIS2: the codes of a tile form one ring of 1024, down column 0, then down
 *                  column 1 ...: above row 0 of column j stands row 15 of column (j - 1) mod 64. A
 *                  decoder that goes down the rows starts with the codes of rows 14 and 15 moved up
 *                  by one column.
 *
 * Schemes without memory have B = 0; A1 of single schemes and A2 of single and pair schemes are
 * zero and not looked at.
 * Every sum lies in [-127, 127].
 * The real weight is  w * scale[row]; nothing else is stored.
 *
 * ROTATION  When rot_block > 0 the stored matrix is W * D * H / rot_block, where D is a diagonal of
 * signs and H has Hadamard matrices of that size (entries 1 and -1) along its diagonal. So the
 * activation vector x, padded with zeros to K_padded, is replaced by H * D * x before quantization
 * (q35_rotate in arith.h), and a row of W is H, then D, times a stored row (q35_unrotate). The
 * divisor is inside the row scales: nobody else divides.
 *
 * BLOB  A packed tensor in a file or in memory is, from a 64-byte aligned address:
 *
 *     offset 0                     512 bytes   tables A0, A1, B, A2
 *     offset 512                   4 * M_padded bytes   row scales, IEEE binary32, little-endian
 *     offset 512 + 4 * M_padded    896 * tiles bytes    codes (64-byte aligned)
 *     then                         64 zero bytes, so that 64-byte loads may run over the end
 *
 * Comments that begin with an @ are contracts for Frama-C: tests/proofs proves them.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef Q35_FN /* CUDA and OpenCL-like compilers define it as their own qualifiers */
#define Q35_FN static inline
#endif

#define Q35_FORMAT_VERSION 1u

#define Q35_TILE_ROWS 16u
#define Q35_TILE_CODES 64u     /* codes in one row of a tile */
#define Q35_MAX_TILE_COLS 192u /* columns that a tile of any scheme covers at most */
#define Q35_CODE_BITS 7u
#define Q35_TABLE_LEN 128u  /* codes have 7 bits */
#define Q35_ROW_BYTES 56u   /* one row of a tile */
#define Q35_TILE_BYTES 896u /* one tile */
#define Q35_ROW_ALIGN 16u   /* M is padded to this */
#define Q35_COL_ALIGN 128u  /* K is padded to this */
#define Q35_B_STEP 8        /* one unit of a B nibble */
#define Q35_W_MAX 127       /* |decoded weight| never exceeds it */
#define Q35_BLOB_ALIGN 64u
#define Q35_BLOB_TABLES 512u
#define Q35_BLOB_TAIL 64u
#define Q35_MAX_COLS 133144u /* the largest K with K * 127 * 127 in int32: tests/proofs */
#define Q35_MAX_ROWS (1u << 24)

/* Schemes. Bits 0-7 number the scheme, bits 8-15 say how many weights a code stands for, bit 16
 * whether there is a B term, bit 17 whether it is indexed by p ^ pp along the ring, so a decoder
 * needs no list of schemes. */
#define Q35_SCHEME(id, weights, b, ring) ((id) | (weights) << 8 | (b) << 16 | (ring) << 17)
enum q35_scheme {
    Q35_SCHEME_ALT43 =
        Q35_SCHEME(1, 2, 0, 0),              /* separable: A0 from the high 4 bits, A1 the low 3 */
    Q35_SCHEME_VQ2 = Q35_SCHEME(2, 2, 0, 0), /* a 128-point codebook of pairs */
    Q35_SCHEME_TRELLIS = Q35_SCHEME(3, 2, 1, 0),  /* memory of one code */
    Q35_SCHEME_TRELLIS2 = Q35_SCHEME(4, 2, 1, 1), /* memory of two codes */
    Q35_SCHEME_SINGLE = Q35_SCHEME(5, 1, 0, 0),   /* 7 bits, one weight: embeddings and heads */
    Q35_SCHEME_TRIPLE = Q35_SCHEME(6, 3, 1, 0)    /* three weights, memory of one code */
};
#define Q35_SCHEME_WEIGHTS(s) ((uint32_t)(s) / 256u % 256u)
#define Q35_SCHEME_HAS_B(s) (((uint32_t)(s) >> 16) & 1u)
#define Q35_SCHEME_RING(s) (((uint32_t)(s) >> 17) & 1u)

/* The tables at the head of a blob. */
struct q35_tables {
    int8_t a0[128];
    int8_t a1[128];
    uint8_t b[128]; /* high nibble: first weight, low nibble: second, their xor: third */
    int8_t a2[128]; /* of triple schemes, else zero */
};

/*@ requires rows <= Q35_MAX_ROWS;
    assigns \nothing;
    ensures rows <= \result < rows + Q35_ROW_ALIGN && \result % Q35_ROW_ALIGN == 0; */
Q35_FN uint32_t q35_pad_rows(uint32_t rows)
{
    return (rows + (Q35_ROW_ALIGN - 1)) / Q35_ROW_ALIGN * Q35_ROW_ALIGN;
}

/*@ requires cols <= Q35_MAX_COLS;
    assigns \nothing;
    ensures cols <= \result < cols + Q35_COL_ALIGN && \result % Q35_COL_ALIGN == 0; */
Q35_FN uint32_t q35_pad_cols(uint32_t cols)
{
    return (cols + (Q35_COL_ALIGN - 1)) / Q35_COL_ALIGN * Q35_COL_ALIGN;
}

/* Columns that one tile covers: 64, 128 or 192. */
/*@ assigns \nothing;
    ensures \result == 64 * (scheme / 256 % 256); */
Q35_FN uint32_t q35_tile_cols(uint32_t scheme)
{
    return Q35_TILE_CODES * Q35_SCHEME_WEIGHTS(scheme);
}

/* Tiles along K. The same for cols and the padded cols. */
/*@ requires cols <= Q35_MAX_COLS && 1 <= scheme / 256 % 256 <= 3;
    assigns \nothing;
    ensures 64 * \result <= cols + 127;
    ensures cols <= 64 * (scheme / 256 % 256) * \result; */
Q35_FN uint32_t q35_tiles_per_row(uint32_t scheme, uint32_t cols)
{
    uint32_t width = q35_tile_cols(scheme);
    return (q35_pad_cols(cols) + (width - 1)) / width;
}

/* Columns of tile k (counted along K) that lie inside the padded K: all but for the last tile of a
 * triple row, which may have 64 or 128 of its 192. */
/*@ requires cols_padded <= Q35_MAX_COLS && 1 <= scheme / 256 % 256 <= 3;
    requires 0 <= k * (64 * (scheme / 256 % 256)) <= cols_padded;
    assigns \nothing;
    ensures \result <= 64 * (scheme / 256 % 256);
    ensures k * (64 * (scheme / 256 % 256)) + \result <= cols_padded; */
Q35_FN uint32_t q35_tile_used(uint32_t scheme, uint32_t cols_padded, uint32_t k)
{
    uint32_t width = q35_tile_cols(scheme), left = cols_padded - k * width;
    return left < width ? left : width;
}

/* Offset of the scales in a blob is Q35_BLOB_TABLES; this is the offset of the first tile. */
/*@ requires rows <= Q35_MAX_ROWS;
    assigns \nothing;
    ensures Q35_BLOB_TABLES + 4 * rows <= \result < Q35_BLOB_TABLES + 4 * (rows + Q35_ROW_ALIGN); */
Q35_FN uint64_t q35_codes_offset(uint32_t rows)
{
    return (uint64_t)Q35_BLOB_TABLES + 4u * (uint64_t)q35_pad_rows(rows);
}

/* Bytes of a whole blob. rows <= Q35_MAX_ROWS and cols <= Q35_MAX_COLS cannot overflow. */
/*@ requires rows <= Q35_MAX_ROWS && cols <= Q35_MAX_COLS && 1 <= scheme / 256 % 256 <= 3;
    assigns \nothing;
    ensures \result >= Q35_BLOB_TABLES + 4 * rows + Q35_BLOB_TAIL; */
Q35_FN uint64_t q35_blob_bytes(uint32_t scheme, uint32_t rows, uint32_t cols)
{
    uint64_t blocks = q35_pad_rows(rows) / Q35_TILE_ROWS;
    return q35_codes_offset(rows) + blocks * q35_tiles_per_row(scheme, cols) * Q35_TILE_BYTES +
           Q35_BLOB_TAIL;
}

/* Largest power of two that divides the padded K: the Hadamard block of a converter. A decoder
 * takes any power of two that divides the padded K. */
Q35_FN uint32_t q35_rot_block(uint32_t cols)
{
    uint32_t k = q35_pad_cols(cols);
    return k & (~k + 1u);
}

/*@ logic integer q35_code{L}(uint8_t *row, integer j) =
      \let two = row[7 * j / 8] + (7 * j % 8 > 1 ? 256 * row[7 * j / 8 + 1] : 0);
      (two >> 7 * j % 8) % 128; */

/* Code j (0..63) of the 56-byte row. Reads only bytes of the row. */
/*@ requires j < Q35_TILE_CODES && \valid_read(row + (0 .. Q35_ROW_BYTES - 1));
    assigns \nothing;
    ensures \result == q35_code(row, j) && \result < 128; */
Q35_FN uint32_t q35_code_get(const uint8_t *row, uint32_t j)
{
    uint32_t bit = j * Q35_CODE_BITS, byte = bit / 8u, shift = bit % 8u;
    uint32_t v = row[byte];
    if (shift > 1u) /* the code runs into the next byte */
        v += 256u * row[byte + 1];
    return (v >> shift) % 128u;
}

/* Stores code j; the row must have been zeroed before. */
/*@ requires j < Q35_TILE_CODES && \valid(row + (0 .. Q35_ROW_BYTES - 1));
    assigns row[0 .. Q35_ROW_BYTES - 1]; */
Q35_FN void q35_code_put(uint8_t *row, uint32_t j, uint32_t code)
{
    uint32_t bit = j * Q35_CODE_BITS, byte = bit / 8u, shift = bit % 8u;
    uint32_t v = (code & 127u) << shift;
    row[byte] = (uint8_t)(row[byte] | (v & 255u));
    if (shift > 1u)
        row[byte + 1] = (uint8_t)(row[byte + 1] | (v >> 8));
}

/* The code `back` (1 or 2) places before code (r, j) of a tile. */
/*@ requires r < Q35_TILE_ROWS && j < Q35_TILE_CODES && 1 <= back <= 2;
    requires \valid_read(tile + (0 .. Q35_TILE_BYTES - 1));
    assigns \nothing;
    ensures \result < 128; */
Q35_FN uint32_t q35_code_before(uint32_t scheme, const uint8_t *tile, uint32_t r, uint32_t j,
                                uint32_t back)
{
    uint32_t row = (r + 16u - back) % 16u;
    uint32_t col = Q35_SCHEME_RING(scheme) && r < back ? (j + 63u) % 64u : j;
    return q35_code_get(tile + Q35_ROW_BYTES * row, col);
}

/* What a byte of B adds to the third weight, in units of Q35_B_STEP. */
/*@ logic integer q35_third(integer b) = (b / 16 ^ b) % 16; */
/*@ requires b < 256;
    assigns \nothing;
    ensures \result == q35_third(b) && \result < 16; */
Q35_FN uint32_t q35_b_third(uint32_t b)
{
    return (b / 16u ^ b) % 16u;
}

/* Decodes row r (0..15) of a tile. w: int8[64 * weights per code], columns ascending; what lies
 * beyond q35_tile_used is to be dropped. */
/*@ requires r < Q35_TILE_ROWS && 1 <= scheme / 256 % 256 <= 3 && \valid_read(t);
    requires \valid_read(tile + (0 .. Q35_TILE_BYTES - 1));
    requires \valid(w + (0 .. 64 * (scheme / 256 % 256) - 1));
    requires \separated(w + (0 .. 191), tile + (0 .. Q35_TILE_BYTES - 1), t);
    requires \forall integer c, h; 0 <= c < 128 && 0 <= h < 128 ==>
      -Q35_W_MAX <= t->a0[c] + 8 * (t->b[h] / 16) <= Q35_W_MAX &&
      -Q35_W_MAX <= t->a1[c] + 8 * (t->b[h] % 16) <= Q35_W_MAX;
    requires scheme / 256 % 256 == 3 ==>
      \forall integer c, h; 0 <= c < 128 && 0 <= h < 128 ==>
        -Q35_W_MAX <= t->a2[c] + 8 * q35_third(t->b[h]) <= Q35_W_MAX;
    assigns w[0 .. 64 * (scheme / 256 % 256) - 1];
    ensures \forall integer k; 0 <= k < 64 * (scheme / 256 % 256) ==>
      -Q35_W_MAX <= w[k] <= Q35_W_MAX; */
Q35_FN void q35_decode_row(uint32_t scheme, const struct q35_tables *t, const uint8_t *tile,
                           uint32_t r, int8_t *w)
{
    uint32_t weights = Q35_SCHEME_WEIGHTS(scheme);
    uint32_t j;
    /*@ loop invariant 0 <= j <= Q35_TILE_CODES;
        loop invariant \forall integer k; 0 <= k < j ==> -Q35_W_MAX <= w[k] <= Q35_W_MAX;
        loop invariant weights >= 2 ==>
          \forall integer k; 64 <= k < j + 64 ==> -Q35_W_MAX <= w[k] <= Q35_W_MAX;
        loop invariant weights == 3 ==>
          \forall integer k; 128 <= k < j + 128 ==> -Q35_W_MAX <= w[k] <= Q35_W_MAX;
        loop assigns j, w[0 .. 64 * (scheme / 256 % 256) - 1];
        loop variant Q35_TILE_CODES - j; */
    for (j = 0; j < Q35_TILE_CODES; j++) {
        uint32_t c = q35_code_get(tile + Q35_ROW_BYTES * r, j);
        uint32_t h = q35_code_before(scheme, tile, r, j, 1), b;
        if (Q35_SCHEME_RING(scheme))
            h = (h ^ q35_code_before(scheme, tile, r, j, 2)) % 128u;
        b = t->b[h];
        //@ assert -Q35_W_MAX <= t->a0[c] + 8 * (b / 16) <= Q35_W_MAX;
        w[j] = (int8_t)(t->a0[c] + Q35_B_STEP * (int)(b / 16u));
        if (weights >= 2u)
            w[j + 64u] = (int8_t)(t->a1[c] + Q35_B_STEP * (int)(b % 16u));
        if (weights >= 3u)
            w[j + 128u] = (int8_t)(t->a2[c] + Q35_B_STEP * (int)q35_b_third(b));
    }
}

/* 64-bit finaliser of splitmix64 (Steele, Lea, Flood 2014). */
Q35_FN uint64_t q35_mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Sign of column k under a rotation seed: 1 means negative. */
Q35_FN uint32_t q35_rot_sign(uint64_t seed, uint32_t k)
{
    return (uint32_t)(q35_mix64(seed + 0x9e3779b97f4a7c15u * (k / 64u + 1u)) >> (k % 64u)) & 1u;
}

/* The hash of tensor data: the sum over all 8-byte little-endian words w at word index i of
 * mix64(w ^ (i + 1) * golden), modulo 2^64. It can be taken in chunks and in any order, so a device
 * can hash what has arrived. bytes and first_byte are multiples of 8 except for the last chunk,
 * which is padded with zeros. */
Q35_FN uint64_t q35_hash_chunk(const uint8_t *data, uint64_t bytes, uint64_t first_byte)
{
    uint64_t h = 0, i, n;
    for (i = 0; i < bytes; i += 8) {
        uint64_t w = 0;
        uint32_t b;
        n = bytes - i < 8 ? bytes - i : 8;
        for (b = 0; b < n; b++)
            w |= (uint64_t)data[i + b] << (8 * b);
        h += q35_mix64(w ^ ((first_byte + i) / 8 + 1) * 0x9e3779b97f4a7c15u);
    }
    return h;
}

#ifdef __cplusplus
}
#endif
#endif
