/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/model/source_internal.h"
#include "q35/arith.h"

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* One row of any readable type to binary32. */
static void convert_row(uint32_t dtype, const uint8_t *p, uint32_t cols, float *out)
{
    const struct q35_block_reader *r;
    uint32_t i, u;
    switch (dtype) {
    case Q35_GGML_F32:
        memcpy(out, p, (size_t)cols * 4);
        break;
    case Q35_GGML_F16:
        for (i = 0; i < cols; i++)
            out[i] = q35_f16_to_f32(load_u16(p + 2 * (size_t)i));
        break;
    case Q35_GGML_BF16:
        for (i = 0; i < cols; i++) {
            u = (uint32_t)load_u16(p + 2 * (size_t)i) << 16;
            memcpy(&out[i], &u, 4);
        }
        break;
    default: /* nothing else gets past opening */
        r = q35_block_reader(dtype);
        for (i = 0; i < cols; i += r->values, p += r->bytes)
            r->read(p, out + i);
    }
}

/* Index of the first value that is not finite, `n` if there is none. */
static uint32_t first_not_finite(const float *x, uint32_t n)
{
    uint32_t i, bad = 0;
    for (i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    for (i = 0; bad && i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        if ((u & 0x7f800000u) == 0x7f800000u)
            return i;
    }
    return n;
}

enum q35_status q35_source_rows(const struct q35_source_tensor *t, uint32_t first, uint32_t count,
                                float *out, struct q35_error *err)
{
    uint32_t r;
    if (first > t->rows || count > t->rows - first)
        return q35_fail(err, Q35_E_INVALID, "tensor %s has %u rows only", t->name, t->rows);
    for (r = first; r < first + count; r++, out += t->cols) {
        uint32_t bad;
        convert_row(t->dtype, t->data + r * t->row_bytes, t->cols, out);
        bad = first_not_finite(out, t->cols);
        if (bad < t->cols)
            return q35_fail(err, Q35_E_FORMAT, "tensor %s is not finite at row %u, column %u",
                            t->name, t->first_row + r, bad);
    }
    return Q35_OK;
}
