/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Schedules of the simulated chips: legal, the same each time, exact when executed; and broken
 * ones, each rejected for its own reason. */

#include "../../unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "sim.h"

static struct tsp chip;

static struct groq_product shape(uint32_t scheme, uint32_t rows, uint32_t cols, uint32_t tokens,
                                 uint32_t chips, enum groq_weights weights)
{
    struct groq_product g;
    memset(&g, 0, sizeof(g));
    g.mats[0] = (struct groq_shape){scheme, rows, cols, true};
    g.mats[1] = (struct groq_shape){scheme, 100, cols, false};
    g.n_mats = 2;
    g.tokens = tokens;
    g.chips = chips;
    g.weights = weights;
    return g;
}

static void schedule(struct tsp_program *p, const struct groq_product *g)
{
    struct q35_error err = Q35_ERROR_INIT;
    if (groq_schedule_product(p, &chip, g, &err))
        fail_msg("%s", err.message);
}

static void must_be_legal(struct tsp_program *p, const char *what)
{
    struct tsp_verdict v;
    if (!tsp_check(p, &v))
        fail_msg("%s: %s: %s", what, tsp_rule_text(v.rule), v.text);
    tsp_program_free(p);
}

static const uint32_t schemes[] = {Q35_SCHEME_ALT43, Q35_SCHEME_VQ2, Q35_SCHEME_TRELLIS,
                                   Q35_SCHEME_TRELLIS2, Q35_SCHEME_SINGLE};

static void all_legal(void **state)
{
    static const uint32_t tokens[] = {1, 3, 16, 64};
    uint32_t s, w, c, t, slow;
    (void)state;
    for (s = 0; s < 5; s++)
        for (w = 0; w < 2; w++)
            for (c = 1; c <= 3; c++)
                for (t = 0; t < 4; t++)
                    for (slow = 0; slow < 2; slow++) {
                        struct groq_product g = shape(schemes[s], 700, 600 + 700 * s, tokens[t], c,
                                                      (enum groq_weights)w);
                        struct tsp_program p;
                        chip.gather_lanes = slow ? 20 : 320;
                        schedule(&p, &g);
                        must_be_legal(&p, "a product");
                    }
    chip.gather_lanes = 320;
}

static void other_work_is_legal(void **state)
{
    struct groq_work w = {.passes = {{"a", 26, 1, 1, 3, false},
                                     {"b", 26, 4, 2, 1, false},
                                     {"c", 5000, 1, 2, 16, true}},
                          .count = 3,
                          .chips = 2};
    struct q35_error err = Q35_ERROR_INIT;
    struct tsp_program p;
    (void)state;
    assert_int_equal(groq_schedule_work(&p, &chip, &w, &err), Q35_OK);
    must_be_legal(&p, "vector work");
    assert_int_equal(groq_schedule_handover(&p, &chip, 52, &err), Q35_OK);
    assert_true(p.cycles > chip.hop_cycles + 52 * chip.link_vector_cycles);
    must_be_legal(&p, "a handover");
}

static void same_each_time(void **state)
{
    struct groq_product g = shape(Q35_SCHEME_TRELLIS, 1000, 3000, 4, 2, GROQ_WEIGHTS_PACKED);
    struct tsp_program a, b;
    (void)state;
    schedule(&a, &g);
    schedule(&b, &g);
    assert_int_equal(a.cycles, b.cycles);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.instrs, b.instrs, a.count * sizeof(*a.instrs));
    tsp_program_free(&a);
    tsp_program_free(&b);
}

/* ---- execution ---------------------------------------------------------------------------------
 */

static uint64_t seed = 1;

static uint32_t below(uint32_t n)
{
    seed += 0x9e3779b97f4a7c15u;
    return (uint32_t)((q35_mix64(seed) >> 32) * n >> 32);
}

