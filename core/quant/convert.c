/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/model/gguf_write.h"
#include "core/model/model.h"
#include "core/model/roles.h"
#include "core/quant/convert_internal.h"
#include "core/quant/convert_meta.h"

static bool cancelled(const struct convert *c)
{
    return c->p->cancel && atomic_load(c->p->cancel);
}

/* ---- what to write ------------------------------------------------------------------------ */

/* Takes the next PATTERN=SCHEME off the list at *at. */
static enum q35_status next_type(const struct convert *c, const char **at, char pattern[160],
                                 uint32_t *scheme)
{
    size_t len = strcspn(*at, ",");
    char *eq;
    if (len >= 160)
        return q35_fail(c->err, Q35_E_INVALID, "tensor type '%.100s' is too long", *at);
    memcpy(pattern, *at, len);
    pattern[len] = '\0';
    *at += len + ((*at)[len] == ',');
    eq = strchr(pattern, '=');
    if (!eq)
        return q35_fail(c->err, Q35_E_INVALID, "tensor type '%s' is not PATTERN=SCHEME", pattern);
    *eq = '\0';
    *scheme = q35_scheme_find(eq + 1);
    if (!*scheme)
        return q35_fail(c->err, Q35_E_INVALID, "tensor type '%s=%s': there is no such scheme",
                        pattern, eq + 1);
    return Q35_OK;
}

/* The scheme that --tensor-type asks for; *out and *fixed stay as they are if no pattern fits. */
static enum q35_status override(const struct convert *c, const char *name, uint32_t *out,
                                bool *fixed)
{
    const char *at = c->p->tensor_types;
    while (at && *at && !*fixed) {
        char pattern[160];
        uint32_t scheme;
        enum q35_status st = next_type(c, &at, pattern, &scheme);
        if (st != Q35_OK)
            return st;
        if (fnmatch(pattern, name, 0) == 0) {
            *out = scheme;
            *fixed = true;
        }
    }
    return Q35_OK;
}

/* A pattern for nothing is misspelled. */
static enum q35_status check_patterns(const struct convert *c)
{
    const char *at = c->p->tensor_types;
    while (at && *at) {
        char pattern[160];
        uint32_t scheme, i;
        enum q35_status st = next_type(c, &at, pattern, &scheme);
        if (st != Q35_OK)
            return st;
        for (i = 0; i < c->count; i++)
            if (c->outputs[i].scheme && fnmatch(pattern, c->outputs[i].name, 0) == 0)
                break;
        if (i == c->count)
            return q35_fail(c->err, Q35_E_INVALID,
                            "tensor type '%s': no matrix has such a name; q35 inspect --tensors "
                            "lists them",
                            pattern);
    }
    return Q35_OK;
}

static enum q35_status add_output(struct convert *c, uint32_t role, uint32_t layer)
{
    const struct q35_role_info *r = &q35_role_infos[role];
    struct output *o = &c->outputs[c->count];
    enum q35_status st = Q35_OK;
    if (q35_source_tensor(c->source, layer, role, &o->from) != Q35_OK)
        return Q35_OK; /* opening has checked that nothing needed is missing */
    q35_role_name(role, layer, o->name);
    o->decoder = r->per_layer;
    o->role = role;
    o->layer = layer;
    o->scheme = 0;
    o->bytes = 4ull * o->from.cols;
    if (r->rows != Q35_DIM_ONE) {
        o->scheme = r->per_layer ? c->p->scheme : (uint32_t)Q35_SCHEME_SINGLE;
        st = override(c, o->name, &o->scheme, &o->fixed);
        o->bytes = q35_blob_bytes(o->scheme, o->from.rows, o->from.cols);
        c->weights_total += (uint64_t)o->from.rows * o->from.cols;
    }
    c->count++;
    return st;
}

static enum q35_status list_outputs(struct convert *c)
{
    const struct q35_params *p = q35_source_params(c->source);
    uint32_t i, role, most = (p->n_layers + 1) * Q35_ROLE_INFO_COUNT;
    enum q35_status st;
    c->outputs = calloc(most, sizeof(*c->outputs));
    c->hashes = calloc(most, sizeof(*c->hashes));
    if (!c->outputs || !c->hashes)
        return q35_fail(c->err, Q35_E_NOMEM, "no memory to convert");
    st = add_output(c, Q35_ROLE_TOKEN_EMBED, 0);
    for (i = 0; i < p->n_layers && st == Q35_OK; i++)
        for (role = 0; role < Q35_ROLE_INFO_COUNT && st == Q35_OK; role++)
            if (q35_role_infos[role].per_layer)
                st = add_output(c, role, i);
    if (st == Q35_OK)
        st = add_output(c, Q35_ROLE_OUT_NORM, 0);
    if (st == Q35_OK && !p->tied)
        st = add_output(c, Q35_ROLE_HEAD, 0);
    return st == Q35_OK ? check_patterns(c) : st;
}

/* One u32 column of the packed tensors' table. */
enum column { COLUMN_ROWS, COLUMN_COLS, COLUMN_SCHEME, COLUMN_BLOCK };

