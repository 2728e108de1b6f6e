/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_TILE_CUH
#define Q35_CUDA_TILE_CUH

/* Tiles in the device's order. A warp decodes a tile of 16 rows x 64 codes: lane 4g + t has codes
 * 16t .. 16t+15 of the rows 2g ("lo") and 2g+1 ("hi"), which are rows g and g+8 of the matrix
 * instruction. A strip of 16 codes is 112 bits = 7 halfwords of the tile's row; the two strips of a
 * lane are 7 words:
 *     words 0-2: lo halfwords 0-5    words 3-5: hi halfwords 0-5    word 6: lo 6, hi 6
 * and word k of the 32 lanes lies so that a warp reads 16, 8 and 4 bytes per lane in order:
 *     words 0-3 at 16 * lane + 4k    words 4-5 at 512 + 8 * lane + 4(k - 4)    word 6 at 768 + 4 *
 * lane
 *
 * A table for the lanes: entry c of lane l is a word at 128c + 4l, so that lane l only touches bank
 * l. Its bytes are A0[c], A1[c], 8 B0[c], 8 B1[c]; of triple schemes A0[c], A1[c], A2[c], B[c]. */

/* Where halfword h (0 .. 6) of the strip of `lane`, lo (0) or hi (1), lies in a tile, in halfwords.
 */
FN uint32_t tile_half(uint32_t lane, uint32_t hi, uint32_t h)
{
    uint32_t word = h < 6u ? 3u * hi + h / 2u : 6u, odd = h < 6u ? h & 1u : hi;
    uint32_t byte = word < 4u   ? 16u * lane + 4u * word
                    : word < 6u ? 512u + 8u * lane + 4u * (word - 4u)
                                : 768u + 4u * lane;
    return byte / 2u + odd;
}

/* Code j of row r, one at a time. */
FN uint32_t tile_code(const uint8_t *tile, uint32_t r, uint32_t j)
{
    const uint16_t *half = (const uint16_t *)tile;
    uint32_t lane = (r >> 1) * 4u + (j >> 4), bit = (j & 15u) * 7u, h = bit >> 4, shift = bit & 15u;
    uint32_t v = half[tile_half(lane, r & 1u, h)];
    if (shift > 9u)
        v |= (uint32_t)half[tile_half(lane, r & 1u, h + 1u)] << 16;
    return (v >> shift) & 127u;
}

FN uint32_t tile_code_before(uint32_t scheme, const uint8_t *tile, uint32_t r, uint32_t j,
                             uint32_t back)
{
    uint32_t col = Q35_SCHEME_RING(scheme) && r < back ? (j + 63u) & 63u : j;
    return tile_code(tile, (r + 16u - back) & 15u, col);
}

/* Weight `which` (0 .. 2) of code (r, j): column j + 64 * which. */
FN int32_t tile_weight(uint32_t scheme, const struct q35_tables *t, const uint8_t *tile, uint32_t r,
                       uint32_t j, uint32_t which)
{
    uint32_t c = tile_code(tile, r, j), h, b = 0;
    if (Q35_SCHEME_HAS_B(scheme)) {
        h = tile_code_before(scheme, tile, r, j, 1);
        if (Q35_SCHEME_RING(scheme))
            h ^= tile_code_before(scheme, tile, r, j, 2);
        b = t->b[h];
    }
    if (which == 2u)
        return (int8_t)(t->a2[c] + Q35_B_STEP * (int)q35_b_third(b));
    return which ? (int8_t)(t->a1[c] + Q35_B_STEP * (int)(b & 15u))
                 : (int8_t)(t->a0[c] + Q35_B_STEP * (int)(b >> 4));
}

/* The first multiple of 16 KiB in shared memory from p on: an entry's address is then an or. The
 * room for it is q35_cu_table_room. */
FN uint8_t *table_place(uint8_t *p)
{
    return p + (0u - (uint32_t)shared_address(p)) % Q35_CU_TABLE_BYTES;
}

/* Where the room for the table ends, as the host reckons. */
FN uint8_t *table_end(uint8_t *p)
{
    return p + (shared_slack() + 1u) * Q35_CU_TABLE_BYTES;
}

FN uint32_t table_word(const struct q35_tables *t, uint32_t scheme, uint32_t c)
{
    uint32_t b = Q35_SCHEME_HAS_B(scheme) ? t->b[c] : 0u, w = (uint32_t)(uint8_t)t->a0[c];
    if (Q35_SCHEME_WEIGHTS(scheme) >= 2u)
        w |= (uint32_t)(uint8_t)t->a1[c] << 8;
    if (Q35_SCHEME_WEIGHTS(scheme) == 3u)
        return w | (uint32_t)(uint8_t)t->a2[c] << 16 | b << 24;
    return w | (b >> 4) << 19 | (b & 15u) << 27;
}

/* Fills the lanes' table, with 128 added to each A if flip. The caller synchronises. */
FN void table_fill(uint8_t *table, const struct q35_tables *t, uint32_t scheme, bool flip)
{
    uint32_t i, bits = Q35_SCHEME_WEIGHTS(scheme) == 3u ? 0x00808080u : 0x00008080u;
    for (i = threadIdx.x; i < 128u * 8u; i += blockDim.x) {
        uint32_t w = table_word(t, scheme, i >> 3) ^ (flip ? bits : 0u);
        *(uint4 *)(table + 16u * i) = make_uint4(w, w, w, w);
    }
}

/* What a lane reads of a tile. */
struct tile_words {
    uint4 a;
    uint2 b;
    uint32_t c;
};

