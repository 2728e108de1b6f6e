/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

#include "text.h"

#include <stdio.h>
#include <stdlib.h>

static bool reserve(struct mlir_text *m, size_t more)
{
    size_t room = m->room ? m->room : 16384;
    char *data;
    if (m->failed)
        return false;
    while (room - m->length <= more)
        room *= 2;
    if (room == m->room)
        return true;
    data = realloc(m->data, room);
    if (!data) {
        m->failed = true;
        return false;
    }
    m->data = data;
    m->room = room;
    return true;
}

static void add(struct mlir_text *m, const char *format, va_list args)
{
    va_list again;
    int n;
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0 || !reserve(m, (size_t)n + 1))
        return;
    vsnprintf(m->data + m->length, m->room - m->length, format, args);
    m->length += (size_t)n;
}

static TEXT_FORMAT void put(struct mlir_text *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(m, format, args);
    va_end(args);
}

static void indent(struct mlir_text *m)
{
    put(m, "%*s", (int)(2 * m->depth), "");
}

void text_line(struct mlir_text *m, const char *format, ...)
{
    va_list args;
    indent(m);
    va_start(args, format);
    add(m, format, args);
    va_end(args);
    put(m, "\n");
}

val text_op(struct mlir_text *m, const char *format, ...)
{
    va_list args;
    val v = text_new(m);
    indent(m);
    put(m, V " = ", v);
    va_start(args, format);
    add(m, format, args);
    va_end(args);
    put(m, "\n");
    return v;
}

void text_open(struct mlir_text *m, const char *format, ...)
{
    va_list args;
    indent(m);
    va_start(args, format);
    add(m, format, args);
    va_end(args);
    put(m, " {\n");
    m->depth++;
}

void text_close(struct mlir_text *m)
{
    text_reopen(m, "}");
    m->depth--;
}

void text_reopen(struct mlir_text *m, const char *line)
{
    m->depth--;
    text_line(m, "%s", line);
    m->depth++;
}

void text_free(struct mlir_text *m)
{
    free(m->data);
    *m = (struct mlir_text){0};
}
