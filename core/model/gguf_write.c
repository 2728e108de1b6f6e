/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/model/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/model/gguf.h"

#define ALIGN 64u
#define HEADER_BYTES 24u

struct put_key { /* what was put: to refuse it twice, and to patch u64 arrays */
    char *name;
    uint64_t at;    /* of the first item, in meta */
    uint64_t count; /* of a u64 array, else 0 */
};

struct put_tensor {
    char *name;
    uint64_t offset, bytes;
};

struct q35_gguf_writer {
    char *path, *temp;
    int fd;
    bool began, finished;
    struct q35_str meta;  /* keys and values as in the file */
    struct q35_str decls; /* tensor declarations as in the file */
    struct put_key *keys;
    uint64_t key_count, key_cap;
    struct put_tensor *tensors;
    uint64_t tensor_count, tensor_cap;
    uint64_t strings_due;              /* items that put_strings_begin announced */
    uint64_t data_start, data_bytes;   /* in the file; bytes including padding */
    uint64_t bytes_due, bytes_written; /* of tensor data */
    struct q35_error first;            /* the first failure of a put */
};

/* ---- creating ----------------------------------------------------------------------------- */

/* Opens a new file beside path; the name says whose it is. */
static enum q35_status open_temp(struct q35_gguf_writer *w, struct q35_error *err)
{
    uint32_t attempt;
    size_t len = strlen(w->path) + 48;
    struct stat st;
    if (stat(w->path, &st) == 0 && !S_ISREG(st.st_mode))
        return q35_fail(err, Q35_E_INVALID, "%s exists and is not a regular file", w->path);
    w->temp = malloc(len);
    if (!w->temp)
        return q35_fail(err, Q35_E_NOMEM, "no memory to write %s", w->path);
    for (attempt = 0; attempt < 100; attempt++) {
        snprintf(w->temp, len, "%s.%ld.%u.part", w->path, (long)getpid(), attempt);
        w->fd = open(w->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0)
            return Q35_OK;
        if (errno != EEXIST)
            break;
    }
    len = (size_t)errno;
    free(w->temp);
    w->temp = NULL;
    return q35_fail_errno(err, Q35_E_IO, (int)len, "cannot create a file beside %s", w->path);
}

enum q35_status q35_gguf_writer_create(struct q35_gguf_writer **out, const char *path,
                                       struct q35_error *err)
{
    struct q35_gguf_writer *w = calloc(1, sizeof(*w));
    enum q35_status st;
    *out = NULL;
    if (!w || !(w->path = strdup(path))) {
        free(w);
        return q35_fail(err, Q35_E_NOMEM, "no memory to write %s", path);
    }
    w->fd = -1;
    st = open_temp(w, err);
    if (st != Q35_OK) {
        q35_gguf_writer_destroy(w);
        return st;
    }
    q35_gguf_put_u32(w, "general.alignment", ALIGN);
    *out = w;
    return Q35_OK;
}

void q35_gguf_writer_destroy(struct q35_gguf_writer *w)
{
    uint64_t i;
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    if (w->temp && !w->finished)
        unlink(w->temp);
    for (i = 0; i < w->key_count; i++)
        free(w->keys[i].name);
    for (i = 0; i < w->tensor_count; i++)
        free(w->tensors[i].name);
    free(w->keys);
    free(w->tensors);
    q35_str_fini(&w->meta);
    q35_str_fini(&w->decls);
    free(w->path);
    free(w->temp);
    free(w);
}

/* ---- metadata ----------------------------------------------------------------------------- */

/* Makes room for one more element; false and a remembered failure if there is none. */
static bool grow(struct q35_gguf_writer *w, void **array, uint64_t count, uint64_t *cap,
                 size_t size)
{
    uint64_t next = *cap ? *cap * 2 : 64;
    void *p;
    if (count < *cap)
        return true;
    p = realloc(*array, (size_t)next * size);
    if (!p) {
        q35_fail(&w->first, Q35_E_NOMEM, "no memory for the metadata of %s", w->path);
        return false;
    }
    *array = p;
    *cap = next;
    return true;
}

static void add_u(struct q35_str *s, uint64_t v, uint32_t bytes)
{
    char b[8];
    uint32_t i;
    for (i = 0; i < 8; i++)
        b[i] = (char)(v >> (8 * i));
    q35_str_add(s, b, bytes);
}

