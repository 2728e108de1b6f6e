/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The search's kernels on vectors of int16. A template: the including file defines
 *
 *   ISA                the attribute of functions for its instructions
 *   ISA_NAME, NAME(x)  their name, and x with it as a suffix
 *   vec, LANES         a vector, and how many int16 it holds; VECS of them hold 128
 *   load, loadu, storeu, set16, set32, min16, minu16, maxu16, adds16, subs16, or16, madd16,
 *   add32, sub32, SHL16, SHL32, SAR32
 *   narrow(a, b)   two vectors of int32 as one of int16, in order, saturated
 *   where_gt(a, b, yes, no), where_eq(a, b, yes, no)
 *   lanes_le(a, b), lanes_eq(a, b)  a bit for each lane, ctz / PER_LANE is its number
 *   lanes32_eq(a, b)                of int32, one bit a lane
 *   least16(v), leastu16(v), least32(v)
 *   RING_WIDTH(ways)  vectors of costs at once in a ring's step, so that the lists stay in
 * registers
 *
 * and afterwards ring_from. */

#include <string.h>

#define VECS (128 / LANES)

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* States of a ring as the way from them is looked for: trans = cost + u[h], and those that go on.
 */
struct ring_from {
    int16_t trans[Q35_RING_WAYS][128];
    uint16_t h[Q35_RING_WAYS][128];
    uint8_t list[Q35_RING_WAYS + 1][128]; /* [n]: codes of which n states go on */
    uint32_t count[Q35_RING_WAYS + 1];
};

/* u: 64-byte aligned. */
ISA static void ring_from(const struct q35_search *s, const int16_t *u, const uint16_t *now,
                          uint32_t low, struct ring_from *f);

/* What the costs are taken for: the pair, the third weight, half of their squares. */
struct point {
    vec x, z, half;
    bool third;
};

/* LANES branch costs from entry i of a table of pairs, t2 the third: (norm - 2 t.x + half) >> 7,
 * saturated. */
ISA static inline vec branch(const int16_t *t, const int16_t *t2, const int32_t *norm, uint32_t i,
                             const struct point *p)
{
    vec d0 = madd16(load(t + 2 * i), p->x);
    vec d1 = madd16(load(t + 2 * i + LANES), p->x);
    if (p->third) {
        d0 = add32(d0, madd16(load(t2 + 2 * i), p->z));
        d1 = add32(d1, madd16(load(t2 + 2 * i + LANES), p->z));
    }
    d0 = add32(sub32(load(norm + i), SHL32(d0, 1)), p->half);
    d1 = add32(sub32(load(norm + i + LANES / 2), SHL32(d1, 1)), p->half);
    return narrow(SAR32(d0, 7), SAR32(d1, 7));
}

ISA static inline vec pair(const int16_t x[2])
{
    int32_t v;
    memcpy(&v, x, 4);
    return set32(v);
}

ISA static inline struct point point(const int16_t *x, bool third)
{
    int32_t z = third ? x[2] : 0;
    return (struct point){pair(x), set32(z & 0xffff),
                          set32((x[0] * x[0] + x[1] * x[1] + z * z) >> 1), third};
}

ISA static inline int16_t least_of(const vec v[VECS])
{
    vec low = v[0];
    uint32_t i;
    UNROLL for (i = 1; i < VECS; i++) low = min16(low, v[i]);
    return least16(low);
}

ISA static void NAME(step)(const struct q35_search *s, const int16_t *x, const int16_t *cost,
                           int16_t *trans, int16_t *next)
{
    const struct point at = point(x, s->third);
    const vec top = set16(INT16_MAX), prune = set16(s->prune);
    vec m[VECS], low;
    uint32_t i, k;
    UNROLL for (i = 0; i < VECS; i++) m[i] = top;
    for (k = 0; k < 128; k += LANES) {
        vec c = loadu(cost + k);
        uint32_t bits = lanes_le(c, prune);
        c = where_gt(c, prune, top, adds16(c, branch(s->b[0], s->b2[0], s->b_norm, k, &at)));
        storeu(trans + k, c);
        for (; bits; bits &= bits - 1) {
            uint32_t p = k + (uint32_t)__builtin_ctz(bits) / PER_LANE;
            const int16_t *row = s->cross[p];
            vec t = set16(trans[p]);
            UNROLL for (i = 0; i < VECS; i++) m[i] = min16(m[i], adds16(t, load(row + LANES * i)));
        }
    }
    UNROLL for (i = 0; i < VECS; i++) m[i] =
        adds16(m[i], branch(s->a[0], s->a2[0], s->a_norm, LANES * i, &at));
    low = set16(least_of(m));
    UNROLL for (i = 0; i < VECS; i++) storeu(next + LANES * i, subs16(m[i], low));
}

ISA static uint32_t NAME(back)(const struct q35_search *s, const int16_t *trans, uint32_t code)
{
    vec xv = pair(s->a[code]), top = set16(INT16_MAX), v[VECS], low;
    uint32_t i;
    UNROLL for (i = 0; i < VECS; i++)
    { /* cross[p][code] afresh: its column would be 128 strided loads */
        vec t = loadu(trans + LANES * i);
        vec d0 = madd16(load(s->b + LANES * i), xv);
        vec d1 = madd16(load(s->b + LANES * i + LANES / 2), xv);
        if (s->third) {
            vec z = pair(s->a2[code]);
            d0 = add32(d0, madd16(load(s->b2 + LANES * i), z));
            d1 = add32(d1, madd16(load(s->b2 + LANES * i + LANES / 2), z));
        }
        v[i] = where_eq(t, top, top, adds16(t, narrow(SAR32(d0, 6), SAR32(d1, 6))));
    }
    low = set16(least_of(v));
    for (i = 0; i < VECS - 1; i++) {
        uint32_t bits = lanes_eq(v[i], low);
        if (bits)
            return LANES * i + (uint32_t)__builtin_ctz(bits) / PER_LANE;
    }
    return LANES * i + (uint32_t)__builtin_ctz(lanes_eq(v[i], low)) / PER_LANE;
}

