/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/model/source_internal.h"

/* A safetensors file: u64 header length, a JSON header {name: {dtype, shape, data_offsets}}, data.
 * Headers of models q35 runs take some 100 KB; the limits keep what JSON costs in memory small. */
#define HEADER_LIMIT (4u << 20)
#define INDEX_LIMIT (4u << 20)
#define MAX_SHARDS 4096u

static const struct {
    const char *name;
    uint32_t dtype, bytes;
} dtypes[] = {
    {"F32", Q35_GGML_F32, 4},          {"F16", Q35_GGML_F16, 2},
    {"BF16", Q35_GGML_BF16, 2},        {"F64", SOURCE_UNREADABLE, 8},
    {"I64", SOURCE_UNREADABLE, 8},     {"I32", SOURCE_UNREADABLE, 4},
    {"I16", SOURCE_UNREADABLE, 2},     {"I8", SOURCE_UNREADABLE, 1},
    {"U8", SOURCE_UNREADABLE, 1},      {"U16", SOURCE_UNREADABLE, 2},
    {"U32", SOURCE_UNREADABLE, 4},     {"U64", SOURCE_UNREADABLE, 8},
    {"BOOL", SOURCE_UNREADABLE, 1},    {"F8_E4M3", SOURCE_UNREADABLE, 1},
    {"F8_E5M2", SOURCE_UNREADABLE, 1},
};

struct st_file {
    struct q35_source *s;
    const char *name;
    const uint8_t *data; /* behind the header */
    uint64_t bytes;
    struct q35_error *err;
};

static enum q35_status bad_entry(const struct st_file *f, const char *tensor, const char *what)
{
    return q35_fail(f->err, Q35_E_FORMAT, "%s: tensor %.150s %s", f->name, tensor, what);
}