static void add_string(struct q35_str *s, const char *v, size_t len)
{
    add_u(s, len, 8);
    q35_str_add(s, v, len);
}

bool q35_gguf_writer_has(const struct q35_gguf_writer *w, const char *key)
{
    uint64_t i;
    for (i = 0; i < w->key_count; i++)
        if (strcmp(w->keys[i].name, key) == 0)
            return true;
    return false;
}

/* Begins a key: refuses it late, twice or in the middle of an array of strings. */
static bool begin_key(struct q35_gguf_writer *w, const char *name, uint32_t type)
{
    void *keys = w->keys;
    const char *wrong = NULL;
    if (w->first.status != Q35_OK)
        return false;
    if (q35_gguf_writer_has(w, name))
        wrong = "is written twice";
    if (w->began)
        wrong = "comes after the data began";
    if (w->strings_due)
        wrong = "comes before all announced strings";
    if (wrong) {
        q35_fail(&w->first, Q35_E_INVALID, "%s: the metadata key %s %s", w->path, name, wrong);
        return false;
    }
    if (!grow(w, &keys, w->key_count, &w->key_cap, sizeof(*w->keys)))
        return false;
    w->keys = keys;
    memset(&w->keys[w->key_count], 0, sizeof(*w->keys));
    w->keys[w->key_count].name = strdup(name);
    if (!w->keys[w->key_count].name) {
        q35_fail(&w->first, Q35_E_NOMEM, "no memory for the metadata of %s", w->path);
        return false;
    }
    w->key_count++;
    add_string(&w->meta, name, strlen(name));
    add_u(&w->meta, type, 4);
    return true;
}

static bool begin_array(struct q35_gguf_writer *w, const char *name, uint32_t item, uint64_t n)
{
    if (!begin_key(w, name, Q35_GGUF_ARRAY))
        return false;
    add_u(&w->meta, item, 4);
    add_u(&w->meta, n, 8);
    w->keys[w->key_count - 1].at = w->meta.len;
    return true;
}

void q35_gguf_put_u32(struct q35_gguf_writer *w, const char *key, uint32_t v)
{
    if (begin_key(w, key, Q35_GGUF_U32))
        add_u(&w->meta, v, 4);
}

void q35_gguf_put_f32(struct q35_gguf_writer *w, const char *key, float v)
{
    uint32_t u;
    memcpy(&u, &v, 4);
    if (begin_key(w, key, Q35_GGUF_F32))
        add_u(&w->meta, u, 4);
}

void q35_gguf_put_bool(struct q35_gguf_writer *w, const char *key, bool v)
{
    if (begin_key(w, key, Q35_GGUF_BOOL))
        add_u(&w->meta, v, 1);
}

void q35_gguf_put_string(struct q35_gguf_writer *w, const char *key, const char *v, size_t len)
{
    if (begin_key(w, key, Q35_GGUF_STRING))
        add_string(&w->meta, v, len);
}

void q35_gguf_put_f32s(struct q35_gguf_writer *w, const char *key, const float *v, uint64_t n)
{
    uint64_t i;
    if (begin_array(w, key, Q35_GGUF_F32, n))
        for (i = 0; i < n; i++) {
            uint32_t u;
            memcpy(&u, &v[i], 4);
            add_u(&w->meta, u, 4);
        }
}

void q35_gguf_put_i32s(struct q35_gguf_writer *w, const char *key, const int32_t *v, uint64_t n)
{
    uint64_t i;
    if (begin_array(w, key, Q35_GGUF_I32, n))
        for (i = 0; i < n; i++)
            add_u(&w->meta, (uint32_t)v[i], 4);
}

void q35_gguf_put_u32s(struct q35_gguf_writer *w, const char *key, const uint32_t *v, uint64_t n)
{
    uint64_t i;
    if (begin_array(w, key, Q35_GGUF_U32, n))
        for (i = 0; i < n; i++)
            add_u(&w->meta, v[i], 4);
}

void q35_gguf_put_u64s(struct q35_gguf_writer *w, const char *key, const uint64_t *v, uint64_t n)
{
    uint64_t i;
    if (!begin_array(w, key, Q35_GGUF_U64, n))
        return;
    w->keys[w->key_count - 1].count = n;
    for (i = 0; i < n; i++)
        add_u(&w->meta, v[i], 8);
}

