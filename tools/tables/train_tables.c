/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Trains the shipped tables for the unit Gaussian and writes core/quant/tables.c to stdout.
 * Deterministic: no libm function that may differ between machines is used.
 *
 *   train_tables [COLUMNS [ROUNDS]] > core/quant/tables.c */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/quant/search.h"
#include "core/quant/tables.h"

#define UNIT Q35_SEARCH_UNIT
#define WAYS_TRAIN 8
#define WAYS_FINE 16

/* ---- Gaussian numbers ---- */

static uint64_t rng_state;

static double uniform(void) /* (0, 1) */
{
    rng_state += 0x9e3779b97f4a7c15u;
    return ((double)(q35_mix64(rng_state) >> 11) + 0.5) * 0x1p-53;
}

/* ln x: 2 atanh((m - 1) / (m + 1)) + e ln 2 with m in [0.5, 1). */
static double natural_log(double x)
{
    int e, k;
    double m = frexp(x, &e), t = (m - 1) / (m + 1), t2 = t * t, p = t, sum = 0;
    for (k = 1; k < 60; k += 2) {
        sum += p / k;
        p *= t2;
    }
    return 2 * sum + e * 0.6931471805599453;
}

/* Quantile of the unit Gaussian (P. J. Acklam's rational approximation, relative error 1e-9). */
static double quantile(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    double q, r;
    if (p > 0.5)
        return -quantile(1 - p);
    if (p >= 0.02425) {
        q = p - 0.5;
        r = q * q;
        return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
               (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
    }
    q = sqrt(-2 * natural_log(p));
    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
           ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
}

/* ---- scalar levels (alt43, single) ---- */

#define GRID 65536

/* Squared error per value of sorted levels on GRID equally likely values; sum and count per level
 * for the Lloyd step. */
static double levels_pass(const double *level, int n, double *sum, double *count)
{
    double error = 0;
    int i, k = 0;
    memset(sum, 0, sizeof(*sum) * (size_t)n);
    memset(count, 0, sizeof(*count) * (size_t)n);
    for (i = 0; i < GRID; i++) {
        double x = quantile((i + 0.5) / GRID);
        while (k + 1 < n && x > (level[k] + level[k + 1]) / 2)
            k++;
        sum[k] += x;
        count[k] += 1;
        error += (x - level[k]) * (x - level[k]);
    }
    return error / GRID;
}

/* Lloyd-Max levels for the unit Gaussian. */
static void lloyd_max(double *level, int n, int rounds)
{
    double sum[128], count[128];
    int i, k;
    for (k = 0; k < n; k++) /* density ~ pdf^(1/3): a Gaussian of deviation sqrt(3) */
        level[k] = sqrt(3) * quantile((k + 0.5) / n);
    for (i = 0; i < rounds; i++) {
        levels_pass(level, n, sum, count);
        for (k = 0; k < n; k++)
            if (count[k] > 0)
                level[k] = sum[k] / count[k];
    }
}

/* Levels on the int8 grid at `unit`; returns the squared error. */
static double round_levels(const double *level, int n, double unit, int8_t *out)
{
    double near[128], sum[128], count[128];
    int k;
    for (k = 0; k < n; k++) {
        double v = rint(level[k] * unit);
        out[k] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
        near[k] = out[k] / unit;
    }
    return levels_pass(near, n, sum, count);
}

/* Scans units for the least error of the rounded levels of both halves. */
static void train_levels(struct q35_shipped_tables *s, const double *l0, int n0, const double *l1,
                         int n1)
{
    double best = 1e9, unit, top = l0[n0 - 1] > l1[n1 - 1] ? l0[n0 - 1] : l1[n1 - 1];
    int8_t q0[128], q1[128];
    for (unit = 20; unit * top < 127.4; unit += 0.125) {
        double e = round_levels(l0, n0, unit, q0);
        if (n1 > 1)
            e = (e + round_levels(l1, n1, unit, q1)) / 2;
        if (e < best) {
            best = e;
            s->unit = (float)unit;
        }
    }
    round_levels(l0, n0, (double)s->unit, q0);
    round_levels(l1, n1, (double)s->unit, q1);
    for (int c = 0; c < 128; c++) {
        s->tables.a0[c] = n1 > 1 ? q0[c >> 3] : q0[c];
        s->tables.a1[c] = n1 > 1 ? q1[c & 7] : 0;
    }
    fprintf(stderr, "scheme %u: unit %.3f, rmse %.3f%%\n", s->scheme & 255, (double)s->unit,
            100 * sqrt(best));
}

/* ---- tables of pairs and triples (vq2, trellis, triple) ---- */

struct trainer {
    struct q35_search search;    /* first: it wants 64-byte alignment */
    double a[128][3], b[128][3]; /* in table units */
    double unit, middle;         /* middle: the nibble that stands for 0 */
    bool memory, ring;
    int n; /* weights of a code */
    struct q35_ring *buffers;
    int columns;        /* a multiple of 64: whole tiles */
    double (*x)[16][3]; /* [columns] in table units */
    int16_t (*xi)[16][2], (*xi3)[16][4];
    uint8_t (*code)[16];
};

static void draw(struct trainer *t)
{
    int i, r, d;
    for (i = 0; i < t->columns; i++)
        for (r = 0; r < 16; r++)
            for (d = 0; d < t->n; d++) {
                double v = quantile(uniform()) * t->unit;
                t->x[i][r][d] = v;
                v = v > 127 ? 127 : v < -127 ? -127 : v;
                *(t->n > 2 ? &t->xi3[i][r][d] : &t->xi[i][r][d]) = (int16_t)rint(v * UNIT);
            }
}

/* The index of B at row r of column i: the code above, or two codes of the ring. */
static int above(const struct trainer *t, int i, int r)
{
    int left = i % 64 ? i - 1 : i + 63;
    int p = r > 0 ? t->code[i][r - 1] : t->code[t->ring ? left : i][15];
    int pp = r > 1 ? t->code[i][r - 2] : t->code[left][14 + r];
    return t->ring ? p ^ pp : p;
}

/* Finds codes for the data; returns the relative RMSE. */
static double assign(struct trainer *t, uint32_t seams)
{
    int16_t a[128][3], b[128][3];
    double sum = 0;
    int i, r, d;
    for (i = 0; i < 128; i++)
        for (d = 0; d < t->n; d++) {
            a[i][d] = (int16_t)rint(t->a[i][d] * UNIT);
            b[i][d] = (int16_t)rint(t->b[i][d] * UNIT);
        }
    q35_search_init_fine(&t->search, a, t->memory ? b : NULL, t->n > 2, NULL);
    t->search.seams = seams;
    t->search.ring = t->ring;
    t->search.ways = seams ? WAYS_FINE : WAYS_TRAIN;
    for (i = 0; i < t->columns && t->n < 3; i += 64)
        q35_search_tile(&t->search, t->buffers, t->xi + i, t->code + i);
    for (i = 0; i < t->columns && t->n > 2; i++)
        q35_search_triple(&t->search, t->xi3[i], t->code[i]);
    for (i = 0; i < t->columns; i++)
        for (r = 0; r < 16; r++)
            for (d = 0; d < t->n; d++) {
                double e = t->x[i][r][d] - t->a[t->code[i][r]][d] - t->b[above(t, i, r)][d];
                sum += e * e;
            }
    return sqrt(sum / (16.0 * t->n * t->columns)) / t->unit;
}

/* Least squares for one table with the other held: adds the mean residual of each code. up: 0 for
 * A, 1 for B. */
static void refit(struct trainer *t, int up)
{
    double sum[128][3] = {{0}}, (*m)[3] = up ? t->b : t->a;
    int count[128] = {0}, i, r, d;
    for (i = 0; i < t->columns; i++)
        for (r = 0; r < 16; r++) {
            int c = t->code[i][r], h = above(t, i, r), k = up ? h : c;
            const double *a = t->a[c], *b = t->b[h];
            count[k]++;
            for (d = 0; d < t->n; d++)
                sum[k][d] += t->x[i][r][d] - a[d] - b[d];
        }
    for (i = 0; i < 128; i++)
        for (d = 0; d < t->n && count[i]; d++)
            m[i][d] += sum[i][d] / count[i];
}

/* The third nibble is the exclusive or of the others: the nearest such point of the grid. Nibbles
 * up to 7 suffice, and leave A more room. */
static void round_b3(struct trainer *t)
{
    int i, d, k;
    for (i = 0; i < 128; i++) {
        double best = 1e30, at[3] = {0};
        for (k = 0; k < 64; k++) {
            const int nibble[3] = {k / 8, k % 8, k / 8 ^ k % 8};
            double distance = 0, v[3];
            for (d = 0; d < 3; d++) {
                v[d] = (nibble[d] - t->middle) * Q35_B_STEP;
                distance += (v[d] - t->b[i][d]) * (v[d] - t->b[i][d]);
            }
            if (distance < best) {
                best = distance;
                memcpy(at, v, sizeof(at));
            }
        }
        memcpy(t->b[i], at, sizeof(at));
    }
}

/* Puts B on the grid of nibbles, centred: 8 * (nibble - 7.5). */
static void round_b(struct trainer *t)
{
    int i, d;
    if (t->n > 2) {
        round_b3(t);
        return;
    }
    for (i = 0; i < 128; i++)
        for (d = 0; d < 2; d++) {
            double n = floor(t->b[i][d] / Q35_B_STEP) + 0.5;
            n = n > 7.5 ? 7.5 : n < -7.5 ? -7.5 : n;
            t->b[i][d] = n * Q35_B_STEP;
        }
}

/* Moves the mean of B into A. */
static void centre_b(struct trainer *t)
{
    int i, d;
    for (d = 0; d < t->n; d++) {
        double mean = 0;
        for (i = 0; i < 128; i++)
            mean += t->b[i][d] / 128;
        for (i = 0; i < 128; i++) {
            t->b[i][d] -= mean;
            t->a[i][d] += mean;
        }
    }
}

static void train_pairs(struct trainer *t, uint64_t seed, int rounds)
{
    int i, d, k;
    rng_state = seed;
    for (i = 0; i < 128; i++)
        for (d = 0; d < t->n; d++) {
            t->a[i][d] = (t->memory ? 0.85 : 1.3) * t->unit * quantile(uniform());
            t->b[i][d] = t->memory ? 0.55 * t->unit * quantile(uniform()) : 0;
        }
    for (i = 0; i < rounds; i++) {
        draw(t);
        double e = assign(t, 0);
        if (i % 20 == 0)
            fprintf(stderr, "  round %d: %.3f%%\n", i, 100 * e);
        for (k = 0; k < 3; k++) {
            refit(t, 0);
            if (t->memory)
                refit(t, 1);
        }
        centre_b(t);
    }
}

/* Rounds B to its nibbles, adapting A; several rounds move B between grid points once more. */
static void settle(struct trainer *t, int rounds)
{
    int i, k;
    for (i = 0; i < rounds; i++) {
        if (t->memory)
            round_b(t);
        draw(t);
        assign(t, 1);
        for (k = 0; k < 3; k++) {
            refit(t, 0);
            if (t->memory && i < rounds / 2)
                refit(t, 1);
        }
        if (t->memory && i < rounds / 2)
            round_b(t);
    }
    refit(t, 0);
}

/* To the stored form: A is an int8 that carries the offset of B, sums lie within +-127. */
static double store(struct trainer *t, struct q35_shipped_tables *s)
{
    int i, d, p, low[3] = {15, 15, 15}, high[3] = {0, 0, 0}, nib[128][3];
    int8_t *const a[3] = {s->tables.a0, s->tables.a1, s->tables.a2};
    for (i = 0; i < 128; i++)
        for (d = 0; d < t->n; d++) {
            nib[i][d] = t->memory ? (int)rint(t->b[i][d] / Q35_B_STEP + t->middle) : 0;
            low[d] = nib[i][d] < low[d] ? nib[i][d] : low[d];
            high[d] = nib[i][d] > high[d] ? nib[i][d] : high[d];
        }
    for (d = 0; d < 3 && t->n > 2; d++)
        low[d] = 0; /* the exclusive or does not survive an offset */
    for (i = 0; i < 128; i++)
        for (d = 0; d < t->n; d++) {
            double offset = t->memory ? Q35_B_STEP * (low[d] - t->middle) : 0;
            double bottom = -127, top = 127 - Q35_B_STEP * (high[d] - low[d]);
            double v = rint(t->a[i][d] + offset);
            v = v < bottom ? bottom : v > top ? top : v;
            a[d][i] = (int8_t)v;
            t->a[i][d] = v - offset;
        }
    for (p = 0; p < 128; p++)
        s->tables.b[p] =
            t->memory ? (uint8_t)((nib[p][0] - low[0]) << 4 | (nib[p][1] - low[1])) : 0;
    s->unit = (float)t->unit;
    rng_state = 12345; /* fresh data */
    draw(t);
    return assign(t, t->memory ? 2 : 0);
}

static void train_scheme(struct trainer *t, struct q35_shipped_tables *s, double unit,
                         const int *seeds, size_t n_seeds, int rounds)
{
    double best = 1e9;
    size_t i;
    t->memory = Q35_SCHEME_HAS_B(s->scheme);
    t->ring = Q35_SCHEME_RING(s->scheme);
    t->unit = unit;
    t->n = (int)Q35_SCHEME_WEIGHTS(s->scheme);
    t->middle = t->n > 2 ? 3.5 : 7.5;
    for (i = 0; i < n_seeds; i++) {
        struct q35_shipped_tables one = *s;
        train_pairs(t, (uint64_t)seeds[i], rounds);
        settle(t, t->n > 2 ? 60 : 16); /* the exclusive or is the coarser grid */
        double e = store(t, &one);
        fprintf(stderr, "scheme %u seed %d: rmse %.3f%%\n", s->scheme & 255, seeds[i], 100 * e);
        if (e < best) {
            best = e;
            *s = one;
        }
    }
}

/* ---- output ---- */

static void print_bytes(const char *field, const void *bytes, bool is_signed)
{
    const int8_t *s = bytes;
    const uint8_t *u = bytes;
    int i;
    printf("      .%s = {", field);
    for (i = 0; i < 128; i++)
        printf("%s%d%s", i % 16 ? " " : "\n             ", is_signed ? s[i] : u[i],
               i < 127 ? "," : "},\n");
}

static void print_tables(const struct q35_shipped_tables *s, const char *name)
{
    printf("    {%s,\n     %.3ff,\n     {\n", name, (double)s->unit);
    print_bytes("a0", s->tables.a0, true);
    print_bytes("a1", s->tables.a1, true);
    print_bytes("b", s->tables.b, false);
    print_bytes("a2", s->tables.a2, true);
    printf("     }},\n");
}

static const char head[] = "/* SPDX-FileCopyrightText: 2026 The q35 authors\n"
                           " * SPDX-License-Identifier: MIT */\n"
                           "\n"
                           "/* Written by tools/tables/train_tables.c; do not edit. */\n"
                           "#include \"core/quant/tables.h\"\n"
                           "\n"
                           "/* clang-format off */\n"
                           "const struct q35_shipped_tables q35_shipped_tables_all[] = {\n";

int main(int argc, char **argv)
{
    static const int vq_seeds[] = {1, 2, 3, 4}, trellis_seeds[] = {2}, ring_seeds[] = {1},
                     triple_seeds[] = {1};
    static struct q35_shipped_tables alt = {.scheme = Q35_SCHEME_ALT43},
                                     vq = {.scheme = Q35_SCHEME_VQ2},
                                     trellis = {.scheme = Q35_SCHEME_TRELLIS},
                                     ring = {.scheme = Q35_SCHEME_TRELLIS2},
                                     single = {.scheme = Q35_SCHEME_SINGLE},
                                     triple = {.scheme = Q35_SCHEME_TRIPLE};
    static double l4[16], l3[8], l7[128], none[1];
    struct trainer *t = aligned_alloc(64, (sizeof(*t) + 63) / 64 * 64);
    int rounds = argc > 2 ? atoi(argv[2]) : 600;
    if (!t)
        return 1;
    memset(t, 0, sizeof(*t));
    t->columns = argc > 1 ? atoi(argv[1]) / 64 * 64 : 9984;
    t->x = malloc(sizeof(*t->x) * (size_t)t->columns);
    t->xi = malloc(sizeof(*t->xi) * (size_t)t->columns);
    t->xi3 = calloc((size_t)t->columns, sizeof(*t->xi3));
    t->code = malloc(sizeof(*t->code) * (size_t)t->columns);
    t->buffers = q35_ring_create(WAYS_FINE);
    if (!t->x || !t->xi || !t->xi3 || !t->code || !t->buffers)
        return 1;
    lloyd_max(l4, 16, 200);
    lloyd_max(l3, 8, 200);
    lloyd_max(l7, 128, 400);
    train_levels(&alt, l4, 16, l3, 8);
    train_levels(&single, l7, 128, none, 1);
    train_scheme(t, &vq, 36, vq_seeds, Q35_COUNT(vq_seeds), rounds / 4);
    train_scheme(t, &trellis, 28, trellis_seeds, Q35_COUNT(trellis_seeds), rounds);
    train_scheme(t, &triple, 24, triple_seeds, Q35_COUNT(triple_seeds), rounds / 3);
    train_scheme(t, &ring, 28, ring_seeds, Q35_COUNT(ring_seeds), rounds);
    fputs(head, stdout);
    print_tables(&alt, "Q35_SCHEME_ALT43");
    print_tables(&vq, "Q35_SCHEME_VQ2");
    print_tables(&trellis, "Q35_SCHEME_TRELLIS");
    print_tables(&ring, "Q35_SCHEME_TRELLIS2");
    print_tables(&single, "Q35_SCHEME_SINGLE");
    print_tables(&triple, "Q35_SCHEME_TRIPLE");
    printf("};\nconst uint32_t q35_shipped_tables_count =\n"
           "    sizeof(q35_shipped_tables_all) / sizeof(q35_shipped_tables_all[0]);\n");
    return 0;
}
