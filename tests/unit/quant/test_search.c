/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <math.h>

#include "core/quant/encode.h"
#include "core/quant/search.h"

static struct test_rng rng;

static struct q35_search *new_search(void)
{
    struct q35_search *s = aligned_alloc(64, (sizeof(*s) + 63) / 64 * 64);
    assert_non_null(s);
    return s;
}

/* About Gaussian: the sum of four uniform numbers, deviation `sigma` table units. */
static int16_t draw(float sigma)
{
    float v = 0;
    int i;
    for (i = 0; i < 4; i++)
        v += test_rng_f32(&rng);
    v *= sigma * Q35_SEARCH_UNIT * 0.866f;
    v = v > Q35_SEARCH_X_MAX ? Q35_SEARCH_X_MAX : v < -Q35_SEARCH_X_MAX ? -Q35_SEARCH_X_MAX : v;
    return (int16_t)v;
}

static void random_tables(struct q35_tables *t)
{
    int i;
    for (i = 0; i < 128; i++) {
        t->a0[i] = (int8_t)(test_rng_u64(&rng) & 255);
        t->a1[i] = (int8_t)(test_rng_u64(&rng) & 255);
        t->b[i] = (uint8_t)test_rng_u64(&rng);
        t->a2[i] = (int8_t)(test_rng_u64(&rng) & 255);
    }
}

/* Every variant this CPU has against plain C: steps, traces and nearest codes, on the shipped
 * tables and on wild ones, with ordinary and extreme inputs. */
static void kernels_agree(void **state)
{
    static const char *const names[] = {"avx2", "avx512"};
    struct q35_search *s = new_search();
    struct q35_tables wild;
    int n, v, i, tested = 0;
    (void)state;
    rng.state = 11;
    for (n = 0; n < 3000; n++) {
        int16_t x[3], cost[128], trans[128], next[128], trans2[128], next2[128];
        if (n % 500 == 0) {
            random_tables(&wild);
            uint32_t scheme = n / 1000 % 2 ? Q35_SCHEME_TRIPLE : Q35_SCHEME_TRELLIS;
            q35_search_init(s, scheme, n % 1000 ? &wild : q35_shipped_tables(scheme), NULL);
        }
        for (i = 0; i < 3; i++)
            x[i] = n % 7 ? draw(28) : test_rng_u64(&rng) & 1 ? Q35_SEARCH_X_MAX : -Q35_SEARCH_X_MAX;
        for (i = 0; i < 128; i++)
            cost[i] = (int16_t)(test_rng_u64(&rng) % (n % 3 ? 2000 : 32768));
        if (n % 11 == 0)
            for (i = 0; i < 128; i++)
                cost[i] = i == n % 128 ? 0 : INT16_MAX;
        cost[n % 128] = 0;
        q35_search_kernels_c.step(s, x, cost, trans, next);
        for (v = 0; v < 2; v++) {
            const struct q35_search_kernels *k = q35_search_kernels_get(names[v]);
            if (!k)
                continue;
            tested++;
            k->step(s, x, cost, trans2, next2);
            assert_memory_equal(trans, trans2, sizeof(trans));
            assert_memory_equal(next, next2, sizeof(next));
            for (i = 0; i < 128; i += 5)
                assert_int_equal(k->back(s, trans, (uint32_t)i),
                                 q35_search_kernels_c.back(s, trans, (uint32_t)i));
            assert_int_equal(k->nearest(s, x), q35_search_kernels_c.nearest(s, x));
        }
    }
    free(s);
    if (!tested)
        skip();
}

/* States as a step may meet them: each list ascending, some of them short or absent. */
static void random_states(struct q35_search *s, uint16_t *now, uint32_t *low, int n)
{
    uint32_t c, k;
    *low = (uint32_t)(test_rng_u64(&rng) % 200);
    for (c = 0; c < 128; c++) {
        uint32_t cost = *low + (c == 5 ? 0 : (uint32_t)(test_rng_u64(&rng) % (n % 3 ? 200 : 600)));
        for (k = 0; k < s->ways; k++) {
            cost += (uint32_t)(test_rng_u64(&rng) % 60);
            now[128 * k + c] = cost > Q35_RING_TOP || (n % 5 == 0 && k > 2)
                                   ? UINT16_MAX
                                   : (uint16_t)(cost << 7 | (test_rng_u64(&rng) & 127));
        }
    }
}