void q35_gguf_put_strings_begin(struct q35_gguf_writer *w, const char *key, uint64_t n)
{
    if (begin_array(w, key, Q35_GGUF_STRING, n))
        w->strings_due = n;
}

void q35_gguf_put_strings_item(struct q35_gguf_writer *w, const char *v, size_t len)
{
    if (w->first.status != Q35_OK)
        return;
    if (!w->strings_due) {
        q35_fail(&w->first, Q35_E_INVALID, "%s: a string more than was announced", w->path);
        return;
    }
    w->strings_due--;
    add_string(&w->meta, v, len);
}

void q35_gguf_put_tensor(struct q35_gguf_writer *w, const char *name, uint32_t type,
                         uint32_t n_dims, const uint64_t *dims, uint64_t bytes)
{
    void *tensors = w->tensors;
    struct put_tensor *t;
    uint32_t d;
    if (w->first.status != Q35_OK)
        return;
    if (w->began || n_dims < 1 || n_dims > 4) {
        q35_fail(&w->first, Q35_E_INVALID, "%s: tensor %s cannot be declared", w->path, name);
        return;
    }
    if (!grow(w, &tensors, w->tensor_count, &w->tensor_cap, sizeof(*w->tensors)))
        return;
    w->tensors = tensors;
    t = &w->tensors[w->tensor_count];
    t->offset = w->data_bytes;
    t->bytes = bytes;
    t->name = strdup(name);
    if (!t->name || !q35_add_size(w->data_bytes, bytes, &w->data_bytes) ||
        !q35_add_size(w->data_bytes, ALIGN - 1, &w->data_bytes)) {
        free(t->name);
        q35_fail(&w->first, Q35_E_NOMEM, "%s: no room for tensor %s", w->path, name);
        return;
    }
    w->data_bytes &= ~(uint64_t)(ALIGN - 1);
    w->bytes_due += bytes;
    w->tensor_count++;
    add_string(&w->decls, name, strlen(name));
    add_u(&w->decls, n_dims, 4);
    for (d = 0; d < n_dims; d++)
        add_u(&w->decls, dims[d], 8);
    add_u(&w->decls, type, 4);
    add_u(&w->decls, t->offset, 8);
}

/* ---- the file ----------------------------------------------------------------------------- */