/* A matrix of random codes under tables whose sums stay within an int8. */
static void make_matrix(struct q35_matrix *m, const struct groq_shape *s)
{
    uint64_t bytes = q35_blob_bytes(s->scheme, s->rows, s->cols), i;
    uint8_t *blob = aligned_alloc(64, (bytes + 63) / 64 * 64);
    float *scales = (float *)(void *)(blob + Q35_BLOB_TABLES), *bias;
    assert_non_null(blob);
    for (i = 0; i < bytes; i++)
        blob[i] = (uint8_t)below(256);
    for (i = 0; i < 128; i++) {
        bool b = Q35_SCHEME_HAS_B(s->scheme);
        ((int8_t *)blob)[i] = (int8_t)((int)below(b ? 135 : 255) - 127);
        ((int8_t *)blob)[128 + i] = (int8_t)((int)below(b ? 135 : 255) - 127);
        if (!b)
            blob[256 + i] = 0;
    }
    bias = malloc(s->rows * sizeof(*bias));
    assert_non_null(bias);
    for (i = 0; i < q35_pad_rows(s->rows); i++)
        scales[i] = 0.001f * (float)(1 + below(1000));
    for (i = 0; i < s->rows; i++)
        bias[i] = 0.01f * (float)below(1000);
    *m = (struct q35_matrix){.size = sizeof(*m),
                             .scheme = s->scheme,
                             .rows = s->rows,
                             .cols = s->cols,
                             .rows_padded = q35_pad_rows(s->rows),
                             .cols_padded = q35_pad_cols(s->cols),
                             .tables = (const struct q35_tables *)(const void *)blob,
                             .scales = scales,
                             .codes = blob + q35_codes_offset(s->rows),
                             .bias = s->bias ? bias : NULL};
    if (!s->bias)
        free(bias);
}

/* One product of a program and of the reference. */
struct trial {
    struct q35_matrix m[2];
    struct groq_image *images[2];
    struct q35_matmul_args a;
    int8_t *q;
    float *scales, *got[2], *want[2];
};

static void trial_init(struct trial *x, const struct groq_product *g)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t i, t, cols = q35_pad_cols(g->mats[0].cols);
    memset(x, 0, sizeof(*x));
    x->q = malloc((size_t)g->tokens * cols);
    x->scales = malloc(g->tokens * sizeof(float));
    assert_true(x->q && x->scales);
    x->a = (struct q35_matmul_args){.size = sizeof(x->a),
                                    .n_tokens = g->tokens,
                                    .n_mats = g->n_mats,
                                    .cols_padded = cols,
                                    .q = x->q,
                                    .token_scales = x->scales};
    for (t = 0; t < g->tokens; t++) {
        x->scales[t] = 0.01f * (float)(1 + below(100));
        for (i = 0; i < cols; i++)
            x->q[(size_t)t * cols + i] =
                i < g->mats[0].cols ? (int8_t)((int)below(255) - 127) : (int8_t)0;
    }
    for (i = 0; i < g->n_mats; i++) {
        make_matrix(&x->m[i], &g->mats[i]);
        if (groq_image_create(&x->images[i], &chip, g->weights, &x->m[i], &err))
            fail_msg("%s", err.message);
        x->got[i] = calloc(g->tokens, g->mats[i].rows * sizeof(float));
        x->want[i] = calloc(g->tokens, g->mats[i].rows * sizeof(float));
        assert_true(x->got[i] && x->want[i]);
        x->a.mats[i] = &x->m[i];
        x->a.y_stride[i] = g->mats[i].rows;
        x->a.y[i] = x->want[i];
    }
    assert_int_equal(q35_reference_ops.matmul(NULL, &x->a, &err), Q35_OK);
    for (i = 0; i < g->n_mats; i++)
        x->a.y[i] = x->got[i];
}

static void trial_fini(struct trial *x)
{
    uint32_t i;
    for (i = 0; i < x->a.n_mats; i++) {
        groq_image_destroy(x->images[i]);
        free((void *)(uintptr_t)x->m[i].tables);
        free((void *)(uintptr_t)x->m[i].bias);
        free(x->got[i]);
        free(x->want[i]);
    }
    free(x->q);
    free(x->scales);
}