/* The same for rings, at every number of ways, with states near the top, outliers and bases. */
static void ring_kernels_agree(void **state)
{
    static const char *const names[] = {"avx2", "avx512"};
    static uint16_t now[Q35_RING_WAYS * 128], next[2][Q35_RING_WAYS * 128];
    struct q35_search *s = new_search();
    struct q35_tables wild;
    int n, v, i, tested = 0;
    (void)state;
    rng.state = 14;
    for (n = 0; n < 2000; n++) {
        int16_t x[2], u[2][128];
        int32_t base = n % 4 ? 0 : (int32_t)(test_rng_u64(&rng) % (n % 8 ? 300 : 30000));
        uint32_t low, least;
        if (n % 400 == 0) {
            random_tables(&wild);
            q35_search_init(s, Q35_SCHEME_TRELLIS2,
                            n % 800 ? &wild : q35_shipped_tables(Q35_SCHEME_TRELLIS2), NULL);
        }
        for (i = 0; i < 2; i++)
            x[i] = n % 7 ? draw(28) : test_rng_u64(&rng) & 1 ? Q35_SEARCH_X_MAX : -Q35_SEARCH_X_MAX;
        s->ways = 4 + 4 * (uint32_t)(n % 4);
        random_states(s, now, &low, n);
        q35_search_kernels_c.terms(s->a[0], s->a_norm, x, u[0]);
        least = q35_search_kernels_c.ring(s, x, now, low, base, next[0]);
        for (v = 0; v < 2; v++) {
            const struct q35_search_kernels *k = q35_search_kernels_get(names[v]);
            if (!k)
                continue;
            tested++;
            k->terms(s->a[0], s->a_norm, x, u[1]);
            assert_memory_equal(u[0], u[1], sizeof(u[0]));
            memset(next[1], 0, sizeof(next[1]));
            assert_int_equal(least, k->ring(s, x, now, low, base, next[1]));
            assert_memory_equal(next[0], next[1], sizeof(uint16_t) * 128 * s->ways);
        }
    }
    free(s);
    if (!tested)
        skip();
}

/* With as many ways as there are codes before, nothing is dropped but by cost: a step then is that
 * of a Viterbi search over all pairs of codes, written down plainly. */
static void ring_step_is_a_minimum(void **state)
{
    static uint16_t now[Q35_RING_WAYS * 128], next[Q35_RING_WAYS * 128];
    struct q35_search *s = new_search();
    int n;
    (void)state;
    rng.state = 17;
    q35_search_init(s, Q35_SCHEME_TRELLIS2, q35_shipped_tables(Q35_SCHEME_TRELLIS2), NULL);
    for (n = 0; n < 20; n++) {
        int16_t x[2] = {draw(28), draw(28)};
        uint32_t low, c, p, k;
        s->ways = n % 2 ? 16 : 8;
        random_states(s, now, &low, 1);
        q35_search_kernels_c.ring(s, x, now, low, 0, next);
        for (c = 0; c < 128; c += 9) {
            double first = 1e9;
            for (p = 0; p < 128; p++)
                for (k = 0; k < s->ways && now[128 * k + p] >> 7 <= low + Q35_RING_PRUNE; k++) {
                    uint32_t h = p ^ (now[128 * k + p] & 127);
                    double e0 = (x[0] - s->a[c][0] - s->b[h][0]) / 16.0;
                    double e1 = (x[1] - s->a[c][1] - s->b[h][1]) / 16.0;
                    double cost = (now[128 * k + p] >> 7) - low + 2 * (e0 * e0 + e1 * e1);
                    first = cost < first ? cost : first;
                }
            first = first < Q35_RING_TOP ? first : Q35_RING_TOP;
            assert_true((next[c] >> 7) >= first && (next[c] >> 7) <= first + Q35_RING_FLOOR);
        }
    }
    free(s);
}

