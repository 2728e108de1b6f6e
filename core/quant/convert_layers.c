/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/model/model.h"
#include "core/model/roles.h"
#include "core/quant/convert_internal.h"
#include "core/quant/sensitivity.h"

/* ---- bits ---------------------------------------------------------------------------------- */

/* The options of output o, from the schemes rate[]: the one it has if that is fixed. Where a scheme
 * takes as much as the next one, which errs less, it is none. */
static void list_options(const struct output *o, const uint32_t *rate, double *const *moves,
                         struct q35_budget_item *item, uint32_t *schemes)
{
    size_t at = (size_t)o->layer * Q35_ROLE_INFO_COUNT + o->role;
    uint64_t bytes, next = o->bytes;
    uint32_t i;
    if (o->fixed) {
        item->n = 1;
        item->option[0].bytes = o->bytes;
        schemes[0] = o->scheme;
        return;
    }
    for (i = Q35_BUDGET_OPTIONS; i-- > 0; next = bytes) {
        bytes = q35_blob_bytes(rate[i], o->from.rows, o->from.cols);
        if (i + 1 < Q35_BUDGET_OPTIONS && bytes >= next)
            continue;
        item->option[item->n].cost = moves[i][at];
        item->option[item->n].bytes = bytes;
        schemes[item->n++] = rate[i];
    }
}

/* Gives the decoder layers' matrices 7, 3.5 or 2.33 bits, within p->target_bits. */
static enum q35_status spend_bits(struct convert *c)
{
    const uint32_t scheme = c->p->scheme, layers = q35_source_params(c->source)->n_layers;
    const uint32_t rate[Q35_BUDGET_OPTIONS] = {
        Q35_SCHEME_TRIPLE, Q35_SCHEME_WEIGHTS(scheme) == 2 ? scheme : (uint32_t)Q35_SCHEME_TRELLIS,
        Q35_SCHEME_SINGLE};
    size_t most = (size_t)layers * Q35_ROLE_INFO_COUNT;
    double *s = malloc(sizeof(*s) * most * Q35_BUDGET_OPTIONS), weights = 0;
    double *const moves[Q35_BUDGET_OPTIONS] = {s, s + most, s + 2 * most};
    struct q35_budget_item *items = calloc(c->count, sizeof(*items));
    uint32_t(*schemes)[Q35_BUDGET_OPTIONS] = calloc(c->count, sizeof(*schemes));
    enum q35_status st = Q35_OK;
    uint32_t i;
    if (!s || !items || !schemes)
        st = q35_fail(c->err, Q35_E_NOMEM, "no memory to convert");
    for (i = 0; i < Q35_BUDGET_OPTIONS && !st; i++)
        st = q35_sensitivity(c->source, &c->calibrate, rate[i], moves[i], c->err);
    for (i = 0; i < c->count && !st; i++) {
        const struct output *o = &c->outputs[i];
        if (!o->scheme || !o->decoder)
            continue;
        list_options(o, rate, moves, &items[i], schemes[i]);
        weights += (double)o->from.rows * o->from.cols;
    }
    if (!st)
        st = q35_budget_spend(items, c->count, (uint64_t)((double)c->p->target_bits * weights / 8),
                              c->err);
    if (st == Q35_E_INVALID)
        st = q35_fail(c->err, st,
                      "%g bits a weight are not enough for 2.33, row scales, tables and padding",
                      (double)c->p->target_bits);
    for (i = 0; i < c->count && !st; i++)
        if (items[i].n) {
            c->outputs[i].scheme = schemes[i][items[i].chosen];
            c->outputs[i].bytes = items[i].option[items[i].chosen].bytes;
        }
    free(s);
    free(items);
    free(schemes);
    return st;
}

/* ---- what an earlier start has done -------------------------------------------------------- */

/* Adds the values that a hash is to depend on, as text. */
static void key_options(struct q35_str *s, const struct q35_convert_params *p)
{
    q35_str_addf(s, "1 %u %d %llu %u %s %u %d %d %d %a %a %u %u %a\n", p->scheme, p->rotate,
                 (unsigned long long)p->rot_seed, p->effort, p->tensor_types ? p->tensor_types : "",
                 p->calibrate_tokens, p->feedback, p->awq, p->propagate, (double)p->correct,
                 (double)p->damp, p->refine, p->sweeps, (double)p->target_bits);
}