/* Executes; true if every bit is the reference's. */
static bool is_exact(struct trial *x, const struct groq_product *g, struct tsp_program *p,
                     enum q35_status *st)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct groq_exec *e = groq_exec_create();
    struct groq_map *map = groq_map_create(p);
    bool same = true;
    uint32_t i;
    assert_true(e && map);
    *st = groq_execute(e, p, map, (const struct groq_image *const *)x->images, &x->a, 0, &err);
    for (i = 0; i < g->n_mats && !*st; i++)
        same = same &&
               !memcmp(x->got[i], x->want[i], (size_t)g->tokens * g->mats[i].rows * sizeof(float));
    groq_map_destroy(map);
    groq_exec_destroy(e);
    return same && !*st;
}

static void executes_exactly(void **state)
{
    uint32_t s, w, c;
    (void)state;
    for (s = 0; s < 5; s++)
        for (w = 0; w < 2; w++)
            for (c = 1; c <= 3; c++) {
                struct groq_product g = shape(schemes[s], 330 + 170 * c, 500 + 400 * s, 1 + 3 * c,
                                              c, (enum groq_weights)w);
                struct tsp_program p;
                struct trial x;
                enum q35_status st;
                schedule(&p, &g);
                trial_init(&x, &g);
                if (!is_exact(&x, &g, &p, &st))
                    fail_msg("scheme %x, weights %u, %u chips: status %d", schemes[s], w, c, st);
                trial_fini(&x);
                tsp_program_free(&p);
            }
}

/* ---- broken on purpose
 * ---------------------------------------------------------------------------- */

/* The nth instruction of this operation that touches a segment of this kind (0: any). */
static uint32_t nth(const struct tsp_program *p, uint32_t op, uint32_t kind, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < p->count; i++) {
        const struct tsp_instr *q = &p->instrs[i];
        if (q->op != op ||
            (kind && (q->segment == TSP_NO_SEGMENT || p->segments[q->segment].kind != kind)))
            continue;
        if (!n--)
            return i;
    }
    fail_msg("there is no such instruction");
    return 0;
}

static struct tsp_instr *find(struct tsp_program *p, uint32_t op, uint32_t kind, uint32_t n)
{
    return &p->instrs[nth(p, op, kind, n)];
}

static void drop(struct tsp_program *p, uint32_t i)
{
    memmove(&p->instrs[i], &p->instrs[i + 1], (--p->count - i) * sizeof(*p->instrs));
}

static struct tsp_instr *append(struct tsp_program *p, const struct tsp_instr *i)
{
    struct tsp_instr copy = *i;
    if (p->count == p->cap) {
        p->cap *= 2;
        p->instrs = realloc(p->instrs, p->cap * sizeof(*p->instrs));
        assert_non_null(p->instrs);
    }
    p->instrs[p->count] = copy;
    return &p->instrs[p->count++];
}

static void b_unit(struct tsp_program *p)
{
    find(p, TSP_READ, 0, 5)->chip = 7;
}

static void b_op(struct tsp_program *p)
{
    find(p, TSP_READ, 0, 5)->op = TSP_ADD;
}

static void b_repeat(struct tsp_program *p)
{
    find(p, TSP_LOAD, 0, 3)->n = 0;
}

static void b_busy(struct tsp_program *p)
{
    append(p, find(p, TSP_DOT, 0, 2));
}

static void b_taken(struct tsp_program *p)
{
    find(p, TSP_READ, TSP_SEG_STORE, 0)->out++; /* the other table's stream */
}

static void b_stream(struct tsp_program *p)
{
    find(p, TSP_LOAD, 0, 0)->in[0] = 500;
}

static void b_late(struct tsp_program *p)
{
    find(p, TSP_WRITE, TSP_SEG_RESULT, 0)->cycle++;
}

static void b_wrong(struct tsp_program *p)
{
    find(p, TSP_AND, 0, 0)->imm = 0x80808000u;
}

