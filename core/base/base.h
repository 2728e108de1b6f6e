/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_BASE_H
#define Q35_CORE_BASE_H

/* Small things every core module uses: errors, checked sizes, mapped files, growing strings, time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "q35/status.h"

#if defined(__GNUC__)
#define Q35_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define Q35_MUST_CHECK __attribute__((warn_unused_result))
#else
#define Q35_PRINTF(f, a)
#define Q35_MUST_CHECK
#endif

#define Q35_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Fills *err (may be NULL) with radius REQUEST and returns status. */
/*@ assigns *err;
    ensures \result == status; */
enum q35_status q35_fail(struct q35_error *err, enum q35_status status, const char *format, ...)
    Q35_PRINTF(3, 4);

/* Like q35_fail, with errno `code` appended as text. */
enum q35_status q35_fail_errno(struct q35_error *err, enum q35_status status, int code,
                               const char *format, ...) Q35_PRINTF(4, 5);

/* Puts "prefix: " before the message already in *err; for the caller that knows the file's name. */
void q35_error_prefix(struct q35_error *err, const char *format, ...) Q35_PRINTF(2, 3);

/* *out = a * b or a + b; false on overflow, *out is then left alone. */
/*@ requires \valid(out);
    assigns *out;
    ensures \result <==> a * b <= UINT64_MAX;
    ensures \result ? *out == a * b : *out == \old(*out); */
bool q35_mul_size(uint64_t a, uint64_t b, uint64_t *out);
/*@ requires \valid(out);
    assigns *out;
    ensures \result <==> a + b <= UINT64_MAX;
    ensures \result ? *out == a + b : *out == \old(*out); */
bool q35_add_size(uint64_t a, uint64_t b, uint64_t *out);

/* A file mapped read-only. Zero-initialised means closed; close tolerates that. */
struct q35_file {
    const uint8_t *data;
    uint64_t bytes;
};
enum q35_status q35_file_map(struct q35_file *f, const char *path, struct q35_error *err);
void q35_file_unmap(struct q35_file *f);

/* Reads a whole file of at most `limit` bytes; *out is zero-terminated, free() it. */
enum q35_status q35_file_read(const char *path, uint64_t limit, char **out, size_t *bytes,
                              struct q35_error *err);

/* A growing byte string, always zero-terminated once anything was added. After a failed allocation
 * `failed` stays set and further calls do nothing, so it is checked once at the end. */
struct q35_str {
    char *data;
    size_t len;
    size_t cap;
    bool failed;
};
void q35_str_add(struct q35_str *s, const char *data, size_t len);
void q35_str_addz(struct q35_str *s, const char *text);
void q35_str_addf(struct q35_str *s, const char *format, ...) Q35_PRINTF(2, 3);
void q35_str_clear(struct q35_str *s);
void q35_str_fini(struct q35_str *s);

/* Finds what a mistyped word may have meant. Zero-initialise, try every known word; best stays NULL
 * if none is near: a typing error or two away, or the beginning or the end of the other. */
struct q35_nearest {
    const char *best;
    size_t distance;
};
void q35_nearest_try(struct q35_nearest *n, const char *word, const char *known);
/* ", did you mean 'best'?" in out, or "". Returns out. */
const char *q35_nearest_text(const struct q35_nearest *n, char out[96]);

/* Monotonic time in nanoseconds. */
uint64_t q35_now_ns(void);

/* Process-wide log line to stderr. Level is enum q35_log_level. Control characters become blanks.
 */
void q35_log(int level, const char *format, ...) Q35_PRINTF(2, 3);
void q35_log_set_level(int level);
enum q35_log_style {
    Q35_LOG_PLAIN,  /* "q35: level: text" */
    Q35_LOG_TIMED,  /* "2026-01-31T12:00:00.000Z level: text" */
    Q35_LOG_JOURNAL /* "<priority>text", which systemd's journal understands and dates itself */
};
void q35_log_set_style(enum q35_log_style style);

#endif