static void put_column(struct convert *c, const char *key, enum column column, uint32_t *scratch)
{
    uint32_t i, n = 0;
    for (i = 0; i < c->count; i++) {
        const struct output *o = &c->outputs[i];
        const uint32_t v[] = {o->from.rows, o->from.cols, o->scheme,
                              c->p->rotate ? q35_rot_block(o->from.cols) : 0};
        if (o->scheme)
            scratch[n++] = v[column];
    }
    q35_gguf_put_u32s(c->writer, key, scratch, n);
}

static void put_names(struct convert *c, const char *key, bool all, uint32_t n)
{
    uint32_t i;
    q35_gguf_put_strings_begin(c->writer, key, n);
    for (i = 0; i < c->count; i++)
        if (all || c->outputs[i].scheme)
            q35_gguf_put_strings_item(c->writer, c->outputs[i].name, strlen(c->outputs[i].name));
}

static enum q35_status declare(struct convert *c)
{
    uint32_t *scratch = calloc(c->count, sizeof(*scratch)), i, packed = 0;
    uint64_t *seeds = calloc(c->count, sizeof(*seeds));
    if (!scratch || !seeds) {
        free(scratch);
        free(seeds);
        return q35_fail(c->err, Q35_E_NOMEM, "no memory to convert");
    }
    for (i = 0; i < c->count; i++)
        if (c->outputs[i].scheme)
            seeds[packed++] = c->p->rotate ? c->p->rot_seed : 0;
    put_names(c, "q35.packed.names", false, packed);
    put_column(c, "q35.packed.rows", COLUMN_ROWS, scratch);
    put_column(c, "q35.packed.cols", COLUMN_COLS, scratch);
    put_column(c, "q35.packed.scheme", COLUMN_SCHEME, scratch);
    put_column(c, "q35.packed.rot_block", COLUMN_BLOCK, scratch);
    q35_gguf_put_u64s(c->writer, "q35.packed.rot_seed", seeds, packed);
    put_names(c, "q35.hash.names", true, c->count);
    q35_gguf_put_u64s(c->writer, "q35.hash.values", c->hashes, c->count);
    for (i = 0; i < c->count; i++) {
        const struct output *o = &c->outputs[i];
        uint64_t dims[1] = {o->scheme ? o->bytes : o->from.cols};
        q35_gguf_put_tensor(c->writer, o->name, o->scheme ? Q35_GGML_I8 : Q35_GGML_F32, 1, dims,
                            o->bytes);
    }
    free(scratch);
    free(seeds);
    return q35_gguf_writer_begin_data(c->writer, c->err);
}

/* ---- writing it --------------------------------------------------------------------------- */

static enum q35_status read_rows(void *ctx, uint32_t first, uint32_t count, float *out,
                                 struct q35_error *err)
{
    const struct convert *c = ctx;
    if (cancelled(c))
        return q35_fail(err, Q35_E_CANCELLED, "the conversion was cancelled");
    return q35_source_rows(&c->now->from, first, count, out, err);
}

static void rows_progress(void *ctx, uint32_t rows_done)
{
    const struct convert *c = ctx;
    uint32_t rows = rows_done < c->now->from.rows ? rows_done : c->now->from.rows;
    if (c->p->progress)
        c->p->progress(c->p->ctx, c->weights_done + (uint64_t)rows * c->now->from.cols,
                       c->weights_total);
}

struct q35_encode_params q35_convert_encode(const struct q35_convert_params *p)
{
    struct q35_encode_params e = Q35_ENCODE_PARAMS_INIT;
    e.rotate = p->rotate;
    e.rot_seed = p->rot_seed;
    e.threads = p->threads;
    e.effort = p->effort;
    e.sweeps = p->sweeps;
    e.refine = p->refine != Q35_REFINE_DEFAULT ? p->refine : p->calibrate ? 0 : 2;
    return e;
}

static void packed(struct convert *c, const struct output *o, const struct q35_encode_stats *s)
{
    c->weights_done += (uint64_t)o->from.rows * o->from.cols;
    c->error2 += s->error2;
    c->weight2 += s->weight2;
    if (c->p->tensor)
        c->p->tensor(c->p->ctx, o->name, o->scheme, q35_encode_rmse(s),
                     s->output2 > 0 ? sqrt(s->output_error2 / s->output2) : 0);
}

static enum q35_status pack(struct convert *c, const struct output *o, uint8_t *blob,
                            struct q35_encode_stats *stats)
{
    struct q35_encode_params e = q35_convert_encode(c->p);
    e.scheme = o->scheme;
    e.progress = rows_progress;
    e.progress_ctx = c;
    return q35_encode_matrix(&e, o->from.rows, o->from.cols, read_rows, c, blob, stats, c->err);
}

