/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void error_reset(struct q35_error *err, enum q35_status status)
{
    err->size = (uint32_t)sizeof(*err);
    err->status = (int32_t)status;
    err->radius = Q35_RADIUS_REQUEST;
    err->layer = Q35_NO_LAYER;
    err->native_code = 0;
}

enum q35_status q35_fail(struct q35_error *err, enum q35_status status, const char *format, ...)
{
    va_list ap;
    if (err) {
        error_reset(err, status);
        va_start(ap, format);
        vsnprintf(err->message, sizeof(err->message), format, ap);
        va_end(ap);
    }
    return status;
}

enum q35_status q35_fail_errno(struct q35_error *err, enum q35_status status, int code,
                               const char *format, ...)
{
    va_list ap;
    if (err) {
        size_t n;
        error_reset(err, status);
        err->native_code = code;
        va_start(ap, format);
        vsnprintf(err->message, sizeof(err->message), format, ap);
        va_end(ap);
        n = strlen(err->message);
        snprintf(err->message + n, sizeof(err->message) - n, ": %s", strerror(code));
    }
    return status;
}

void q35_error_prefix(struct q35_error *err, const char *format, ...)
{
    char text[2 * sizeof(err->message) + 2];
    va_list ap;
    size_t n;
    if (!err)
        return;
    va_start(ap, format);
    vsnprintf(text, sizeof(err->message), format, ap);
    va_end(ap);
    n = strlen(text);
    snprintf(text + n, sizeof(text) - n, ": %s", err->message);
    text[sizeof(err->message) - 1] = '\0';
    memcpy(err->message, text, sizeof(err->message));
}

bool q35_mul_size(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a != 0 && b > UINT64_MAX / a)
        return false;
    *out = a * b;
    return true;
}

bool q35_add_size(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a)
        return false;
    *out = a + b;
    return true;
}

enum q35_status q35_file_map(struct q35_file *f, const char *path, struct q35_error *err)
{
    struct stat st;
    void *p;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    f->data = NULL;
    f->bytes = 0;
    if (fd < 0)
        return q35_fail_errno(err, errno == ENOENT ? Q35_E_NOT_FOUND : Q35_E_IO, errno,
                              "cannot open %s", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return q35_fail(err, Q35_E_IO, "%s is not a regular file", path);
    }
    if (st.st_size == 0) {
        close(fd);
        return q35_fail(err, Q35_E_FORMAT, "%s is empty", path);
    }
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        int code = errno;
        close(fd);
        return q35_fail_errno(err, Q35_E_IO, code, "cannot map %s", path);
    }
    close(fd);
    f->data = p;
    f->bytes = (uint64_t)st.st_size;
    return Q35_OK;
}

void q35_file_unmap(struct q35_file *f)
{
    if (f->data)
        munmap((void *)(uintptr_t)f->data, (size_t)f->bytes);
    f->data = NULL;
    f->bytes = 0;
}

enum q35_status q35_file_read(const char *path, uint64_t limit, char **out, size_t *bytes,
                              struct q35_error *err)
{
    struct q35_file f;
    enum q35_status st;
    *out = NULL;
    *bytes = 0;
    st = q35_file_map(&f, path, err);
    if (st != Q35_OK)
        return st;
    if (f.bytes > limit) {
        q35_file_unmap(&f);
        return q35_fail(err, Q35_E_FORMAT, "%s has more than %llu bytes", path,
                        (unsigned long long)limit);
    }
    *out = malloc((size_t)f.bytes + 1);
    if (*out) {
        memcpy(*out, f.data, (size_t)f.bytes);
        (*out)[f.bytes] = '\0';
        *bytes = (size_t)f.bytes;
    }
    q35_file_unmap(&f);
    return *out ? Q35_OK : q35_fail(err, Q35_E_NOMEM, "no memory to read %s", path);
}

static bool str_reserve(struct q35_str *s, size_t more)
{
    size_t cap = s->cap ? s->cap : 64;
    char *p;
    if (s->failed || more > SIZE_MAX / 4 - s->len) {
        s->failed = true;
        return false;
    }
    while (cap < s->len + more + 1)
        cap *= 2;
    if (cap == s->cap)
        return true;
    p = realloc(s->data, cap);
    if (!p) {
        s->failed = true;
        return false;
    }
    s->data = p;
    s->cap = cap;
    return true;
}

void q35_str_add(struct q35_str *s, const char *data, size_t len)
{
    if (!str_reserve(s, len))
        return;
    if (len)
        memcpy(s->data + s->len, data, len);
    s->len += len;
    s->data[s->len] = '\0';
}

void q35_str_addz(struct q35_str *s, const char *text)
{
    q35_str_add(s, text, strlen(text));
}

void q35_str_addf(struct q35_str *s, const char *format, ...)
{
    va_list ap, again;
    int n;
    va_start(ap, format);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n >= 0 && str_reserve(s, (size_t)n)) {
        vsnprintf(s->data + s->len, (size_t)n + 1, format, again);
        s->len += (size_t)n;
    }
    va_end(again);
}

void q35_str_clear(struct q35_str *s)
{
    s->len = 0;
    if (s->data)
        s->data[0] = '\0';
}

void q35_str_fini(struct q35_str *s)
{
    free(s->data);
    memset(s, 0, sizeof(*s));
}

uint64_t q35_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