/* A hash of the options, of the text, and of the tensors' shapes and first rows. */
static enum q35_status key_of(const struct convert *c, uint64_t *key)
{
    struct q35_file text = {0};
    struct q35_str s = {0};
    uint32_t i;
    enum q35_status st = q35_file_map(&text, c->p->calibrate, c->err);
    if (st)
        return st;
    key_options(&s, c->p);
    q35_str_addf(&s, "%llx\n", (unsigned long long)q35_hash_data(text.data, text.bytes));
    for (i = 0; i < c->count; i++) {
        const struct q35_source_tensor *t = &c->outputs[i].from;
        q35_str_addf(&s, "%s %u %u %u %llx\n", c->outputs[i].name, t->dtype, t->rows, t->cols,
                     (unsigned long long)q35_hash_data(t->data, t->row_bytes));
    }
    q35_file_unmap(&text);
    st = s.failed ? q35_fail(c->err, Q35_E_NOMEM, "no memory to convert") : Q35_OK;
    if (!st)
        *key = q35_hash_data((const uint8_t *)s.data, s.len);
    q35_str_fini(&s);
    return st;
}

static enum q35_status open_journal(struct convert *c, const char *out)
{
    struct q35_str path = {0};
    uint64_t key = 0;
    enum q35_status st = key_of(c, &key);
    q35_str_addf(&path, "%s.layers", out);
    if (!st && path.failed)
        st = q35_fail(c->err, Q35_E_NOMEM, "no memory to convert");
    if (!st)
        st = q35_journal_open(&c->journal, path.data, key, c->err);
    q35_str_fini(&path);
    return st;
}

static enum q35_status odd_record(const struct convert *c)
{
    return q35_fail(c->err, Q35_E_FORMAT, "%s: record %llu has the wrong size",
                    q35_journal_path(c->journal),
                    (unsigned long long)q35_journal_count(c->journal));
}

/* The schemes of all outputs: what was decided before, or else now. */
static enum q35_status decide(struct convert *c)
{
    uint32_t *schemes = NULL, i;
    uint64_t bytes = 0;
    enum q35_status st = Q35_OK;
    if (c->p->target_bits <= 0)
        return Q35_OK;
    if (c->journal)
        st = q35_journal_read(c->journal, (uint8_t **)&schemes, &bytes, c->err);
    if (!st && !schemes) {
        st = spend_bits(c);
        if (st || !c->journal)
            return st;
        schemes = malloc(sizeof(*schemes) * c->count);
        if (!schemes)
            return q35_fail(c->err, Q35_E_NOMEM, "no memory to convert");
        for (i = 0; i < c->count; i++)
            schemes[i] = c->outputs[i].scheme;
        st = q35_journal_append(c->journal, schemes, sizeof(*schemes) * c->count, c->err);
    } else if (!st && bytes != sizeof(*schemes) * c->count)
        st = odd_record(c);
    for (i = 0; i < c->count && !st; i++) {
        struct output *o = &c->outputs[i];
        if (!o->scheme)
            continue;
        if (!q35_scheme_name(schemes[i]))
            st = odd_record(c);
        o->scheme = schemes[i];
        o->bytes = q35_blob_bytes(o->scheme, o->from.rows, o->from.cols);
    }
    free(schemes);
    return st;
}

enum q35_status q35_convert_layers_begin(struct convert *c, const char *out)
{
    const struct q35_convert_params *p = c->p;
    enum q35_status st = p->resume ? open_journal(c, out) : Q35_OK;
    c->calibrate = (struct q35_calibrate_params){
        .text = p->calibrate,
        .tokens = p->calibrate_tokens,
        .feedback = p->feedback,
        .awq = p->awq,
        .propagate = p->propagate,
        .correct = p->correct,
        .damp = (double)p->damp,
        .encode = q35_convert_encode(p),
        .cancel = p->cancel,
    };
    if (!st)
        st = decide(c);
    return st ? st : q35_calib_create(&c->calib, c->source, &c->calibrate, c->err);
}

/* ---- layers -------------------------------------------------------------------------------- */

static void layer_progress(void *ctx, uint32_t role, uint32_t rows)
{
    struct convert *c = ctx;
    const struct output *o = c->now;
    uint64_t done = c->weights_done;
    for (; o < c->outputs + c->count && o->decoder && o->layer == c->now->layer; o++) {
        if (o->role == role)
            done += (uint64_t)(rows < o->from.rows ? rows : o->from.rows) * o->from.cols;
        else if (o->scheme && o->role < role)
            done += (uint64_t)o->from.rows * o->from.cols;
    }
    if (c->p->progress)
        c->p->progress(c->p->ctx, done, c->weights_total);
}