static bool json_u64(json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* Fills shape and bytes of r; *unit is the size of a value. */
static enum q35_status read_shape(const struct st_file *f, const char *tensor, json_t *shape,
                                  uint64_t unit, struct raw_tensor *r)
{
    uint64_t n = unit;
    size_t i;
    json_t *v;
    if (!json_is_array(shape) || json_array_size(shape) > 4)
        return bad_entry(f, tensor, "has no shape of up to 4 dimensions");
    json_array_foreach(shape, i, v)
    {
        if (!json_u64(v, &r->dims[i]) || !q35_mul_size(n, r->dims[i], &n))
            return bad_entry(f, tensor, "has an impossible shape");
    }
    r->n_dims = (uint32_t)json_array_size(shape);
    r->bytes = n;
    return Q35_OK;
}

static enum q35_status read_entry(const struct st_file *f, const char *tensor, json_t *v)
{
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    json_t *offsets = json_object_get(v, "data_offsets");
    struct raw_tensor *r;
    uint64_t begin, end;
    enum q35_status st;
    size_t i;
    if (!json_is_object(v) || !dtype)
        return bad_entry(f, tensor, "has no dtype");
    for (i = 0; i < Q35_COUNT(dtypes); i++)
        if (strcmp(dtypes[i].name, dtype) == 0)
            break;
    if (i == Q35_COUNT(dtypes))
        return bad_entry(f, tensor, "has an unknown dtype");
    r = q35_source_add(f->s, tensor, strlen(tensor));
    if (!r)
        return q35_fail(f->err, Q35_E_NOMEM, "no memory to open %s", f->name);
    r->dtype = dtypes[i].dtype;
    r->type_name = dtypes[i].name;
    st = read_shape(f, tensor, json_object_get(v, "shape"), dtypes[i].bytes, r);
    if (st != Q35_OK)
        return st;
    if (json_array_size(offsets) != 2 || !json_u64(json_array_get(offsets, 0), &begin) ||
        !json_u64(json_array_get(offsets, 1), &end) || begin > end)
        return bad_entry(f, tensor, "has no usable data_offsets");
    if (end > f->bytes)
        return bad_entry(f, tensor, "lies outside the file");
    if (end - begin != r->bytes)
        return bad_entry(f, tensor, "has data_offsets that do not fit its shape and dtype");
    r->data = f->data + begin;
    return Q35_OK;
}

static int data_order(const void *a, const void *b)
{
    const struct raw_tensor *const *x = a, *const *y = b;
    return (*x)->data < (*y)->data ? -1 : (*x)->data > (*y)->data;
}

/* The tensors of this file, from `first` on, may not share bytes. */
static enum q35_status check_overlap(const struct st_file *f, uint64_t first)
{
    uint64_t n = f->s->raw_count - first, i;
    const struct raw_tensor **order = malloc((size_t)(n ? n : 1) * sizeof(*order));
    const uint8_t *end = f->data;
    enum q35_status st = Q35_OK;
    if (!order)
        return q35_fail(f->err, Q35_E_NOMEM, "no memory to open %s", f->name);
    for (i = 0; i < n; i++)
        order[i] = &f->s->raw[first + i];
    qsort(order, (size_t)n, sizeof(*order), data_order);
    for (i = 0; i < n && st == Q35_OK; i++) {
        if (order[i]->data < end && order[i]->bytes)
            st = bad_entry(f, order[i]->name, "overlaps another tensor");
        end = order[i]->data + order[i]->bytes > end ? order[i]->data + order[i]->bytes : end;
    }
    free(order);
    return st;
}

enum q35_status q35_safetensors_parse(struct q35_source *s, const uint8_t *data, uint64_t bytes,
                                      const char *name, struct q35_error *err)
{
    struct st_file f = {s, name, NULL, 0, err};
    uint64_t header = 0, first = s->raw_count;
    enum q35_status st = Q35_OK;
    json_error_t why;
    json_t *root, *v;
    const char *key;
    uint32_t i;
    for (i = 0; i < 8 && i < bytes; i++)
        header |= (uint64_t)data[i] << (8 * i);
    if (bytes < 8 || header > bytes - 8 || header > HEADER_LIMIT)
        return q35_fail(
            err, Q35_E_FORMAT,
            "%s is not a safetensors file, or its header of %llu bytes is cut or longer "
            "than %u",
            name, (unsigned long long)header, HEADER_LIMIT);
    f.data = data + 8 + header;
    f.bytes = bytes - 8 - header;
    root = json_loadb((const char *)data + 8, (size_t)header, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(root)) {
        st = q35_fail(err, Q35_E_FORMAT, "%s: the header: %s", name,
                      root ? "not an object" : why.text);
        json_decref(root);
        return st;
    }
    json_object_foreach(root, key, v)
    {
        if (st == Q35_OK && strcmp(key, "__metadata__") != 0)
            st = read_entry(&f, key, v);
    }
    json_decref(root);
    return st == Q35_OK ? check_overlap(&f, first) : st;
}

/* ---- files -------------------------------------------------------------------------------- */

static enum q35_status load_file(struct q35_source *s, const char *file, struct q35_error *err)
{
    struct q35_str path = {0};
    enum q35_status st;
    q35_str_addf(&path, "%s/%s", s->path, file);
    if (path.failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    st = q35_file_map(&s->files[s->file_count], path.data, err);
    if (st == Q35_OK) {
        const struct q35_file *f = &s->files[s->file_count++];
        st = q35_safetensors_parse(s, f->data, f->bytes, path.data, err);
    }
    q35_str_fini(&path);
    return st;
}

/* A shard is a plain name in the model's own folder, and no index. */
static bool shard_name_ok(const char *name)
{
    size_t n = strlen(name);
    return n > 12 && n < 256 && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\') &&
           strcmp(name + n - 12, ".safetensors") == 0;
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different shard names of the index, sorted. names: [json_object_size(map)]. */
static enum q35_status list_shards(const struct q35_source *s, json_t *map, const char **names,
                                   uint32_t *count, struct q35_error *err)
{
    const char *key;
    json_t *v;
    size_t n = 0, i;
    json_object_foreach(map, key, v)
    {
        const char *shard = json_string_value(v);
        if (!shard || !shard_name_ok(shard))
            return q35_fail(err, Q35_E_FORMAT,
                            "%s: the index puts tensor %.100s into '%.100s', which is not a "
                            ".safetensors file of that folder",
                            s->path, key, shard ? shard : "?");
        names[n++] = shard;
    }
    qsort(names, n, sizeof(*names), text_order);
    *count = 0;
    for (i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[*count - 1]) != 0)
            names[(*count)++] = names[i];
    if (*count == 0 || *count > MAX_SHARDS)
        return q35_fail(err, Q35_E_FORMAT, "%s: the index names %u shards, not 1 to %u", s->path,
                        *count, MAX_SHARDS);
    return Q35_OK;
}

/* Every tensor must be where the index says. */
static enum q35_status check_map(struct q35_source *s, json_t *map, const char *const *names,
                                 uint32_t count, struct q35_error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v)
    {
        const struct raw_tensor *t = q35_source_find(s, key);
        uint32_t i = 0;
        while (i < count && strcmp(names[i], json_string_value(v)) != 0)
            i++;
        if (!t || i == count || t->data < s->files[i].data ||
            t->data > s->files[i].data + s->files[i].bytes)
            return q35_fail(err, Q35_E_FORMAT,
                            "%s: the index puts tensor %.100s into %.100s, where it is not",
                            s->path, key, json_string_value(v));
    }
    return Q35_OK;
}

static enum q35_status load_shards(struct q35_source *s, json_t *map, struct q35_error *err)
{
    size_t n = json_object_size(map);
    const char **names = calloc(n ? n : 1, sizeof(*names));
    enum q35_status st = Q35_OK;
    uint32_t count = 0, i;
    if (names)
        st = list_shards(s, map, names, &count, err);
    if (st == Q35_OK)
        s->files = calloc(count ? count : 1, sizeof(*s->files));
    if (!names || (st == Q35_OK && !s->files))
        st = q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    for (i = 0; i < count && st == Q35_OK; i++)
        st = load_file(s, names[i], err);
    if (st == Q35_OK)
        st = q35_source_sort(s, err);
    if (st == Q35_OK)
        st = check_map(s, map, names, count, err);
    free(names);
    return st;
}

static enum q35_status load_index(struct q35_source *s, const char *path, struct q35_error *err)
{
    json_error_t why;
    json_t *root, *map;
    char *text;
    size_t bytes;
    enum q35_status st = q35_file_read(path, INDEX_LIMIT, &text, &bytes, err);
    if (st != Q35_OK)
        return st;
    root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    map = json_object_get(root, "weight_map");
    if (!root)
        st = q35_fail(err, Q35_E_FORMAT, "%s:%d: %s", path, why.line, why.text);
    else if (!json_is_object(map))
        st = q35_fail(err, Q35_E_FORMAT, "%s: weight_map is missing", path);
    else
        st = load_shards(s, map, err);
    json_decref(root);
    free(text);
    return st;
}

enum q35_status q35_safetensors_load(struct q35_source *s, struct q35_error *err)
{
    struct q35_str path = {0};
    enum q35_status st;
    q35_str_addf(&path, "%s/model.safetensors.index.json", s->path);
    if (!path.failed && access(path.data, F_OK) == 0) {
        st = load_index(s, path.data, err);
        q35_str_fini(&path);
        return st;
    }
    q35_str_fini(&path);
    s->files = calloc(1, sizeof(*s->files));
    if (!s->files)
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    st = load_file(s, "model.safetensors", err);
    if (st == Q35_E_NOT_FOUND)
        return q35_fail(err, st, "%s holds no model.safetensors; other weight files are not read",
                        s->path);
    return st == Q35_OK ? q35_source_sort(s, err) : st;
}