/* Squared error of `n` codes from code t on along the ring, in table units. */
static double error_of(const struct q35_search *s, int16_t x[64][16][2], const uint8_t *code, int t,
                       int n)
{
    double sum = 0;
    int d;
    for (; n-- > 0; t++) {
        int at = t & 1023, h = code[(at + 1023) & 1023] ^ code[(at + 1022) & 1023];
        for (d = 0; d < 2; d++) {
            double e = (x[at / 16][at % 16][d] - s->a[code[at]][d] - s->b[h][d]) / Q35_SEARCH_UNIT;
            sum += e * e;
        }
    }
    return sum;
}

/* Error per weight of a tile along its ring, in table units. */
static double ring_error(const struct q35_search *s, int16_t x[64][16][2], uint8_t code[64][16])
{
    return sqrt(error_of(s, x, code[0], 0, 1024) / 2048);
}

static void more_ways_find_better_rings(void **state)
{
    static const uint32_t ways[] = {4, 8, 16};
    struct q35_search *s = new_search();
    struct q35_ring *ring = q35_ring_create(16);
    double error[3] = {0};
    int16_t x[64][16][2];
    uint8_t code[64][16];
    int n, i, k;
    (void)state;
    assert_non_null(ring);
    rng.state = 15;
    q35_search_init(s, Q35_SCHEME_TRELLIS2, q35_shipped_tables(Q35_SCHEME_TRELLIS2), NULL);
    for (n = 0; n < 10; n++) {
        for (i = 0; i < 2048; i++)
            x[i / 32][i / 2 % 16][i % 2] = draw(28);
        for (k = 0; k < 3; k++) {
            s->ways = ways[k];
            q35_search_tile(s, ring, x, code);
            error[k] += ring_error(s, x, code) / 10;
        }
    }
    assert_true(error[1] < 0.99 * error[0]);
    assert_true(error[2] < 0.995 * error[1]);
    assert_true(error[2] < 0.1 * 28 && error[2] > 0.08 * 28);
    /* whatever is in it, a tile gets codes: constant, extreme, alternating */
    for (k = 0; k < 3; k++) {
        for (i = 0; i < 1024; i++)
            x[i / 16][i % 16][0] = x[i / 16][i % 16][1] =
                (int16_t)(k == 0            ? 0
                          : k == 1 || i % 2 ? Q35_SEARCH_X_MAX
                                            : -Q35_SEARCH_X_MAX);
        q35_search_tile(s, ring, x, code);
        assert_true(ring_error(s, x, code) < (k ? 90 : 4));
    }
    q35_ring_destroy(ring);
    free(s);
}

/* Squared error of the codes just after the seam beside that of all, over many tiles: the codes
 * before the seam, found last, must be those that the first ones were found for. by_column: the
 * search that feedback uses. */
static double seam_error(bool by_column, uint32_t ways, double *overall)
{
    struct q35_search *s = new_search();
    struct q35_ring *ring = q35_ring_create(ways);
    double seam = 0, all = 0;
    int16_t x[64][16][2];
    uint8_t code[64][16];
    int n, t, d;
    assert_non_null(ring);
    rng.state = 16;
    q35_search_init(s, Q35_SCHEME_TRELLIS2, q35_shipped_tables(Q35_SCHEME_TRELLIS2), NULL);
    s->ways = ways;
    for (n = 0; n < 40; n++) {
        for (t = 0; t < 1024; t++)
            for (d = 0; d < 2; d++)
                x[t / 16][t % 16][d] = draw(28);
        if (by_column) {
            q35_ring_begin(s, ring, x, code);
            for (t = 0; t < 64; t++)
                q35_ring_column(s, ring, x, (uint32_t)t, code);
        } else {
            q35_search_tile(s, ring, x, code);
        }
        all += error_of(s, x, code[0], 0, 1024) / 1024;
        seam += error_of(s, x, code[0], 0, 2) / 2;
    }
    q35_ring_destroy(ring);
    free(s);
    *overall = sqrt(all / n / 2);
    return seam / all;
}

