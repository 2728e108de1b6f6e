/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <stdbool.h>

/* Codes are bits 7j .. 7j+6 of the row read as one little-endian number: checked bit by bit. */
static void codes_lie_where_the_format_says(void **state)
{
    uint32_t j, code, bit;
    (void)state;
    for (j = 0; j < 64; j++)
        for (code = 0; code < 128; code++) {
            uint8_t row[56 + 1] = {0};
            row[56] = 0xa5;
            q35_code_put(row, j, code);
            for (bit = 0; bit < 448; bit++) {
                uint32_t want = bit >= 7 * j && bit < 7 * j + 7 ? (code >> (bit - 7 * j)) & 1 : 0;
                assert_int_equal((row[bit / 8] >> (bit % 8)) & 1, want);
            }
            assert_int_equal(q35_code_get(row, j), code);
            assert_int_equal(row[56], 0xa5);
        }
}

static void rows_pack_and_unpack(void **state)
{
    struct test_rng rng = {1};
    int n;
    uint32_t j;
    (void)state;
    for (n = 0; n < 200; n++) {
        uint8_t row[56] = {0}, code[64];
        for (j = 0; j < 64; j++) {
            code[j] = (uint8_t)(test_rng_u64(&rng) & 127);
            q35_code_put(row, j, code[j]);
        }
        for (j = 0; j < 64; j++)
            assert_int_equal(q35_code_get(row, j), code[j]);
    }
}

/* Decoding against the formula, written independently with explicit neighbours. */
static void decode_follows_the_formula(void **state)
{
    static const uint32_t schemes[] = {Q35_SCHEME_ALT43,    Q35_SCHEME_VQ2,    Q35_SCHEME_TRELLIS,
                                       Q35_SCHEME_TRELLIS2, Q35_SCHEME_SINGLE, Q35_SCHEME_TRIPLE};
    struct test_rng rng = {2};
    struct q35_tables t;
    uint8_t code[16][64], tile[896];
    uint32_t s, r, j;
    (void)state;
    for (j = 0; j < 128; j++) {
        t.a0[j] = (int8_t)(test_rng_u64(&rng) % 128 - 127);
        t.a1[j] = (int8_t)(test_rng_u64(&rng) % 128 - 127);
        t.b[j] = (uint8_t)(test_rng_u64(&rng) & 0x77);
        t.a2[j] = (int8_t)(test_rng_u64(&rng) % 128 - 127);
    }
    memset(tile, 0, sizeof(tile));
    for (r = 0; r < 16; r++)
        for (j = 0; j < 64; j++) {
            code[r][j] = (uint8_t)(test_rng_u64(&rng) & 127);
            q35_code_put(tile + 56 * r, j, code[r][j]);
        }
    for (s = 0; s < 6; s++)
        for (r = 0; r < 16; r++) {
            uint32_t weights = schemes[s] >> 8 & 255;
            int8_t w[192 + 1];
            int up = r == 0 ? 15 : (int)r - 1, up2 = r < 2 ? (int)r + 14 : (int)r - 2;
            bool ring = schemes[s] == Q35_SCHEME_TRELLIS2;
            memset(w, 99, sizeof(w));
            q35_decode_row(schemes[s], &t, tile, r, w);
            for (j = 0; j < 64; j++) {
                uint32_t left = j == 0 ? 63 : j - 1;
                int p = code[up][ring && r < 1 ? left : j], pp = code[up2][r < 2 ? left : j];
                int b = t.b[ring ? p ^ pp : p];
                assert_int_equal(w[j], t.a0[code[r][j]] + 8 * (b / 16));
                assert_int_equal(w[64 + j], weights > 1 ? t.a1[code[r][j]] + 8 * (b % 16) : 99);
                assert_int_equal(w[128 + j],
                                 weights > 2 ? t.a2[code[r][j]] + 8 * ((b / 16) ^ (b % 16)) : 99);
            }
            assert_int_equal(w[192], 99);
        }
}

static void sizes_and_padding(void **state)
{
    (void)state;
    assert_int_equal(q35_pad_rows(1), 16);
    assert_int_equal(q35_pad_rows(16), 16);
    assert_int_equal(q35_pad_cols(129), 256);
    assert_int_equal(q35_rot_block(8192), 8192);
    assert_int_equal(q35_rot_block(28672), 4096);
    assert_int_equal(q35_rot_block(5632), 512);
    assert_int_equal(q35_rot_block(172), 256);
    /* One 70B layer: 855,638,016 weights are 374.3 MB at 3.5 bits. */
    assert_true(q35_blob_bytes(Q35_SCHEME_TRELLIS, 8192, 8192) ==
                512 + 4 * 8192 + 8192ull * 8192 * 7 / 16 + 64);
    assert_true(q35_blob_bytes(Q35_SCHEME_SINGLE, 32000, 2048) ==
                512 + 4 * 32000 + 32000ull * 2048 * 7 / 8 + 64);
    assert_int_equal(q35_codes_offset(17) % 64, 0);
    /* A triple tile has 192 columns: the last of a row may stand out. */
    assert_true(q35_blob_bytes(Q35_SCHEME_TRIPLE, 30, 4736) == 512 + 4 * 32 + 2 * 25 * 896 + 64);
    assert_int_equal(q35_tiles_per_row(Q35_SCHEME_TRIPLE, 384), 2);
    assert_int_equal(q35_tiles_per_row(Q35_SCHEME_TRIPLE, 385), 3);
    assert_int_equal(q35_tile_used(Q35_SCHEME_TRIPLE, 384, 1), 192);
    assert_int_equal(q35_tile_used(Q35_SCHEME_TRIPLE, 512, 2), 128);
    assert_int_equal(q35_tile_used(Q35_SCHEME_TRIPLE, 256, 1), 64);
    assert_int_equal(q35_tile_used(Q35_SCHEME_TRIPLE, 128, 0), 128);
    assert_int_equal(q35_tile_used(Q35_SCHEME_SINGLE, 128, 1), 64);
}

static void hash_is_order_free_and_sensitive(void **state)
{
    uint8_t data[1000];
    struct test_rng rng = {3};
    uint64_t whole, parts;
    int i;
    (void)state;
    for (i = 0; i < 1000; i++)
        data[i] = (uint8_t)test_rng_u64(&rng);
    whole = q35_hash_chunk(data, 1000, 0);
    parts = q35_hash_chunk(data + 504, 496, 504) + q35_hash_chunk(data, 504, 0);
    assert_true(whole == parts);
    for (i = 0; i < 1000; i++) {
        data[i] ^= 1;
        assert_true(q35_hash_chunk(data, 1000, 0) != whole);
        data[i] ^= 1;
    }
    assert_true(q35_hash_chunk(data, 8, 0) != q35_hash_chunk(data, 8, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_lie_where_the_format_says),  cmocka_unit_test(rows_pack_and_unpack),
        cmocka_unit_test(decode_follows_the_formula),       cmocka_unit_test(sizes_and_padding),
        cmocka_unit_test(hash_is_order_free_and_sensitive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
