/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_TEXT_H
#define Q35_GROQ_MLIR_TEXT_H

/* A growing text of MLIR and the few shapes of line that the generator writes. Values are numbered
 * through the whole text: value 7 is printed %v7, in formats with V. Running out of memory is
 * remembered in `failed` and makes everything after it a no-op. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define V "%%v%u"

typedef uint32_t val;

struct mlir_text {
    char *data; /* zero-terminated */
    size_t length, room;
    val next;
    uint32_t depth;
    bool failed;
};

#if defined(__GNUC__)
#define TEXT_FORMAT __attribute__((format(printf, 2, 3)))
#else
#define TEXT_FORMAT
#endif

/* A whole line, indented. */
void text_line(struct mlir_text *m, const char *format, ...) TEXT_FORMAT;
/* "%vN = ..." and returns N. */
val text_op(struct mlir_text *m, const char *format, ...) TEXT_FORMAT;
/* A line "%vN = ... {" or "... {" that opens a region; text_close writes "}". */
void text_open(struct mlir_text *m, const char *format, ...) TEXT_FORMAT;
void text_close(struct mlir_text *m);
/* Text in place of the closing line, "} else {". */
void text_reopen(struct mlir_text *m, const char *line);
void text_free(struct mlir_text *m);

/* A number for a value that the caller writes itself. */
static inline val text_new(struct mlir_text *m)
{
    return m->next++;
}

#endif