static void rings_close(void **state)
{
    double overall;
    (void)state;
    /* found: 9.64%, 9.49% and, column by column, 9.80% of the weights' deviation */
    assert_true(seam_error(false, 4, &overall) < 2);
    assert_true(overall < 0.0970 * 28);
    assert_true(seam_error(false, 8, &overall) < 2);
    assert_true(overall < 0.0953 * 28);
    assert_true(seam_error(true, 8, &overall) < 2);
    assert_true(overall < 0.0987 * 28);
}

/* The codes before the two that a pass must end with have to be found for those two. Outliers on
 * both sides of the seam make them such as the pass would not choose. */
static void rings_end_where_they_must(void **state)
{
    struct q35_search *s = new_search();
    struct q35_ring *ring = q35_ring_create(4);
    double error = 0, again = 0;
    int16_t x[64][16][2];
    uint8_t code[64][16];
    int n, t, d;
    (void)state;
    assert_non_null(ring);
    rng.state = 19;
    q35_search_init(s, Q35_SCHEME_TRELLIS2, q35_shipped_tables(Q35_SCHEME_TRELLIS2), NULL);
    s->ways = 4;
    for (n = 0; n < 60; n++) {
        for (t = 0; t < 1024; t++)
            for (d = 0; d < 2; d++) {
                bool outlier = (t < 26 || t >= 998) && t % 4 == 0;
                x[t / 16][t % 16][d] =
                    outlier ? test_rng_u64(&rng) & 1 ? Q35_SEARCH_X_MAX : -Q35_SEARCH_X_MAX
                            : draw(28);
            }
        q35_search_tile(s, ring, x, code);
        error += error_of(s, x, code[0], 1014, 10) / 60;
        for (t = 0; t < 16; t++) /* column 5 changes, its last two codes stay */
            x[5][t][0] = draw(28);
        q35_ring_again(s, ring, x, 5, code);
        again += error_of(s, x, code[0], 80, 16) / 60;
    }
    q35_ring_destroy(ring);
    free(s);
    /* found: 17226 and 1349; with the ends left free 17524 and 2158 */
    assert_true(error < 17375);
    assert_true(again < 1700);
}

/* The least squared error over all 128 codes at the seam, by a Viterbi search in 64-bit integers
 * that shares nothing with the tested one. */
static int64_t true_optimum(const struct q35_search *s, int16_t x[16][2])
{
    static int64_t cost[2][128];
    int64_t best = INT64_MAX;
    int seam, r, p, c;
    for (seam = 0; seam < 128; seam++) {
        for (p = 0; p < 128; p++)
            cost[0][p] = p == seam ? 0 : INT64_MAX / 2;
        for (r = 0; r < 16; r++)
            for (c = 0; c < 128; c++) {
                int64_t low = INT64_MAX;
                for (p = 0; p < 128; p++) {
                    int64_t e0 = x[r][0] - s->a[c][0] - s->b[p][0];
                    int64_t e1 = x[r][1] - s->a[c][1] - s->b[p][1];
                    int64_t v = cost[r & 1][p] + e0 * e0 + e1 * e1;
                    low = v < low ? v : low;
                }
                cost[(r & 1) ^ 1][c] = low;
            }
        best = cost[0][seam] < best ? cost[0][seam] : best;
    }
    return best;
}

static void tail_biting_is_near_the_optimum(void **state)
{
    struct q35_search *s = new_search();
    double sum = 0, optimum = 0;
    int n, r;
    (void)state;
    rng.state = 12;
    q35_search_init(s, Q35_SCHEME_TRELLIS, q35_shipped_tables(Q35_SCHEME_TRELLIS), NULL);
    s->seams = 2;
    for (n = 0; n < 12; n++) {
        int16_t x[16][2];
        uint8_t code[16];
        int64_t best, found;
        for (r = 0; r < 16; r++) {
            x[r][0] = draw(28);
            x[r][1] = draw(28);
        }
        q35_search_column(s, x, code);
        found = q35_search_error(s, x, code);
        best = true_optimum(s, x);
        /* costs are rounded to 1/2 of a squared table unit, three terms in each of 16 rows */
        assert_true(found >= best);
        sum += (double)found;
        optimum += (double)best;
    }
    free(s);
    assert_true(sum <= 1.06 * optimum);
}