static enum q35_status write_output(struct convert *c, uint32_t i)
{
    const struct output *o = &c->outputs[i];
    uint64_t room = (o->bytes + 63) & ~63ull;
    uint8_t *data = aligned_alloc(64, (size_t)room);
    struct q35_encode_stats stats = {0};
    enum q35_status st;
    c->now = o;
    if (!data)
        return q35_fail(c->err, Q35_E_NOMEM, "no memory for %llu bytes of %s",
                        (unsigned long long)o->bytes, o->name);
    if (cancelled(c))
        st = q35_fail(c->err, Q35_E_CANCELLED, "the conversion was cancelled");
    else if (c->calib && o->decoder) {
        st = o->layer == c->calibrated ? q35_convert_layer(c, i) : Q35_OK;
        if (st == Q35_OK)
            st = q35_convert_layer_tensor(c, o, data, &stats);
    } else if (o->scheme)
        st = pack(c, o, data, &stats);
    else
        st = q35_source_rows(&o->from, 0, 1, (float *)data, c->err);
    if (st == Q35_OK && o->scheme)
        packed(c, o, &stats);
    if (st == Q35_OK) {
        c->hashes[i] = q35_hash_data(data, o->bytes);
        st = q35_gguf_write_data(c->writer, i, 0, data, o->bytes, c->err);
    }
    free(data);
    return st;
}

static void fill_stats(const struct convert *c, struct q35_convert_stats *s)
{
    uint32_t i;
    memset(s, 0, sizeof(*s));
    for (i = 0; i < c->count; i++) {
        const struct output *o = &c->outputs[i];
        uint64_t weights = (uint64_t)o->from.rows * o->from.cols;
        if (!o->scheme)
            continue;
        s->weights += weights;
        s->packed_bytes += o->bytes;
        s->decoder_weights += o->decoder ? weights : 0;
        s->decoder_bytes += o->decoder ? o->bytes : 0;
    }
    s->resumed = c->resumed;
    s->file_bytes = q35_gguf_writer_bytes(c->writer);
    s->rmse = c->weight2 > 0 ? sqrt(c->error2 / c->weight2) : 0;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static bool same_file(const char *a, const struct stat *b)
{
    struct stat s;
    return stat(a, &s) == 0 && s.st_dev == b->st_dev && s.st_ino == b->st_ino;
}

/* Neither the input itself nor a file of an input directory. */
static enum q35_status check_target(const char *in, const char *out, struct q35_error *err)
{
    struct q35_str path = {0};
    bool same = false;
    struct dirent *e;
    struct stat s;
    DIR *d;
    if (stat(out, &s) != 0)
        return Q35_OK;
    same = same_file(in, &s);
    d = opendir(in);
    while (d && !same && (e = readdir(d))) {
        q35_str_clear(&path);
        q35_str_addf(&path, "%s/%s", in, e->d_name);
        same = !path.failed && same_file(path.data, &s);
    }
    if (d)
        closedir(d);
    q35_str_fini(&path);
    return same ? q35_fail(err, Q35_E_INVALID, "%s is the input; write to another file", out)
                : Q35_OK;
}

static enum q35_status run(struct convert *c, const char *in, const char *out)
{
    uint32_t i;
    enum q35_status st = check_target(in, out, c->err);
    if (st == Q35_OK)
        st = q35_source_open(&c->source, in, c->err);
    if (st == Q35_OK)
        st = list_outputs(c);
    if (st == Q35_OK && c->p->calibrate)
        st = q35_convert_layers_begin(c, out);
    if (st == Q35_OK)
        st = q35_gguf_writer_create(&c->writer, out, c->err);
    if (st == Q35_OK)
        st = q35_convert_metadata(c->source, c->p->scheme, c->writer, c->err);
    if (st == Q35_OK)
        st = declare(c);
    for (i = 0; i < c->count && st == Q35_OK; i++)
        st = write_output(c, i);
    if (st != Q35_OK)
        return st;
    q35_gguf_patch_u64s(c->writer, "q35.hash.values", c->hashes, c->count);
    return q35_gguf_writer_finish(c->writer, c->err);
}

enum q35_status q35_convert(const char *in, const char *out, const struct q35_convert_params *p,
                            struct q35_convert_stats *stats, struct q35_error *err)
{
    struct convert c = {.p = p, .err = err};
    enum q35_status st;
    if (!q35_scheme_name(p->scheme) || !q35_shipped_tables(p->scheme))
        return q35_fail(err, Q35_E_INVALID, "scheme %u cannot be written", p->scheme);
    if (p->target_bits > 0 && !p->calibrate)
        return q35_fail(err, Q35_E_INVALID, "a number of bits to aim at needs a text to calibrate");
    if (p->resume && !p->calibrate)
        return q35_fail(err, Q35_E_INVALID, "only a conversion that calibrates can be resumed");
    st = run(&c, in, out);
    if (st == Q35_OK)
        q35_journal_remove(c.journal);
    else if (c.journal) {
        q35_error_prefix(err, "%s keeps what is done", q35_journal_path(c.journal));
        q35_journal_close(c.journal);
    }
    if (st == Q35_OK && stats)
        fill_stats(&c, stats);
    q35_calib_destroy(c.calib);
    q35_gguf_writer_destroy(c.writer);
    q35_source_close(c.source);
    free(c.outputs);
    free(c.hashes);
    return st;
}
