/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Decoding, matrix products, layers. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/verify/kit.h"
#include "q35/arith.h"

static const struct {
    uint32_t scheme;
    const char *name;
} schemes[] = {
    {Q35_SCHEME_ALT43, "alt43"},     {Q35_SCHEME_VQ2, "vq2"},
    {Q35_SCHEME_TRELLIS, "trellis"}, {Q35_SCHEME_TRELLIS2, "trellis2"},
    {Q35_SCHEME_SINGLE, "single"},   {Q35_SCHEME_TRIPLE, "triple"},
};

/* Sets code j of row r of tile number `tile` of a packed tensor. */
static void set_code(uint8_t *codes, uint32_t tile, uint32_t r, uint32_t j, uint32_t code)
{
    uint8_t *row = codes + (uint64_t)tile * Q35_TILE_BYTES + r * Q35_ROW_BYTES;
    uint32_t bit = j * Q35_CODE_BITS, b;
    for (b = 0; b < Q35_CODE_BITS; b++) {
        uint8_t mask = (uint8_t)(1u << ((bit + b) & 7u));
        row[(bit + b) / 8] = (uint8_t)((row[(bit + b) / 8] & ~mask) | (code >> b & 1u ? mask : 0));
    }
}

/* Fills the codes so that every pair (code, code above it) occurs, and every distance two rows up
 * differs: pair number p = 1024 * tile + 64 * row + column decides code by row and column. */
static void craft_pairs(struct vfy_model *m, uint32_t layer, uint32_t role)
{
    const struct q35_tensor_desc *d = vfy_desc(m, layer, role);
    uint8_t *codes = vfy_tensor(m, layer, role)->data + q35_codes_offset(d->rows);
    uint32_t tiles = (uint32_t)((d->bytes - Q35_BLOB_TAIL - q35_codes_offset(d->rows)) /
                                Q35_TILE_BYTES),
             t, r, j;
    /* Column j of tile t: rows alternate between a and b, which covers (a, b) and (b, a). */
    for (t = 0; t < tiles; t++)
        for (j = 0; j < Q35_TILE_CODES; j++) {
            uint32_t a = (t * Q35_TILE_CODES + j) / 128 % 128, b = (t * Q35_TILE_CODES + j) % 128;
            for (r = 0; r < Q35_TILE_ROWS; r++)
                set_code(codes, t, r, j, r % 4 == 0 ? a : r % 4 == 1 ? b : (a + b * 5 + r) % 128);
        }
    vfy_model_refresh(m, layer, role);
}

/* The embedding shows decoded weights as they are: all 16384 pairs need 256 tiles. */
static bool decode_by_embedding(struct vfy *v, uint32_t scheme, const char *name, bool rotate,
                                bool *supported)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_rig r;
    struct q35_token *t;
    float *got, *want;
    enum q35_status st;
    char what[80];
    uint32_t i, n, batch = v->info.max_batch < 128 ? v->info.max_batch : 128;

    s.decoders = 0;
    s.head = false;
    s.d_model = 1024 * Q35_SCHEME_WEIGHTS(scheme);
    if (Q35_SCHEME_WEIGHTS(scheme) == 3)
        s.d_model -= 128; /* the last of as many tiles stands out by two segments */
    s.vocab = 256;        /* 16 row blocks of 16 tiles */
    s.embed_scheme = scheme;
    s.rotate = rotate;
    s.embed_scale = 3.0f;
    memset(&r, 0, sizeof(r));
    r.m = vfy_model_create(&s, v->seed + scheme);
    r.o = r.m ? vfy_oracle_create(r.m, 1) : NULL;
    if (!r.o)
        return vfy_skip(v, "the kit has no memory");
    craft_pairs(r.m, 0, Q35_ROLE_TOKEN_EMBED);
    st = VFY_CALL(&v->d, supports, v->d.dev, &r.m->layers[0], &v->err);
    *supported = st != Q35_E_UNSUPPORTED;
    if (Q35_SCHEME_WEIGHTS(scheme) == 3)
        EXPECT(v, *supported == !!(v->info.features & Q35_FEATURE_TRIPLE), VFY_SUPPORTS,
               "features %s Q35_FEATURE_TRIPLE, but supports() %s an embedding of scheme %s",
               *supported ? "lack" : "have", *supported ? "takes" : "refuses", name);
    if (!*supported) {
        vfy_rig_close(v, &r);
        return true;
    }
    if (!vfy_ok(v, st, VFY_SUPPORTS, "supports of an embedding") ||
        !vfy_ok(v, vfy_upload(&v->d, r.m, Q35_UNTIL_FREE, &r.w, &v->err), VFY_UPLOAD, "upload"))
        return false;
    snprintf(what, sizeof(what), "embedding rows of scheme %s%s", name, rotate ? ", rotated" : "");
    t = calloc(s.vocab, sizeof(*t));
    got = malloc((uint64_t)batch * s.d_model * sizeof(float));
    want = malloc((uint64_t)batch * s.d_model * sizeof(float));
    for (i = 0; i < s.vocab; i += n) {
        uint32_t k;
        n = s.vocab - i < batch ? s.vocab - i : batch;
        for (k = 0; k < n; k++)
            t[k] = (struct q35_token){.id = (int32_t)(i + k), .position = k};
        if (!vfy_rig_device(v, &r, 0, 1, t, n, NULL, got, &st) ||
            !vfy_ok(v, st, VFY_DECODE, what) || !vfy_oracle_run(r.o, 0, 1, t, n, NULL, want) ||
            !vfy_same(v, &(struct vfy_results){got, want, n, s.d_model, NULL, 0}, true, VFY_DECODE,
                      what))
            return false;
    }
    free(t);
    free(got);
    free(want);
    vfy_rig_close(v, &r);
    return true;
}