static void more_seams_never_hurt(void **state)
{
    struct q35_search *s = new_search();
    int64_t sum[4] = {0};
    int n, r;
    uint32_t k;
    (void)state;
    rng.state = 13;
    q35_search_init(s, Q35_SCHEME_TRELLIS, q35_shipped_tables(Q35_SCHEME_TRELLIS), NULL);
    for (n = 0; n < 200; n++) {
        int16_t x[16][2];
        uint8_t code[16];
        for (r = 0; r < 16; r++) {
            x[r][0] = draw(28);
            x[r][1] = draw(28);
        }
        for (k = 0; k < 4; k++) {
            s->seams = k;
            q35_search_column(s, x, code);
            sum[k] += q35_search_error(s, x, code);
        }
    }
    free(s);
    assert_true(sum[1] < sum[0] * 0.995); /* the first further seam is worth more than 1% */
    assert_true(sum[2] <= sum[1] && sum[3] <= sum[2]);
}

/* Triples found column by column: their error in a plain sum is near what the tables are trained
 * to, and a part of them is searched as if the rest were not there. */
static void triples_are_searched(void **state)
{
    struct q35_search *s = new_search(), *part = new_search();
    const struct q35_tables *t = q35_shipped_tables(Q35_SCHEME_TRIPLE);
    double sum[2] = {0};
    int n, r, d;
    (void)state;
    rng.state = 18;
    q35_search_init(s, Q35_SCHEME_TRIPLE, t, NULL);
    q35_search_init_part(part, Q35_SCHEME_TRIPLE, 2, t, NULL);
    s->seams = part->seams = 1;
    for (n = 0; n < 200; n++) {
        int16_t x[16][4], pair[16][2];
        uint8_t code[2][16];
        for (r = 0; r < 16; r++)
            for (d = 0; d < 4; d++) {
                x[r][d] = draw(24);
                if (d < 2)
                    pair[r][d] = x[r][d];
            }
        q35_search_triple(s, x, code[0]);
        q35_search_column(part, pair, code[1]);
        for (r = 0; r < 16; r++) {
            const int8_t *const a[3] = {t->a0, t->a1, t->a2};
            int own = code[0][r], up = t->b[code[0][(r + 15) % 16]];
            int own2 = code[1][r], up2 = t->b[code[1][(r + 15) % 16]];
            const int b[3] = {up / 16, up % 16, up / 16 ^ up % 16};
            const int b2[2] = {up2 / 16, up2 % 16};
            for (d = 0; d < 3; d++) {
                double e = x[r][d] / 16.0 - a[d][own] - 8 * b[d];
                sum[0] += e * e / 3;
                e = d < 2 ? x[r][d] / 16.0 - a[d][own2] - 8 * b2[d] : 0;
                sum[1] += e * e / 2;
            }
        }
    }
    free(s);
    free(part);
    /* found: 22.6% and 10.4% of the weights' deviation */
    assert_true(sqrt(sum[0] / 3200) < 0.230 * 24);
    assert_true(sqrt(sum[1] / 3200) < 0.108 * 24);
}

static void names_of_kernels(void **state)
{
    (void)state;
    assert_ptr_equal(q35_search_kernels_get("c"), &q35_search_kernels_c);
    assert_null(q35_search_kernels_get("avx9000"));
    assert_non_null(q35_search_kernels_get(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(ring_kernels_agree),
        cmocka_unit_test(ring_step_is_a_minimum),
        cmocka_unit_test(more_ways_find_better_rings),
        cmocka_unit_test(rings_close),
        cmocka_unit_test(rings_end_where_they_must),
        cmocka_unit_test(tail_biting_is_near_the_optimum),
        cmocka_unit_test(more_seams_never_hurt),
        cmocka_unit_test(triples_are_searched),
        cmocka_unit_test(names_of_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