static void b_address(struct tsp_program *p)
{
    find(p, TSP_READ, TSP_SEG_X, 0)->addr += 1000;
}

static void b_bank(struct tsp_program *p)
{
    struct tsp_instr read = *find(p, TSP_READ, TSP_SEG_CODES, 0);
    struct tsp_instr *w = append(p, find(p, TSP_WRITE, TSP_SEG_RESULT, 0));
    w->cycle = read.cycle;
    w->unit = read.unit;
    w->chip = read.chip;
}

static void b_unwritten(struct tsp_program *p)
{
    find(p, TSP_READ, TSP_SEG_RESULT, 0)->cycle = 40;
}

static void b_full(struct tsp_program *p)
{
    p->slice_words = p->tsp.slice_words;
}

static void b_overlap(struct tsp_program *p)
{
    const struct tsp_place *a = &p->places[p->jobs[0].places];
    uint32_t i;
    for (i = 1; i < p->job_count; i++)
        if (p->jobs[i].chip == p->jobs[0].chip && p->places[p->jobs[i].places].slice == a->slice) {
            p->places[p->jobs[i].places].addr = a->addr + 1;
            return;
        }
    fail_msg("no two jobs in one slice");
}

static void b_rate(struct tsp_program *p)
{
    p->tsp.gather_lanes = 160;
}

static void b_table(struct tsp_program *p)
{
    drop(p, nth(p, TSP_WRITE, TSP_SEG_TABLE, 3));
}

static void b_buffer(struct tsp_program *p)
{
    struct tsp_instr *a = find(p, TSP_LOAD, 0, 0);
    uint32_t i;
    for (i = 1; i < 64; i++) {
        struct tsp_instr *b = find(p, TSP_LOAD, 0, i);
        if (b->chip == a->chip && b->unit / 16 == a->unit / 16 && b->cycle == a->cycle) {
            b->in[0] = a->in[0]; /* one row twice */
            b->addr = a->addr;
            return;
        }
    }
    fail_msg("no two rows at once");
}

static void b_loaded(struct tsp_program *p)
{
    drop(p, nth(p, TSP_LOAD, 0, 4));
}

static void b_column(struct tsp_program *p)
{
    find(p, TSP_LOAD, 0, 4)->addr++;
}

static uint32_t adding_dot(struct tsp_program *p)
{
    uint32_t i;
    for (i = 0; find(p, TSP_DOT, 0, i)->imm; i++)
        ;
    return nth(p, TSP_DOT, 0, i);
}

static void b_sums(struct tsp_program *p)
{
    p->instrs[adding_dot(p)].imm = 1;
}

static void b_early(struct tsp_program *p)
{
    drop(p, adding_dot(p));
}

static void b_link(struct tsp_program *p)
{
    find(p, TSP_SEND, 0, 0)->unit = 6;
}

static void b_sent(struct tsp_program *p)
{
    drop(p, nth(p, TSP_SEND, 0, 0));
}

static void b_result(struct tsp_program *p)
{
    uint32_t i = p->count;
    while (p->instrs[--i].op != TSP_WRITE)
        ;
    drop(p, i);
}

static void b_place(struct tsp_program *p)
{
    p->jobs[1].rows -= 16;
}

static void b_cycles(struct tsp_program *p)
{
    p->cycles -= 1;
}