bool vfy_check_decode(struct vfy *v)
{
    uint32_t i, done = 0;
    bool supported = false;
    if (!vfy_open(v))
        return false;
    for (i = 0; i < Q35_COUNT(schemes) * 2; i++) {
        if (!decode_by_embedding(v, schemes[i / 2].scheme, schemes[i / 2].name, i & 1, &supported))
            return false;
        done += supported;
    }
    if (done < i)
        vfy_note(v, "%u of %u embeddings are not supported; products covers their decoding",
                 i - done, i);
    vfy_close(v);
    return true;
}

/* ---- products ------------------------------------------------------------------------------ */

enum { PRODUCT_TOKENS = 24 };

/* Inputs that tell columns apart and reach the extremes of int8 and int32. */
static void product_inputs(struct vfy *v, float *x, uint32_t d)
{
    uint32_t t, k;
    for (t = 0; t < PRODUCT_TOKENS; t++)
        for (k = 0; k < d; k++) {
            float *to = &x[t * d + k];
            if (t < 8)
                *to = k == (t * 131u + 64u * (t & 1u)) % d ? 3.0f : 0.0f; /* one column */
            else if (t < 10)
                *to = t == 8 ? 1.0f : -1.0f; /* all at full scale */
            else if (t == 10)
                *to = 0.0f;
            else if (t == 11)
                *to = k == 7 ? 1e20f : 1e-20f * (float)k;
            else if (t == 12)
                *to = (float)(k % 255) - 127.0f; /* every int8 value, halves when rescaled */
            else if (t == 13)
                *to = k % 2 ? 0.5f : 127.0f;
            else
                *to = vfy_f32(&v->rng) * (k % 97 == t ? 50.0f : 1.0f);
        }
}

/* The norm's weights become 1, so that a device whose norm is only close quantizes as arith.h does.
 */
static void plain_norm(struct vfy_model *m)
{
    float *w = (float *)(void *)vfy_tensor(m, 0, Q35_ROLE_OUT_NORM)->data;
    uint32_t i;
    for (i = 0; i < m->shape.d_model; i++)
        w[i] = 1.0f;
    vfy_model_refresh(m, 0, Q35_ROLE_OUT_NORM);
}

/* Whether the int8 values of x[d] are the same for every x near by: none is close to a half. */
static bool quantizes_safely(const struct vfy_model *m, const float *x)
{
    const struct q35_tensor_desc *d = vfy_desc(m, 0, Q35_ROLE_HEAD);
    uint32_t cols = q35_pad_cols(d->cols), k;
    float *h = calloc(cols, sizeof(*h)), top = 0;
    bool safe = h != NULL;
    if (!h)
        return false;
    q35_rms_norm(x, (const float *)(void *)vfy_tensor(m, 0, Q35_ROLE_OUT_NORM)->data, d->cols,
                 m->layers[0].norm_eps, h);
    if (d->rot_block)
        q35_rotate(h, cols, d->rot_block, d->rot_seed);
    for (k = 0; k < cols; k++)
        top = fabsf(h[k]) > top ? fabsf(h[k]) : top;
    for (k = 0; safe && top > 0 && k < cols; k++) {
        float q = h[k] * (127.0f / top);
        safe = fabsf(q - floorf(q) - 0.5f) > 0.01f;
    }
    free(h);
    return safe;
}

/* Rows of one token on a CLOSE device: its scale may be a little off, the sums may not. So all rows
 * are off by the same factor. */
