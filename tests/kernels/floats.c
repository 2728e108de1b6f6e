/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "kit.h"

/* Two copies of the same input, misaligned alike. */
struct twins {
    float *want, *have;
};

static struct twins twins(uint64_t n, int fill, size_t shift)
{
    struct twins t = {kit_alloc(4 * n, shift), kit_alloc(4 * n, shift)};
    kit_fill(t.want, n, fill);
    memcpy(t.have, t.want, 4 * n);
    return t;
}

static void compare(struct twins t, uint64_t n, const char *what)
{
    kit_same_floats(t.want, t.have, n, what);
    kit_free(t.want);
    kit_free(t.have);
}

static float *floats(uint64_t n, int fill, size_t shift)
{
    float *x = kit_alloc(4 * n, shift);
    kit_fill(x, n, fill);
    return x;
}

static void rescale(const struct kernels *c, const struct kernels *k)
{
    uint32_t n, i;
    kit_start("rescale");
    for (n = 1; n <= 64; n++) {
        size_t shift = 4 * (n % 5);
        int32_t *acc = kit_alloc(4 * n, shift);
        float *scales = floats(n, 0, shift), *bias = floats(n, 0, 0), ts = kit_float();
        struct twins y = twins(n, 0, shift);
        for (i = 0; i < n; i++)
            acc[i] = (int32_t)kit_u64();
        c->rescale(acc, scales, ts, n % 3 ? bias : NULL, n, y.want);
        k->rescale(acc, scales, ts, n % 3 ? bias : NULL, n, y.have);
        compare(y, n, "rescale");
        kit_free(acc);
        kit_free(scales);
        kit_free(bias);
    }
}

static void rotation(const struct kernels *c, const struct kernels *k)
{
    static const uint32_t sizes[] = {128, 256, 384, 640, 1024, 2048, 3072, 5632, 8192};
    char what[64];
    uint32_t i, block;
    kit_start("rotation");
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (block = 1; block <= sizes[i] && sizes[i] % block == 0; block *= 2) {
            uint32_t n = sizes[i], part = n - kit_below(128);
            uint64_t seed = kit_u64();
            struct twins x = twins(n, (int)(i + block) % 3, 4 * (i % 3));
            struct twins y = twins(n, 0, 64);
            snprintf(what, sizeof what, "signs of %u in %u", part, n);
            c->signs(x.want, part, n, seed, y.want);
            k->signs(x.have, part, n, seed, y.have);
            compare(y, n, what);
            c->signs(x.want, n, n, seed, x.want);
            k->signs(x.have, n, n, seed, x.have);
            snprintf(what, sizeof what, "hadamard of %u, block %u", n, block);
            c->hadamard(x.want, n, block);
            k->hadamard(x.have, n, block);
            compare(x, n, what);
        }
}

static void quantization(const struct kernels *c, const struct kernels *k)
{
    uint32_t n;
    int fill;
    kit_start("quantize");
    for (fill = 0; fill < KIT_FILLS; fill++)
        for (n = 32; n <= 8192; n = n < 128 ? n + 32 : n < 512 ? n + 128 : n * 2) {
            size_t shift = 4 * (n / 32 % 3);
            float *x = floats(n, fill, shift), a, b;
            int8_t *want = kit_alloc(n, shift), *have = kit_alloc(n, shift);
            a = c->quantize(x, n, want);
            b = k->quantize(x, n, have);
            kit_same_floats(&a, &b, 1, "scale");
            kit_same_bytes(want, have, n, "quantized values");
            kit_free(x);
            kit_free(want);
            kit_free(have);
        }
}

static void norms(const struct kernels *c, const struct kernels *k)
{
    static const uint32_t sizes[] = {1, 2, 15, 16, 17, 31, 64, 100, 128, 255, 2048, 5120};
    uint32_t i;
    int fill;
    kit_start("rms_norm");
    for (fill = 0; fill < KIT_FILLS; fill++)
        for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            uint32_t n = sizes[i];
            size_t shift = 4 * (i % 4);
            float *w = floats(n, 0, shift);
            struct twins x = twins(n, fill, shift), y = twins(n, 0, shift);
            c->rms_norm(x.want, w, n, 1e-5f, y.want);
            k->rms_norm(x.have, w, n, 1e-5f, y.have);
            compare(y, n, "rms_norm");
            c->rms_norm(x.want, w, n, 1e-6f, x.want);
            k->rms_norm(x.have, w, n, 1e-6f, x.have);
            compare(x, n, "rms_norm in place");
            kit_free(w);
        }
}

static void rope(const struct kernels *c, const struct kernels *k)
{
    static const uint32_t dims[][2] = {{64, 64}, {128, 128}, {80, 80}, {96, 48}, {64, 20},
                                       {16, 2},  {40, 6},    {128, 0}, {8, 8}};
    uint32_t i, style;
    kit_start("rope");
    for (i = 0; i < sizeof dims / sizeof *dims; i++)
        for (style = 0; style < 2; style++) {
            uint32_t heads = 1 + i % 3, n = heads * dims[i][0];
            float *cs = floats(dims[i][1] + 1, 0, 4);
            struct twins x = twins(n, 0, 4 * style);
            c->rope(x.want, heads, dims[i][0], dims[i][1], style, cs);
            k->rope(x.have, heads, dims[i][0], dims[i][1], style, cs);
            compare(x, n, style ? "rope in halves" : "rope in pairs");
            kit_free(cs);
        }
}

static void elementwise(const struct kernels *c, const struct kernels *k)
{
    uint64_t n;
    int fill;
    kit_start("elementwise");
    for (fill = 0; fill < KIT_FILLS; fill++)
        for (n = 1; n < 600; n = n < 40 ? n + 1 : n * 2 + 3) {
            size_t shift = 4 * (n % 4);
            float *a = floats(n, fill, shift), *b = floats(n, (int)(n % 4), shift);
            struct twins y = twins(n, 0, shift), x = twins(n, fill, shift);
            uint64_t i;
            for (i = 0; fill == 2 && i < n; i++) /* over exp's whole range */
                a[i] = ((float)kit_below(40000) - 20000.0f) * 0.01f;
            c->swiglu(n, a, b, y.want);
            k->swiglu(n, a, b, y.have);
            compare(y, n, "swiglu");
            c->add(n, x.want, b);
            k->add(n, x.have, b);
            compare(x, n, "add");
            kit_free(a);
            kit_free(b);
        }
}

static void hashes(const struct kernels *c, const struct kernels *k)
{
    uint64_t n, i;
    kit_start("hash");
    for (n = 0; n < 3000; n = n < 300 ? n + 1 : n * 2 + 5) {
        uint8_t *data = kit_alloc(n, n % 7);
        uint64_t first = 8 * (kit_u64() >> 16), want;
        for (i = 0; i < n; i++)
            data[i] = (uint8_t)kit_u64();
        want = q35_hash_chunk(data, n, first);
        if (c->hash(data, n, first) != want || k->hash(data, n, first) != want)
            kit_fail("hash of %u bytes", (unsigned)n);
        kit_free(data);
    }
}

void test_floats(const struct kernels *c, const struct kernels *k)
{
    rescale(c, k);
    rotation(c, k);
    quantization(c, k);
    norms(c, k);
    rope(c, k);
    elementwise(c, k);
    hashes(c, k);
}