static const struct {
    const char *name;
    void (*damage)(struct tsp_program *p);
    enum tsp_rule rule;
} broken[] = {
    {"a chip that is not there", b_unit, TSP_BAD_UNIT},
    {"an addition in a memory slice", b_op, TSP_BAD_OP},
    {"an instruction issued 0 times", b_repeat, TSP_BAD_REPEAT},
    {"a plane used twice in a cycle", b_busy, TSP_UNIT_BUSY},
    {"two tables on one stream", b_taken, TSP_STREAM_TAKEN},
    {"a stream that is not there", b_stream, TSP_NO_SUCH_STREAM},
    {"a write one cycle late", b_late, TSP_LATE_OPERAND},
    {"another mask for the eighth code", b_wrong, TSP_WRONG_OPERAND},
    {"activations beyond their segment", b_address, TSP_BAD_ADDRESS},
    {"a write into the bank being read", b_bank, TSP_BANK_CONFLICT},
    {"a result sent before it is there", b_unwritten, TSP_UNWRITTEN},
    {"more weights than a slice holds", b_full, TSP_MEMORY_FULL},
    {"two jobs in one word", b_overlap, TSP_OVERLAP},
    {"look-ups at twice the rate", b_rate, TSP_GATHER_RATE},
    {"a table that was not copied", b_table, TSP_WRONG_TABLE},
    {"a row that overwrites another", b_buffer, TSP_BUFFER_LOST},
    {"a row that never arrives", b_loaded, TSP_NOT_LOADED},
    {"a row in the next column", b_column, TSP_BAD_COLUMN},
    {"sums begun anew in the middle", b_sums, TSP_SUMS_LOST},
    {"a group of columns left out", b_early, TSP_SUMS_EARLY},
    {"a link that leads nowhere", b_link, TSP_BAD_LINK},
    {"a vector that was not sent", b_sent, TSP_NOT_SENT},
    {"a result that one chip lacks", b_result, TSP_NO_RESULT},
    {"rows that no job has", b_place, TSP_BAD_PLACEMENT},
    {"a cycle less than it takes", b_cycles, TSP_BAD_CYCLES},
};

static void broken_ones_rejected(void **state)
{
    struct groq_product g = shape(Q35_SCHEME_TRELLIS, 1300, 9000, 2, 2, GROQ_WEIGHTS_PACKED);
    uint32_t i, seen = 0, wrong = 0;
    (void)state;
    for (i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        struct tsp_program p;
        struct tsp_verdict v;
        schedule(&p, &g);
        assert_true(tsp_check(&p, &v));
        broken[i].damage(&p);
        if (tsp_check(&p, &v) || v.rule != broken[i].rule) {
            print_error("%s: rejected as \"%s\": %s\n", broken[i].name, tsp_rule_text(v.rule),
                        v.text);
            wrong++;
        }
        seen |= 1u << broken[i].rule;
        tsp_program_free(&p);
    }
    assert_int_equal(wrong, 0);
    assert_true(i >= 20);
    assert_int_equal(__builtin_popcount(seen), i); /* each for a reason of its own */
}

/* The executor does what instructions say, right or wrong. */
static void broken_ones_compute_wrong(void **state)
{
    static void (*const damages[])(struct tsp_program *) = {b_wrong, b_late,  b_loaded, b_table,
                                                            b_sums,  b_early, b_sent,   b_result};
    struct groq_product g = shape(Q35_SCHEME_TRELLIS, 1300, 1500, 2, 2, GROQ_WEIGHTS_PACKED);
    uint32_t i;
    (void)state;
    for (i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
        struct tsp_program p;
        struct trial x;
        enum q35_status st;
        schedule(&p, &g);
        trial_init(&x, &g);
        assert_true(is_exact(&x, &g, &p, &st));
        if (damages[i] != b_result)
            damages[i](&p);
        else
            drop(&p, nth(&p, TSP_WRITE, TSP_SEG_RESULT, 0));
        memset(x.got[0], 0, (size_t)g.tokens * g.mats[0].rows * sizeof(float));
        if (is_exact(&x, &g, &p, &st))
            fail_msg("damage %u has no effect", i);
        trial_fini(&x);
        tsp_program_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_legal),
        cmocka_unit_test(other_work_is_legal),
        cmocka_unit_test(same_each_time),
        cmocka_unit_test(executes_exactly),
        cmocka_unit_test(broken_ones_rejected),
        cmocka_unit_test(broken_ones_compute_wrong),
    };
    struct q35_error err = Q35_ERROR_INIT;
    struct groq_config c;
    if (groq_config_read(&c, NULL, &err))
        return 1;
    chip = c.tsp;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