static bool same_sums(struct vfy *v, const float *got, const float *want, uint32_t rows,
                      const char *what)
{
    uint32_t i, top = 0;
    double factor;
    for (i = 1; i < rows; i++)
        top = fabsf(want[i]) > fabsf(want[top]) ? i : top;
    factor = want[top] != 0 ? (double)got[top] / want[top] : 1;
    EXPECT(v, fabs(factor - 1) <= 0.01, VFY_PRODUCT, "%s: value %u is %.9g instead of %.9g", what,
           top, (double)got[top], (double)want[top]);
    for (i = 0; i < rows; i++)
        EXPECT(v, fabs(got[i] - factor * want[i]) <= 1e-6 * fabs((double)want[i]), VFY_PRODUCT,
               "%s: value %u is %.9g instead of %.9g, where value %u is %.9g instead of %.9g: the "
               "sums differ",
               what, i, (double)got[i], (double)want[i], top, (double)got[top], (double)want[top]);
    return true;
}

/* n tokens' results; *exact counts those whose sums could be compared. */
static bool same_products(struct vfy *v, const struct vfy_rig *r, const float *x, const float *got,
                          const float *want, uint32_t n, uint32_t *exact, const char *what)
{
    uint32_t rows = r->m->shape.vocab, d = r->m->shape.d_model, t;
    if (!vfy_same(v, &(struct vfy_results){got, want, n, rows, NULL, 0}, false, VFY_PRODUCT, what))
        return false;
    if (v->info.determinism == Q35_CLASS_EXACT)
        return true;
    for (t = 0; t < n; t++) {
        if (!quantizes_safely(r->m, x + (uint64_t)t * d))
            continue;
        ++*exact;
        if (!same_sums(v, got + (uint64_t)t * rows, want + (uint64_t)t * rows, rows, what))
            return false;
    }
    return true;
}

/* HEAD alone: logits = W rms_norm(x). */
static bool product_case(struct vfy *v, uint32_t scheme, const char *name, uint32_t d,
                         uint32_t rows, bool rotate, bool *supported, uint32_t *exact)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_rig r;
    struct q35_token t[PRODUCT_TOKENS];
    float *x = malloc((uint64_t)PRODUCT_TOKENS * d * sizeof(float));
    float *got = malloc((uint64_t)PRODUCT_TOKENS * rows * sizeof(float));
    float *want = malloc((uint64_t)PRODUCT_TOKENS * rows * sizeof(float));
    enum q35_status st;
    char what[120];
    uint32_t i, n;

    s.decoders = 0;
    s.embed = false;
    s.d_model = d;
    s.vocab = rows;
    s.embed_scheme = scheme;
    s.rotate = rotate;
    if (!x || !got || !want)
        return vfy_skip(v, "the kit has no memory");
    memset(&r, 0, sizeof(r));
    r.m = vfy_model_create(&s, v->seed + scheme + d + rows);
    if (r.m && rows >= 256) /* all pairs of codes */
        craft_pairs(r.m, 0, Q35_ROLE_HEAD);
    if (r.m && v->info.determinism != Q35_CLASS_EXACT)
        plain_norm(r.m);
    if (!vfy_rig_adopt(v, &r, 1, 64, supported))
        return false;
    snprintf(what, sizeof(what), "a product of %u x %u, scheme %s%s", rows, d, name,
             rotate ? ", rotated" : "");
    product_inputs(v, x, d);
    vfy_tokens(t, PRODUCT_TOKENS, 0, 0, rows, true, &v->rng);
    for (i = 0; *supported && i < PRODUCT_TOKENS; i += n) {
        n = i < 3 ? 1 : PRODUCT_TOKENS - i; /* single tokens and a batch */
        n = n < v->info.max_batch ? n : v->info.max_batch;
        if (!vfy_rig_device(v, &r, 0, 1, t, n, x + (uint64_t)i * d, got, &st) ||
            !vfy_ok(v, st, VFY_PRODUCT, what))
            return false;
        vfy_oracle_run(r.o, 0, 1, t, n, x + (uint64_t)i * d, want);
        if (!same_products(v, &r, x + (uint64_t)i * d, got, want, n, exact, what))
            return false;
    }
    if (*supported)
        vfy_rig_close(v, &r);
    free(x);
    free(got);
    free(want);
    return true;
}

bool vfy_check_products(struct vfy *v)
{
    static const struct {
        uint32_t d, rows;
    } shapes[] = {{128, 16}, {200, 33}, {2048, 256}, {64, 1}, {1152, 17}, {4736, 5}};
    uint32_t i, done = 0, exact = 0, total = Q35_COUNT(schemes) * Q35_COUNT(shapes);
    bool supported = false;
    if (!vfy_open(v))
        return false;
    for (i = 0; i < total; i++) {
        uint32_t s = i % Q35_COUNT(schemes), k = i / Q35_COUNT(schemes);
        if (!product_case(v, schemes[s].scheme, schemes[s].name, shapes[k].d, shapes[k].rows,
                          (i + k) & 1, &supported, &exact))
            return false;
        done += supported;
    }
    EXPECT(v, done, VFY_SUPPORTS, "the device takes no output head at all");
    if (done < total)
        vfy_note(v, "%u of %u products are not supported", total - done, total);
    else if (v->info.determinism != Q35_CLASS_EXACT)
        vfy_note(v, "class CLOSE: the sums of %u tokens were compared bit for bit", exact);
    vfy_close(v);
    return true;
}

