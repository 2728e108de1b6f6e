/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../emu.h"
#include "check.h"

const struct q35_cu_limits check_limits = {.sm_count = 132, .cc = 90, .shared_per_block = 232448};
const struct q35_cu_limits check_one_limits = {.sm_count = 1, .cc = 90, .shared_per_block = 232448};
const struct q35_cu_limits check_small_limits = {
    .sm_count = 2, .cc = 75, .shared_per_block = 65536};

/* Some are not made by the converter but the format allows them. */
const uint32_t check_schemes[CHECK_SCHEMES] = {
    Q35_SCHEME_ALT43,       Q35_SCHEME_TRELLIS,     Q35_SCHEME_TRELLIS2,    Q35_SCHEME_SINGLE,
    Q35_SCHEME_VQ2,         Q35_SCHEME(9, 1, 1, 0), Q35_SCHEME(9, 1, 1, 1), Q35_SCHEME_TRIPLE,
    Q35_SCHEME(9, 3, 0, 0), Q35_SCHEME(9, 3, 1, 1),
};

void check_launch(struct q35_cu_launch l, const void *args, const struct q35_cu_limits *lim)
{
    uint32_t block[3] = {l.block, 1, 1};
    void *params[1] = {(void *)(uintptr_t)args};
    emu_capability(lim->cc);
    if (emu_launch(q35_cu_name(l.kernel), l.grid, block, l.shared, params))
        kit_fail("%s: %s", q35_cu_name(l.kernel), emu_error());
    if (l.shared > q35_cu_max_shared(l.kernel, lim) || l.shared > lim->shared_per_block)
        kit_fail("%s: %u bytes of shared memory exceed q35_cu_max_shared", q35_cu_name(l.kernel),
                 l.shared);
}

void check_matrix_init(struct check_matrix *m, uint32_t scheme, uint32_t rows, uint32_t cols,
                       uint32_t rot_block, bool bias)
{
    uint32_t rows_padded = q35_pad_rows(rows), i;
    uint64_t tiles = (uint64_t)rows_padded / 16u * q35_tiles_per_row(scheme, cols), k;
    uint64_t bytes = tiles * Q35_TILE_BYTES;

    memset(m, 0, sizeof *m);
    kit_tables(&m->tables, scheme, false);
    m->scales = kit_alloc(rows_padded * sizeof(float), 0);
    m->codes = kit_alloc(bytes + Q35_BLOB_TAIL, 0);
    m->repacked = kit_alloc(bytes, 0);
    for (i = 0; i < rows_padded; i++)
        m->scales[i] = kit_float() * 0.01f;
    for (k = 0; k < bytes; k += 8) {
        uint64_t v = kit_u64();
        memcpy(m->codes + k, &v, 8);
    }
    memset(m->codes + bytes, 0, Q35_BLOB_TAIL);
    memcpy(m->repacked, m->codes, bytes);
    if (bias) {
        m->bias = kit_alloc(rows * sizeof(float), 0);
        kit_fill(m->bias, rows, 0);
    }
    struct q35_cu_repack args = {.codes = m->repacked, .tiles = tiles};
    check_launch(q35_cu_repack_set(&args), &args, &check_limits);
    m->ref = (struct q35_matrix){.size = sizeof m->ref,
                                 .scheme = scheme,
                                 .rows = rows,
                                 .cols = cols,
                                 .rows_padded = rows_padded,
                                 .cols_padded = q35_pad_cols(cols),
                                 .rot_block = rot_block,
                                 .rot_seed = kit_u64(),
                                 .tables = &m->tables,
                                 .scales = m->scales,
                                 .codes = m->codes,
                                 .bias = m->bias};
}

void check_matrix_fini(struct check_matrix *m)
{
    kit_free(m->scales);
    kit_free(m->codes);
    kit_free(m->repacked);
    kit_free(m->bias);
}

static void reorder(int8_t *q, uint64_t n, bool to_device)
{
    uint64_t k;
    uint32_t j;
    int8_t tile[128];
    for (k = 0; k < n; k += 128) {
        memcpy(tile, q + k, 128);
        for (j = 0; j < 128; j++) {
            uint32_t at = j % 64u * 2u + j / 64u;
            if (to_device)
                q[k + at] = tile[j];
            else
                q[k + j] = tile[at];
        }
    }
}

void check_unorder(int8_t *q, uint64_t n, bool pair)
{
    if (pair)
        reorder(q, n, false);
}

void check_order(int8_t *q, uint64_t n, bool pair)
{
    if (pair)
        reorder(q, n, true);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"emulator", test_emulator}, {"small", test_small}, {"matmul", test_matmul},
                 {"rotate", test_rotate},     {"embed", test_embed}, {"rope", test_rope},
                 {"attn", test_attn}};
    const char *seed = getenv("SEED");
    size_t i;
    int backwards;

    kit_seed = seed ? strtoull(seed, NULL, 0) : 35;
    for (backwards = 0; backwards < 2 && !kit_failures; backwards++) {
        setenv("EMU_BACKWARDS", backwards ? "1" : "0", 1);
        kit_variant = backwards ? "threads in descending order" : "threads in ascending order";
        for (i = 0; i < sizeof tests / sizeof *tests; i++) {
            if (argc > 1 && strcmp(argv[1], tests[i].name) != 0)
                continue;
            kit_start(tests[i].name);
            tests[i].run();
        }
    }
    printf("%u failures\n", kit_failures);
    return kit_failures != 0;
}