static enum q35_status write_all(struct q35_gguf_writer *w, uint64_t at, const void *data,
                                 uint64_t bytes, struct q35_error *err)
{
    const char *p = data;
    while (bytes) {
        ssize_t n = pwrite(w->fd, p, bytes < (1u << 30) ? (size_t)bytes : 1u << 30, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return q35_fail_errno(err, Q35_E_IO, n ? errno : ENOSPC, "cannot write %s", w->path);
        p += n;
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return Q35_OK;
}

void q35_gguf_patch_u64s(struct q35_gguf_writer *w, const char *key, const uint64_t *v, uint64_t n)
{
    struct q35_str s = {0};
    uint64_t i, k;
    for (k = 0; k < w->key_count; k++)
        if (strcmp(w->keys[k].name, key) == 0)
            break;
    if (w->first.status != Q35_OK)
        return;
    if (k == w->key_count || w->keys[k].count != n) {
        q35_fail(&w->first, Q35_E_INVALID, "%s: %s is no array of %llu numbers", w->path, key,
                 (unsigned long long)n);
        return;
    }
    for (i = 0; i < n; i++)
        add_u(&s, v[i], 8);
    if (s.failed)
        q35_fail(&w->first, Q35_E_NOMEM, "no memory for the metadata of %s", w->path);
    else if (!w->began)
        memcpy(w->meta.data + w->keys[k].at, s.data, s.len);
    else
        write_all(w, HEADER_BYTES + w->keys[k].at, s.data, s.len, &w->first);
    q35_str_fini(&s);
}

/* Takes all the room at once, so that a full disk is noticed before the work, not after. */
static enum q35_status reserve(struct q35_gguf_writer *w, uint64_t bytes, struct q35_error *err)
{
    if (bytes > INT64_MAX)
        return q35_fail(err, Q35_E_INVALID, "%s would be too large for a file", w->path);
    if (fallocate(w->fd, 0, 0, (off_t)bytes) == 0)
        return Q35_OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR)
        return q35_fail_errno(err, Q35_E_IO, errno, "cannot make %s %llu bytes long", w->path,
                              (unsigned long long)bytes);
    if (ftruncate(w->fd, (off_t)bytes) != 0)
        return q35_fail_errno(err, Q35_E_IO, errno, "cannot make %s %llu bytes long", w->path,
                              (unsigned long long)bytes);
    return Q35_OK;
}

enum q35_status q35_gguf_writer_begin_data(struct q35_gguf_writer *w, struct q35_error *err)
{
    struct q35_str head = {0};
    enum q35_status st;
    if (w->first.status == Q35_OK && w->strings_due)
        q35_fail(&w->first, Q35_E_INVALID, "%s: %llu announced strings are missing", w->path,
                 (unsigned long long)w->strings_due);
    if (w->first.status == Q35_OK && (w->meta.failed || w->decls.failed))
        q35_fail(&w->first, Q35_E_NOMEM, "no memory for the metadata of %s", w->path);
    if (w->first.status != Q35_OK)
        return q35_fail(err, (enum q35_status)w->first.status, "%s", w->first.message);
    q35_str_addz(&head, "GGUF");
    add_u(&head, 3, 4);
    add_u(&head, w->tensor_count, 8);
    add_u(&head, w->key_count, 8);
    w->data_start = HEADER_BYTES + w->meta.len + w->decls.len;
    w->data_start += (ALIGN - w->data_start % ALIGN) % ALIGN;
    w->began = true;
    st = head.failed ? q35_fail(err, Q35_E_NOMEM, "no memory to write %s", w->path) : Q35_OK;
    if (st == Q35_OK)
        st = reserve(w, w->data_start + w->data_bytes, err);
    if (st == Q35_OK)
        st = write_all(w, 0, head.data, head.len, err);
    if (st == Q35_OK)
        st = write_all(w, HEADER_BYTES, w->meta.data, w->meta.len, err);
    if (st == Q35_OK)
        st = write_all(w, HEADER_BYTES + w->meta.len, w->decls.data, w->decls.len, err);
    q35_str_fini(&head);
    return st;
}

enum q35_status q35_gguf_write_data(struct q35_gguf_writer *w, uint64_t tensor, uint64_t offset,
                                    const void *data, uint64_t bytes, struct q35_error *err)
{
    const struct put_tensor *t;
    if (!w->began || tensor >= w->tensor_count)
        return q35_fail(err, Q35_E_INVALID, "%s: no tensor %llu to write", w->path,
                        (unsigned long long)tensor);
    t = &w->tensors[tensor];
    if (offset > t->bytes || bytes > t->bytes - offset)
        return q35_fail(err, Q35_E_INVALID, "%s: tensor %s has %llu bytes only", w->path, t->name,
                        (unsigned long long)t->bytes);
    w->bytes_written += bytes;
    return write_all(w, w->data_start + t->offset + offset, data, bytes, err);
}

uint64_t q35_gguf_writer_bytes(const struct q35_gguf_writer *w)
{
    return w->data_start + w->data_bytes;
}

/* The directory's entry must reach the disk too; a file system that cannot is not our failure. */
static void sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(dir);
}

enum q35_status q35_gguf_writer_finish(struct q35_gguf_writer *w, struct q35_error *err)
{
    int fd = w->fd;
    if (w->first.status != Q35_OK)
        return q35_fail(err, (enum q35_status)w->first.status, "%s", w->first.message);
    if (!w->began || w->bytes_written != w->bytes_due)
        return q35_fail(err, Q35_E_INVALID, "%s: %llu of %llu bytes of tensor data were written",
                        w->path, (unsigned long long)w->bytes_written,
                        (unsigned long long)w->bytes_due);
    if (fsync(fd) != 0)
        return q35_fail_errno(err, Q35_E_IO, errno, "cannot write %s", w->path);
    w->fd = -1;
    if (close(fd) != 0)
        return q35_fail_errno(err, Q35_E_IO, errno, "cannot write %s", w->path);
    if (rename(w->temp, w->path) != 0)
        return q35_fail_errno(err, Q35_E_IO, errno, "cannot rename %s to %s", w->temp, w->path);
    w->finished = true;
    sync_directory(w->path);
    return Q35_OK;
}
