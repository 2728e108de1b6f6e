/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Schedules broken on purpose, each rejected for its own reason. */

#include "tests/conformance/groq/trial.h"

#include <stdlib.h>
#include <string.h>

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
        cmocka_unit_test(broken_ones_rejected),
        cmocka_unit_test(broken_ones_compute_wrong),
    };
    return trial_chip() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