/* Outputs of the layer that begins with output i. */
static uint32_t layer_outputs(const struct convert *c, uint32_t i)
{
    uint32_t n = 1;
    while (i + n < c->count && c->outputs[i + n].decoder &&
           c->outputs[i + n].layer == c->outputs[i].layer)
        n++;
    return n;
}

enum q35_status q35_convert_layer_tensor(const struct convert *c, const struct output *o,
                                         uint8_t *data, struct q35_encode_stats *stats)
{
    const struct q35_calib_tensor *t = q35_calib_tensor(c->calib, o->role);
    if (!t->blob && !t->vector)
        return q35_source_rows(&o->from, 0, 1, (float *)(void *)data, c->err);
    memcpy(data, o->scheme ? (const void *)t->blob : t->vector, (size_t)o->bytes);
    if (o->scheme)
        *stats = t->stats;
    return Q35_OK;
}

/* A record is the layer's tensors in order, each packed one behind its stats. */
static enum q35_status record_bytes(const struct convert *c, uint32_t i, uint32_t n, uint64_t *sum)
{
    const struct output *o = &c->outputs[i];
    *sum = 0;
    for (; n--; o++)
        if (!q35_add_size(*sum, o->bytes + sizeof(struct q35_encode_stats), sum))
            return q35_fail(c->err, Q35_E_INVALID, "%s: the layer is too large", o->name);
    return *sum > SIZE_MAX ? q35_fail(c->err, Q35_E_NOMEM, "no memory for a layer") : Q35_OK;
}

static enum q35_status record_layer(struct convert *c, uint32_t i, uint32_t n)
{
    struct q35_encode_stats none = {0}, stats;
    uint64_t bytes, at = 0;
    uint8_t *all = NULL;
    enum q35_status st = record_bytes(c, i, n, &bytes);
    if (!st && !(all = malloc(bytes)))
        st = q35_fail(c->err, Q35_E_NOMEM, "no memory for %llu bytes of a layer",
                      (unsigned long long)bytes);
    for (; n-- && !st; i++) {
        uint8_t *data = all + at + sizeof(stats);
        stats = none;
        st = q35_convert_layer_tensor(c, &c->outputs[i], data, &stats);
        memcpy(all + at, &stats, sizeof(stats));
        at += sizeof(stats) + c->outputs[i].bytes;
    }
    if (!st)
        st = q35_journal_append(c->journal, all, bytes, c->err);
    free(all);
    return st;
}

/* *found: whether the journal had the layer. */
static enum q35_status restore_layer(struct convert *c, uint32_t i, uint32_t n,
                                     const uint32_t *schemes, bool *found)
{
    struct q35_calib_tensor tensors[Q35_ROLE_INFO_COUNT] = {0};
    uint64_t bytes, expected, at = 0;
    uint32_t layer = c->outputs[i].layer;
    uint8_t *all;
    enum q35_status st = q35_journal_read(c->journal, &all, &bytes, c->err);
    *found = !st && all;
    if (!*found)
        return st;
    st = record_bytes(c, i, n, &expected);
    if (!st && bytes != expected)
        st = odd_record(c);
    for (; n-- && !st; i++) {
        const struct output *o = &c->outputs[i];
        struct q35_calib_tensor *t = &tensors[o->role];
        memcpy(&t->stats, all + at, sizeof(t->stats));
        at += sizeof(t->stats);
        if (o->scheme)
            t->blob = all + at;
        else
            t->vector = (float *)(void *)(all + at);
        at += o->bytes;
    }
    if (!st)
        st = q35_calib_restore(c->calib, layer, schemes, tensors, c->err);
    free(all);
    return st;
}

enum q35_status q35_convert_layer(struct convert *c, uint32_t i)
{
    uint32_t schemes[Q35_ROLE_INFO_COUNT] = {0}, n = layer_outputs(c, i), k;
    bool found = false;
    enum q35_status st = Q35_OK;
    for (k = i; k < i + n; k++)
        schemes[c->outputs[k].role] = c->outputs[k].scheme;
    c->calibrated++;
    if (c->journal)
        st = restore_layer(c, i, n, schemes, &found);
    c->resumed += found;
    if (st || found)
        return st;
    st = q35_calib_layer(c->calib, c->outputs[i].layer, schemes, layer_progress, c, c->err);
    return st || !c->journal ? st : record_layer(c, i, n);
}
