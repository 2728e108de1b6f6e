/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "core/model/gguf.h"
#include "core/model/model.h"
#include "core/model/roles.h"
#include "core/model/source.h"
#include "core/text/tokenizer.h"

static const struct cli_option options[] = {
    {0, "tensors", NULL, "list every tensor"},
    {0, "verify", NULL, "read all data of a packed model and check its hashes"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

/* What a listing sums up. */
struct totals {
    uint64_t weights, bytes;               /* everything */
    uint64_t matrix_weights, matrix_bytes; /* packed, or matrices of a float model */
    uint64_t decoder_weights, decoder_bytes;
    json_t *tensors;
    char types[96]; /* of the matrices, each once, blanks between */
};

static double bits(uint64_t bytes, uint64_t weights)
{
    return weights ? 8.0 * (double)bytes / (double)weights : 0;
}

static void note_type(struct totals *t, const char *type)
{
    const char *at = strstr(t->types, type);
    size_t n = strlen(t->types), len = strlen(type);
    if (at && (at[len] == ' ' || !at[len]) && (at == t->types || at[-1] == ' '))
        return;
    snprintf(t->types + n, sizeof(t->types) - n, "%s%s", n ? " " : "", type);
}

static void count(struct totals *t, const char *name, const char *type, uint64_t rows,
                  uint64_t cols, uint64_t bytes, bool decoder)
{
    uint64_t weights = rows * cols;
    t->weights += weights;
    t->bytes += bytes;
    if (rows > 1) {
        note_type(t, type);
        t->matrix_weights += weights;
        t->matrix_bytes += bytes;
        t->decoder_weights += decoder ? weights : 0;
        t->decoder_bytes += decoder ? bytes : 0;
    }
    json_array_append_new(t->tensors,
                          json_pack("{s:s, s:s, s:I, s:I, s:I, s:f}", "name", name, "type", type,
                                    "rows", (json_int_t)rows, "cols", (json_int_t)cols, "bytes",
                                    (json_int_t)bytes, "bits_per_weight", bits(bytes, weights)));
}

static void count_packed(struct totals *t, const struct q35_model *m)
{
    uint32_t n = q35_model_layer_count(m), i, k;
    bool tied = q35_model_params(m)->tied;
    for (i = 0; i < n; i++) {
        const struct q35_layer *l = &q35_model_layers(m)[i];
        for (k = 0; k < l->tensor_count; k++) {
            const struct q35_tensor_desc *d = &l->tensors[k];
            char name[Q35_TENSOR_NAME_MAX];
            if (d->role == Q35_ROLE_ROPE_FREQ || (tied && d->role == Q35_ROLE_HEAD))
                continue;
            q35_role_name(d->role, i - 1, name);
            count(t, name, d->type == Q35_TENSOR_PACKED ? q35_scheme_name(d->scheme) : "f32",
                  d->rows, d->cols, d->bytes, l->kind == Q35_LAYER_DECODER);
        }
    }
}

static void count_role(struct totals *t, const struct q35_source *s, uint32_t layer, uint32_t role)
{
    struct q35_source_tensor x;
    if ((role == Q35_ROLE_HEAD && q35_source_params(s)->tied) ||
        q35_source_tensor(s, layer, role, &x) != Q35_OK)
        return;
    count(t, x.name, q35_gguf_tensor_type_name(x.dtype), x.rows, x.cols, x.rows * x.row_bytes,
          q35_role_infos[role].per_layer);
}

/* In the order of the layers, the embedding first. */
static void count_source(struct totals *t, const struct q35_source *s)
{
    uint32_t i, role;
    count_role(t, s, 0, Q35_ROLE_TOKEN_EMBED);
    for (i = 0; i < q35_source_params(s)->n_layers; i++)
        for (role = 0; role < Q35_ROLE_INFO_COUNT; role++)
            if (q35_role_infos[role].per_layer)
                count_role(t, s, i, role);
    count_role(t, s, 0, Q35_ROLE_OUT_NORM);
    count_role(t, s, 0, Q35_ROLE_HEAD);
}

/* ---- printing ----------------------------------------------------------------------------- */

static json_t *params_json(const struct q35_params *p)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:b}",
                     "architecture", p->arch, "name", p->name, "layers", (json_int_t)p->n_layers,
                     "hidden", (json_int_t)p->d_model, "ffn", (json_int_t)p->d_ffn, "heads",
                     (json_int_t)p->n_heads, "kv_heads", (json_int_t)p->n_kv_heads, "head_dim",
                     (json_int_t)p->head_dim, "vocab", (json_int_t)p->vocab, "context",
                     (json_int_t)p->context, "window", (json_int_t)p->window, "rope",
                     p->rope_style == Q35_ROPE_PAIRS ? "pairs" : "halves", "norm_eps",
                     (double)p->norm_eps, "tied", (int)p->tied);
}

