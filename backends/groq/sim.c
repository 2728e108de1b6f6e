/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* mode = sim: products are executed as scheduled, the rest as arith.h specifies it. */

#include <stdlib.h>
#include <string.h>

#include "execute.h"
#include "schedule.h"
#include "sim.h"

#define MAX_TOKENS 64u

static enum q35_status sim_open(const struct groq_config *config, const struct q35_options *options,
                                const struct q35_host *host, void **state, struct q35_error *err)
{
    struct groq_sim *s = calloc(1, sizeof(*s));
    (void)options;
    (void)host;
    *state = NULL;
    if (s)
        s->exec = groq_exec_create();
    if (!s || !s->exec) {
        free(s);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a simulator");
    }
    s->config = *config;
    if (pthread_mutex_init(&s->lock, NULL)) {
        groq_exec_destroy(s->exec);
        free(s);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a simulator");
    }
    *state = s;
    return Q35_OK;
}

static void sim_close(void *state)
{
    struct groq_sim *s = state;
    struct sim_product *p, *next;
    for (p = s->products; p; p = next) {
        next = p->next;
        groq_map_destroy(p->map);
        tsp_program_free(&p->program);
        free(p);
    }
    groq_sim_times_free(s);
    groq_exec_destroy(s->exec);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- operations -------------------------------------------------------------------------------
 */

/* Laid out for the chips when it is first multiplied: an embedding never is. */
static enum q35_status image_of(struct groq_sim *s, const struct q35_matrix *m,
                                const struct groq_image **out, struct q35_error *err)
{
    struct groq_image *image;
    enum q35_status st = Q35_OK;
    if (!m->user) {
        st = groq_image_create(&image, &s->config.tsp, s->config.weights, m, err);
        if (!st)
            ((struct q35_matrix *)(uintptr_t)m)->user = image;
    }
    *out = m->user;
    return st;
}

static void matrix_release(void *user, struct q35_matrix *m)
{
    (void)user;
    groq_image_destroy(m->user);
    m->user = NULL;
}

/* The program of these shapes, scheduled once. */
static enum q35_status find_product(struct groq_sim *s, const struct groq_product *g,
                                    struct sim_product **out, struct q35_error *err)
{
    struct sim_product *p = NULL;
    enum q35_status st;
    for (p = s->products; p; p = p->next)
        if (memcmp(&p->shape, g, sizeof(*g)) == 0) {
            *out = p;
            return Q35_OK;
        }
    p = calloc(1, sizeof(*p));
    if (!p)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule");
    memcpy(&p->shape, g, sizeof(*g));
    st = groq_schedule_product(&p->program, &s->config.tsp, g, err);
    if (!st && !(p->map = groq_map_create(&p->program))) {
        tsp_program_free(&p->program);
        st = q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule");
    }
    if (st) {
        free(p);
        return st;
    }
    p->next = s->products;
    s->products = p;
    *out = p;
    return Q35_OK;
}

/* Tokens of one program: a power of two, so that there are few programs. */
static uint32_t chunk_of(uint32_t tokens, uint32_t most)
{
    uint32_t n = 1;
    most = most < MAX_TOKENS ? most : MAX_TOKENS;
    while (n < tokens && 2 * n <= most)
        n *= 2;
    return n;
}

/* Matrices of one kind of codes: they share the layout of x. */
static enum q35_status run_product(struct groq_sim *s, const struct q35_matmul_args *a,
                                   struct q35_error *err)
{
    struct groq_product g;
    const struct groq_image *images[4];
    struct sim_product *p = NULL;
    uint32_t i, t;
    enum q35_status st = Q35_OK;
    memset(&g, 0, sizeof(g));
    g.n_mats = a->n_mats;
    g.chips = s->chips_per_layer ? s->chips_per_layer : 1;
    g.weights = s->config.weights;
    for (i = 0; i < a->n_mats; i++) {
        const struct q35_matrix *m = a->mats[i];
        g.mats[i].scheme = m->scheme;
        g.mats[i].rows = m->rows;
        g.mats[i].cols = m->cols;
        g.mats[i].bias = m->bias != NULL;
        st = image_of(s, m, &images[i], err);
        if (st)
            return st;
    }
    for (t = 0; t < a->n_tokens && !st; t += g.tokens) {
        g.tokens = chunk_of(a->n_tokens - t, groq_product_tokens(&s->config.tsp, &g));
        st = find_product(s, &g, &p, err);
        if (!st)
            st = groq_execute(s->exec, &p->program, p->map, images, a, t, err);
    }
    return st;
}

static enum q35_status matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err)
{
    struct groq_sim *s = groq_state(user);
    uint32_t i, n;
    for (i = 0; i < a->n_mats; i += n) {
        struct q35_matmul_args part = *a;
        enum q35_status st;
        part.n_mats = 0;
        for (n = 0; i + n < a->n_mats && Q35_SCHEME_WEIGHTS(a->mats[i + n]->scheme) ==
                                             Q35_SCHEME_WEIGHTS(a->mats[i]->scheme);
             n++) {
            part.mats[n] = a->mats[i + n];
            part.y[n] = a->y[i + n];
            part.y_stride[n] = a->y_stride[i + n];
        }
        part.n_mats = n;
        st = run_product(s, &part, err);
        if (st)
            return st;
    }
    return Q35_OK;
}

static const struct q35_ops sim_ops = {
    .size = sizeof(sim_ops),
    .matrix_release = matrix_release,
    .matmul = matmul,
};

const struct groq_mode groq_mode_sim = {
    .name = "sim",
    .device = "Groq TSP (simulated)",
    .simulated = true,
    .ops = &sim_ops,
    .open = sim_open,
    .close = sim_close,
    .layers = groq_sim_layers,
    .plan = groq_sim_plan,
    .run_layers = groq_sim_run,
    .seconds = groq_sim_seconds,
    .report = groq_sim_report,
};