ISA static void NAME(terms)(const int16_t *table, const int32_t *norm, const int16_t x[2],
                            int16_t *out)
{
    const struct point at = point(x, false);
    uint32_t i;
    for (i = 0; i < 128; i += LANES)
        storeu(out + i, branch(table, table, norm, i, &at));
}

/* next[.][c] of LANES * width codes c from `from` on; returns the least of them. Inlined for each
 * number of ways. */
ISA static inline __attribute__((always_inline)) vec
ring_codes(const struct q35_search *s, const struct ring_from *f, const int16_t *v, int32_t base,
           const uint32_t ways, const uint32_t width, uint32_t from, uint16_t *next)
{
    const vec top = set16(Q35_RING_TOP), less = set16((int16_t)(base - Q35_RING_FLOOR));
    vec best[Q35_RING_WAYS][4], m[4], add[4], low = set16(-1);
    uint32_t n, i, k, q;
    UNROLL for (q = 0; q < width; q++)
    {
        add[q] = subs16(load(v + from + LANES * q), less);
        UNROLL for (k = 0; k < ways; k++) best[k][q] = low;
    }
    UNROLL for (n = 1; n <= ways; n++) for (i = 0; i < f->count[n]; i++)
    {
        uint32_t p = f->list[n][i];
        vec code = set16((int16_t)p), t;
        UNROLL for (k = 0; k < n; k++)
        {
            const int16_t *row = s->cross[f->h[k][p]] + from;
            t = set16(f->trans[k][p]);
            UNROLL for (q = 0; q < width; q++)
            {
                vec a = adds16(t, load(row + LANES * q));
                m[q] = k ? min16(m[q], a) : a;
            }
        }
        UNROLL for (q = 0; q < width; q++)
        {
            t = or16(SHL16(minu16(adds16(m[q], add[q]), top), 7), code);
            UNROLL for (k = 0; k < ways; k++)
            {
                vec old = best[k][q];
                best[k][q] = minu16(old, t);
                t = maxu16(old, t);
            }
        }
    }
    UNROLL for (q = 0; q < width; q++)
    {
        low = minu16(low, best[0][q]);
        UNROLL for (k = 0; k < ways; k++) storeu(next + 128 * k + from + LANES * q, best[k][q]);
    }
    return low;
}

ISA static uint32_t NAME(ring)(const struct q35_search *s, const int16_t x[2], const uint16_t *now,
                               uint32_t low, int32_t base, uint16_t *next)
{
    struct ring_from f;
    int16_t u[128] __attribute__((aligned(64))), v[128] __attribute__((aligned(64)));
    vec all = set16(-1);
    uint32_t c;
    NAME(terms)(s->b[0], s->b_norm, x, u);
    NAME(terms)(s->a[0], s->a_norm, x, v);
    ring_from(s, u, now, low, &f);
    for (c = 0; c < 128 && s->ways == 4; c += LANES * RING_WIDTH(4))
        all = minu16(all, ring_codes(s, &f, v, base, 4, RING_WIDTH(4), c, next));
    for (c = 0; c < 128 && s->ways == 8; c += LANES * RING_WIDTH(8))
        all = minu16(all, ring_codes(s, &f, v, base, 8, RING_WIDTH(8), c, next));
    for (c = 0; c < 128 && s->ways == 12; c += LANES * RING_WIDTH(12))
        all = minu16(all, ring_codes(s, &f, v, base, 12, RING_WIDTH(12), c, next));
    for (c = 0; c < 128 && s->ways == 16; c += LANES * RING_WIDTH(16))
        all = minu16(all, ring_codes(s, &f, v, base, 16, RING_WIDTH(16), c, next));
    return leastu16(all) >> 7;
}

ISA static uint32_t NAME(nearest)(const struct q35_search *s, const int16_t x[2])
{
    vec xv = pair(x), v[2 * VECS], low;
    uint32_t i;
    UNROLL for (i = 0; i < 2 * VECS; i++)
    {
        vec d = SHL32(madd16(load(s->a + LANES / 2 * i), xv), 1);
        v[i] = sub32(load(s->a_norm + LANES / 2 * i), d);
    }
    low = v[0];
    UNROLL for (i = 1; i < 2 * VECS; i++) low = min32(low, v[i]);
    low = set32(least32(low));
    for (i = 0; i < 2 * VECS - 1; i++) {
        uint32_t bits = lanes32_eq(v[i], low);
        if (bits)
            return LANES / 2 * i + (uint32_t)__builtin_ctz(bits);
    }
    return LANES / 2 * i + (uint32_t)__builtin_ctz(lanes32_eq(v[i], low));
}

const struct q35_search_kernels NAME(q35_search_kernels) = {
    .name = ISA_NAME,
    .step = NAME(step),
    .back = NAME(back),
    .terms = NAME(terms),
    .ring = NAME(ring),
    .nearest = NAME(nearest),
};