static void print_params(const struct q35_params *p)
{
    printf("architecture  %s%s%s\n", p->arch, p->name[0] ? ", " : "", p->name);
    printf("layers        %u, hidden %u, feed-forward %u\n", p->n_layers, p->d_model, p->d_ffn);
    printf("attention     %u heads of %u, %u for keys and values", p->n_heads, p->head_dim,
           p->n_kv_heads);
    if (p->window)
        printf(", window %u", p->window);
    printf("\nvocabulary    %u, %s\n", p->vocab,
           p->tied ? "the embedding is the head" : "a head of its own");
    printf("context       %u\n", p->context);
}

static void print_totals(const struct totals *t, uint64_t file_bytes, bool packed, bool list)
{
    int width = 0;
    const json_t *v;
    size_t i;
    printf("parameters    %.3f million\n", (double)t->weights * 1e-6);
    printf("bits          %.4f a weight in the decoder layers, %.4f in all matrices%s\n",
           bits(t->decoder_bytes, t->decoder_weights), bits(t->matrix_bytes, t->matrix_weights),
           packed ? " (with scales, tables and padding)" : "");
    printf("size          %.3f MB of tensors in %.3f MB\n", (double)t->bytes * 1e-6,
           (double)file_bytes * 1e-6);
    if (!list)
        return;
    json_array_foreach(t->tensors, i, v)
    {
        int n = (int)strlen(json_string_value(json_object_get(v, "name")));
        width = n > width ? n : width;
    }
    json_array_foreach(t->tensors, i, v)
    {
        printf("  %-*s %-8s %8lld x %-8lld %12lld bytes  %7.4f bits\n", width,
               json_string_value(json_object_get(v, "name")),
               json_string_value(json_object_get(v, "type")),
               json_integer_value(json_object_get(v, "rows")),
               json_integer_value(json_object_get(v, "cols")),
               json_integer_value(json_object_get(v, "bytes")),
               json_real_value(json_object_get(v, "bits_per_weight")));
    }
}

struct view {
    struct q35_model *model;
    struct q35_source *source;
    char tokenizer[160]; /* its kind, or why there is none */
    uint64_t file_bytes;
    const char *hashes; /* NULL: not asked */
};

static int print(struct cli *cli, const struct view *v, struct totals *t)
{
    const struct q35_params *p =
        v->model ? q35_model_params(v->model) : q35_source_params(v->source);
    bool list = cli_flag(cli, "tensors");
    json_t *doc;
    if (!cli_flag(cli, "json")) {
        printf("kind          %s: %s\n", v->model ? "packed" : "not packed", t->types);
        print_params(p);
        printf("tokenizer     %s\n", v->tokenizer);
        print_totals(t, v->file_bytes, v->model != NULL, list);
        if (v->model)
            printf("decoding      reads %.3f MB a token\n",
                   (double)q35_model_bytes_per_token(v->model) * 1e-6);
        if (v->hashes)
            printf("hashes        %s\n", v->hashes);
        return CLI_OK;
    }
    doc =
        json_pack("{s:s, s:s, s:s?, s:o, s:s, s:I, s:I, s:I, s:f, s:f, s:s*}", "kind",
                  v->model ? "packed" : "float", "types", t->types, "scheme",
                  v->model ? q35_model_scheme(v->model) : NULL, "model", params_json(p),
                  "tokenizer", v->tokenizer, "parameters", (json_int_t)t->weights, "tensor_bytes",
                  (json_int_t)t->bytes, "file_bytes", (json_int_t)v->file_bytes, "bits_per_weight",
                  bits(t->decoder_bytes, t->decoder_weights), "bits_per_weight_all",
                  bits(t->matrix_bytes, t->matrix_weights), "hashes", v->hashes);
    if (v->model)
        json_object_set_new(doc, "bytes_per_token",
                            json_integer((json_int_t)q35_model_bytes_per_token(v->model)));
    if (list)
        json_object_set(doc, "tensors", t->tensors);
    return cli_print_json(cli, doc);
}

