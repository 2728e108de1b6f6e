/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/config/ini.h"

#include <ini.h>
#include <stdio.h>
#include <string.h>

/* Stands for ':' in keys while inih looks for separators; control bytes are refused before. */
#define COLON '\x01'

struct parser {
    const char *next, *end;
    const char *name;
    const struct q35_ini_sink *sink;
    struct q35_error *err;
    enum q35_status status;
    int line;
    bool in_section;
};

size_t q35_utf8_length(const unsigned char *p, size_t n)
{
    size_t len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

static enum q35_status check_bytes(struct parser *p, const char *s, size_t n)
{
    if (n > Q35_INI_MAX_LINE)
        return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: line has %zu bytes, at most %d are allowed",
                        p->name, p->line, n, Q35_INI_MAX_LINE);
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        size_t len = q35_utf8_length((const unsigned char *)s + i, n - i);
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: control byte 0x%02x in column %zu",
                            p->name, p->line, c, i + 1);
        if (!len)
            return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: invalid UTF-8 in column %zu", p->name,
                            p->line, i + 1);
        i += len;
    }
    return Q35_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static enum q35_status section_line(struct parser *p, char *s)
{
    char *close = strchr(s, ']'), *name = s + 1, *tail;
    if (!close)
        return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: '[' without ']'", p->name, p->line);
    for (tail = close + 1; is_blank(*tail); tail++)
        ;
    if (*tail && !(strchr(";#", *tail) && tail > close + 1))
        return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: text behind the section's ']'", p->name,
                        p->line);
    while (is_blank(*name))
        name++;
    while (close > name && is_blank(close[-1]))
        close--;
    if (close == name || close - name > Q35_INI_MAX_SECTION)
        return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: a section's name has 1 to %d bytes", p->name,
                        p->line, Q35_INI_MAX_SECTION);
    *close = '\0';
    p->in_section = true;
    return p->sink->section(p->sink->user, name, p->line, p->err);
}

/* Everything that inih would take more kindly than we do. s is trimmed on the left. */
static enum q35_status check_line(struct parser *p, char *s)
{
    char *equals;
    if (*s == '\0' || *s == ';' || *s == '#')
        return Q35_OK;
    if (*s == '[') {
        enum q35_status st = section_line(p, s);
        *s = '\0'; /* announced already; inih need not see it */
        return st;
    }
    equals = strchr(s, '=');
    if (!equals || equals == s)
        return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: expected 'key = value' or '[section]'",
                        p->name, p->line);
    if (!p->in_section)
        return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: a key before the first [section]", p->name,
                        p->line);
    for (char *c = s; c < equals; c++)
        if (*c == ':')
            *c = COLON;
        else if (*c == ';' && is_blank(c[-1]))
            return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: a comment inside the key", p->name,
                            p->line);
    return Q35_OK;
}

/* inih's fgets: one whole line at a time, so that it never sees a part of one. */
static char *read_line(char *out, int room, void *user)
{
    struct parser *p = user;
    const char *s = p->next, *nl;
    size_t n;
    if (p->status != Q35_OK || p->next >= p->end)
        return NULL;
    p->line++;
    nl = memchr(s, '\n', (size_t)(p->end - s));
    n = (size_t)((nl ? nl : p->end) - s);
    p->next = nl ? nl + 1 : p->end;
    if (n && s[n - 1] == '\r')
        n--;
    p->status = check_bytes(p, s, n);
    if (p->status != Q35_OK)
        return NULL;
    while (n && is_blank(*s)) { /* inih would take an indented line for more of the last value */
        s++;
        n--;
    }
    if (n + 2 > (size_t)room) { /* cannot be: room is ini_max_line */
        p->status = q35_fail(p->err, Q35_E_INTERNAL, "%s:%d: line does not fit", p->name, p->line);
        return NULL;
    }
    memcpy(out, s, n);
    out[n] = '\0';
    p->status = check_line(p, out);
    return p->status == Q35_OK ? out : NULL;
}

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct parser *p = user;
    char key[Q35_INI_MAX_LINE + 1];
    (void)section;
    if (p->status != Q35_OK)
        return 0;
    snprintf(key, sizeof(key), "%s", name);
    for (char *c = key; *c; c++)
        if (*c == COLON)
            *c = ':';
    p->status = p->sink->pair(p->sink->user, key, value, p->line, p->err);
    return p->status == Q35_OK;
}

enum q35_status q35_ini_parse(const char *text, size_t bytes, const char *name,
                              const struct q35_ini_sink *sink, struct q35_error *err)
{
    struct parser p = {.next = text, .end = text + bytes, .name = name, .sink = sink, .err = err};
    int rc;
    if (bytes > Q35_INI_MAX_BYTES)
        return q35_fail(err, Q35_E_CONFIG, "%s:1: more than %u bytes", name, Q35_INI_MAX_BYTES);
    if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        p.next += 3;
    ini_max_line = Q35_INI_MAX_LINE + 8;
    rc = ini_parse_stream(read_line, &p, on_pair, &p);
    if (p.status != Q35_OK)
        return p.status;
    if (rc != 0)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: cannot be parsed", name, rc > 0 ? rc : 1);
    return Q35_OK;
}