/* ---- layers -------------------------------------------------------------------------------- */

static struct vfy_shape random_shape(struct vfy *v, uint32_t i)
{
    static const uint32_t widths[] = {64, 128, 192, 200, 256, 320, 384};
    static const uint32_t heads[][3] = {/* heads, kv heads, head_dim */
                                        {4, 4, 32}, {4, 2, 32}, {6, 2, 24}, {8, 1, 16}, {2, 2, 64},
                                        {3, 1, 40}, {5, 5, 8},  {4, 1, 96}, {2, 1, 20}};
    struct vfy_rng *r = &v->rng;
    struct vfy_shape s = vfy_shape_small();
    const uint32_t *h = heads[vfy_below(r, Q35_COUNT(heads))];
    s.decoders = 1 + vfy_below(r, 2);
    s.d_model = widths[vfy_below(r, Q35_COUNT(widths))];
    s.n_heads = h[0];
    s.n_kv_heads = h[1];
    s.head_dim = h[2];
    s.d_ffn = 16 * (4 + vfy_below(r, 24)) + (i % 3 ? 0 : 8);
    s.vocab = 20 + vfy_below(r, 80);
    s.scheme = schemes[i % Q35_COUNT(schemes)].scheme;
    s.embed_scheme = Q35_SCHEME_SINGLE;
    s.rotate = vfy_below(r, 2);
    s.mixed_rotation = i % 4 == 1;
    s.biases = i & 1;
    s.qk_norm = i / 2 & 1;
    s.rope_style = i / 4 & 1;
    s.rope_dim = i % 5 == 4 ? 0 : i % 5 == 3 ? s.head_dim / 4 * 2 : s.head_dim;
    s.window = i % 4 == 2 ? 1 + vfy_below(r, 12) : 0;
    s.embed_scale = i % 3 == 1 ? 5.65f : 1.0f;
    return s;
}

static void describe(char *out, size_t room, const struct vfy_shape *s)
{
    snprintf(out, room,
             "d_model %u, heads %u/%u of %u, ffn %u, scheme %u, rope %u %s, window %u%s%s%s%s",
             s->d_model, s->n_heads, s->n_kv_heads, s->head_dim, s->d_ffn, s->scheme & 255u,
             s->rope_dim, s->rope_style == Q35_ROPE_PAIRS ? "pairs" : "halves", s->window,
             s->rotate ? ", rotated" : "", s->mixed_rotation ? ", seeds differ" : "",
             s->biases ? ", biases" : "", s->qk_norm ? ", q/k norm" : "");
}

/* Ragged batches: each round takes 0 .. 5 new tokens of each of 3 sequences, some with logits. */
static bool ragged_rounds(struct vfy *v, struct vfy_rig *r, uint32_t rounds, const char *what)
{
    uint32_t length[3] = {0}, i, s;
    struct q35_token t[32];
    for (i = 0; i < rounds; i++) {
        uint32_t n = 0;
        for (s = 0; s < 3 && s < r->sequences; s++) {
            uint32_t k = vfy_below(&v->rng, 6), first = n;
            if (n + k > v->info.max_batch)
                break;
            vfy_tokens(t + n, k, s, length[s], r->m->shape.vocab, vfy_below(&v->rng, 2), &v->rng);
            n += k;
            length[s] += k;
            if (n > first)
                t[n - 1].flags = Q35_TOKEN_LOGITS;
        }
        if (n && !vfy_rig_step(v, r, t, n, VFY_CLASS, what))
            return false;
    }
    return true;
}

bool vfy_check_layers(struct vfy *v)
{
    uint32_t i, cases = (v->quick ? 20 : 60) / (v->d.kv_type ? 2 : 1), done = 0;
    char what[240];
    if (!vfy_open(v))
        return false;
    for (i = 0; i < cases; i++) {
        struct vfy_shape s = random_shape(v, i);
        struct vfy_rig r;
        bool supported = false;
        describe(what, sizeof(what), &s);
        if (!vfy_rig_open(v, &r, &s, v->seed + 1000 + i, 3, 256, &supported))
            return false;
        if (!supported)
            continue;
        done++;
        if (!ragged_rounds(v, &r, 5, what))
            return false;
        vfy_rig_close(v, &r);
    }
    EXPECT(v, done, VFY_SUPPORTS, "the device takes none of %u random shapes", cases);
    if (done < cases)
        vfy_note(v, "%u of %u shapes are not supported", cases - done, cases);
    vfy_close(v);
    return true;
}