/* ---- opening ------------------------------------------------------------------------------ */

static void find_tokenizer(struct view *v)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t = NULL;
    const struct q35_gguf *g = v->model ? q35_model_gguf(v->model) : q35_source_gguf(v->source);
    struct q35_view kind = {"byte-level BPE", 14};
    enum q35_status st = g ? q35_tokenizer_from_gguf(&t, g, &err)
                           : q35_tokenizer_from_dir(&t, q35_source_path(v->source), &err);
    if (st != Q35_OK) {
        snprintf(v->tokenizer, sizeof(v->tokenizer), "unusable: %.140s", err.message);
        return;
    }
    if (g)
        (void)q35_gguf_string(g, "tokenizer.ggml.model", &kind, NULL);
    else
        kind = (struct q35_view){"tokenizer.json", 14};
    snprintf(v->tokenizer, sizeof(v->tokenizer), "%.*s, %u tokens%s", (int)kind.len, kind.data,
             q35_tokenizer_vocab(t), q35_tokenizer_chat_template(t) ? ", chat template" : "");
    q35_tokenizer_destroy(t);
}

/* A packed file opens as a model, everything else as a source. */
static enum q35_status open_any(struct view *v, const char *path, struct q35_error *err)
{
    struct stat info;
    bool dir = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    struct q35_gguf *g = NULL;
    enum q35_status st = Q35_OK;
    bool packed;
    if (dir)
        return q35_source_open(&v->source, path, err);
    st = q35_gguf_open(&g, path, err);
    if (st != Q35_OK)
        return st;
    packed = q35_gguf_has(g, "q35.version");
    q35_gguf_close(g);
    v->file_bytes = (uint64_t)info.st_size;
    return packed ? q35_model_open(&v->model, path, err) : q35_source_open(&v->source, path, err);
}

static int run(struct cli *cli)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct totals t = {.tensors = json_array()};
    struct view v = {0};
    enum q35_status st = open_any(&v, cli_arg(cli, 0), &err);
    int rc;
    if (st == Q35_OK && cli_flag(cli, "verify")) {
        st = v.model ? q35_model_verify(v.model, &err)
                     : q35_fail(&err, Q35_E_INVALID, "only packed models have hashes");
        v.hashes = "match";
    }
    if (st != Q35_OK) {
        rc = cli_error(cli, &err);
    } else {
        if (v.model)
            count_packed(&t, v.model);
        else
            count_source(&t, v.source);
        if (!v.file_bytes)
            v.file_bytes = t.bytes;
        find_tokenizer(&v);
        rc = print(cli, &v, &t);
    }
    q35_model_close(v.model);
    q35_source_close(v.source);
    json_decref(t.tensors);
    return rc;
}

const struct cli_command cmd_inspect = {
    .name = "inspect",
    .synopsis = "MODEL",
    .summary = "show what is in a packed or float model",
    .details = "MODEL is a packed model, a GGUF file or a Hugging Face directory. Bits per weight "
               "count all bytes of the packed matrices: codes, row scales, tables and padding.",
    .examples = "q35 inspect llama.q35.gguf\nq35 inspect llama.q35.gguf --tensors --verify\n"
                "q35 inspect ./Qwen2.5-0.5B --json",
    .options = options,
    .option_count = Q35_COUNT(options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