FN void tile_load(struct tile_words *w, const uint8_t *tile)
{
    uint32_t lane = lane_id();
    w->a = load_stream((const uint4 *)tile + lane);
    w->b = load_stream((const uint2 *)(tile + 512u) + lane);
    w->c = load_stream((const uint32_t *)(tile + 768u) + lane);
}

/* Tiles from .. from + n - 1 into the L2 cache, as far as they lie before `end`. */
FN void tile_prefetch(const uint8_t *codes, uint32_t from, uint32_t n, uint32_t end)
{
    const uint32_t lines = Q35_TILE_BYTES / 128u;
    uint32_t lane = lane_id();
    if (lane < n * lines && from + lane / lines < end)
        prefetch_line(codes + (uint64_t)from * Q35_TILE_BYTES + 128u * lane);
}

/* The strips: 112 bits each; of the last word the lower half counts. */
FN void tile_strips(const struct tile_words *w, uint32_t lo[4], uint32_t hi[4])
{
    lo[0] = w->a.x;
    lo[1] = w->a.y;
    lo[2] = w->a.z;
    lo[3] = w->c;
    hi[0] = w->a.w;
    hi[1] = w->b.x;
    hi[2] = w->b.y;
    hi[3] = w->c >> 16;
}

/* 128 times code u (a constant) of a strip, plus other bits outside of 7 .. 13. */
template <int u> FN uint32_t strip_code(const uint32_t s[4])
{
    const int word = 7 * u / 32, bit = 7 * u % 32;
    if (bit > 25)
        return __funnelshift_r(s[word], s[word + (word < 3)], (uint32_t)(bit - 7));
    return bit < 7 ? s[word] << (bit < 7 ? 7 - bit : 0) : s[word] >> (bit < 7 ? 0 : bit - 7);
}

/* The table's word for code u; table: where this lane's words begin. */
template <int u> FN uint32_t strip_look(shared_at table, const uint32_t s[4])
{
    return load_shared((strip_code<u>(s) & 0x3f80u) | table);
}

/* The words of codes 4s .. 4s+3. */
template <int s> FN void strip_look4(shared_at table, const uint32_t strip[4], uint32_t e[4])
{
    e[0] = strip_look<4 * s>(table, strip);
    e[1] = strip_look<4 * s + 1>(table, strip);
    e[2] = strip_look<4 * s + 2>(table, strip);
    e[3] = strip_look<4 * s + 3>(table, strip);
}

/* A strip moved up by one code: code u becomes u + 1, code 0 the last one of `before`, a strip's
 * last word. With n = 7; n = 0 leaves it as it is. */
FN void strip_move(uint32_t s[4], uint32_t before, uint32_t n)
{
    s[3] = __funnelshift_l(s[2], s[3], n);
    s[2] = __funnelshift_l(s[1], s[2], n);
    s[1] = __funnelshift_l(s[0], s[1], n);
    s[0] = __funnelshift_l(before << 16, s[0], n);
}

/* Ring schemes: turns the strips of codes into strips of c ^ (code before), placed so that the B
 * looked up with row r belongs to row r + 1 (mod 16), same column. Row 15's look-ups therefore move
 * up by a column, and so does row 15 where it stands above row 0. */
FN void strips_ring(uint32_t lo[4], uint32_t hi[4])
{
    uint32_t lane = lane_id(), n = lane >= 28u ? 7u : 0u, k;
    uint32_t left = (lane & ~3u) | ((lane + 3u) & 3u), above = (lane + 28u) & 31u;
    uint32_t lo_left = __shfl_sync(WARP, lo[3], (int)left);
    uint32_t hi_left = __shfl_sync(WARP, hi[3], (int)left);
    uint32_t moved[4], up;
#pragma unroll
    for (k = 0; k < 4; k++)
        moved[k] = hi[k];
    strip_move(moved, hi_left, n);
#pragma unroll
    for (k = 0; k < 4; k++)
        hi[k] ^= lo[k];
    strip_move(hi, hi_left ^ lo_left, n);
#pragma unroll
    for (k = 0; k < 4; k++) {
        up = __shfl_sync(WARP, moved[k], (int)above);
        lo[k] ^= up;
    }
}

/* How B is found: 0 there is none, 1 by the code above, 2 by the ring. */
FN uint32_t kind_of(uint32_t scheme)
{
    return !Q35_SCHEME_HAS_B(scheme) ? 0u : Q35_SCHEME_RING(scheme) ? 2u : 1u;
}

/* The strips of a tile, and those by which B is looked up. kind: as kind_of says. */
FN void tile_all_strips(const tile_words *w, uint32_t kind, uint32_t lo[4], uint32_t hi[4],
                        uint32_t lo2[4], uint32_t hi2[4])
{
    uint32_t k;
    tile_strips(w, lo, hi);
#pragma unroll
    for (k = 0; k < 4; k++) {
        lo2[k] = lo[k];
        hi2[k] = hi[k];
    }
    if (kind == 2u)
        strips_ring(lo2, hi2);
}

/* Byte `which` of 4 words: A0, A1, A2 or B of 4 codes of triple schemes; 0: A0, 2: 8 B0 of others.
 */
FN uint32_t pack4(const uint32_t e[4], uint32_t which)
{
    uint32_t select = 0x0040u + 0x0011u * which;
    return __byte_perm(__byte_perm(e[0], e[1], select), __byte_perm(e[2], e[3], select), 0x5410u);
}

/* B of 4 codes -> what it adds to weight `which` of each. */
FN uint32_t triple_b(uint32_t b, uint32_t which)
{
    uint32_t first = (b >> 1) & 0x78787878u, second = (b & 0x0f0f0f0fu) << 3;
    return which == 0u ? first : which == 1u ? second : first ^ second;
}

#endif
