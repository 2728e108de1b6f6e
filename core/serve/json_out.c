/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/json_out.h"

#include <math.h>
#include <string.h>

size_t q35_utf8_len(const char *data, size_t len)
{
    const unsigned char *p = (const unsigned char *)data;
    size_t n, i;
    uint32_t c;
    if (len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len < n)
        return 0;
    c = p[0] & (0x7fu >> n);
    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
        (n == 4 && (c < 0x10000 || c > 0x10ffff)))
        return 0;
    return n;
}

static void add_escaped(struct q35_str *out, char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *p = strchr(from, c);
    if (p && c)
        q35_str_addf(out, "\\%c", to[p - from]);
    else
        q35_str_addf(out, "\\u%04x", (unsigned)(unsigned char)c);
}

void q35_json_add(struct q35_str *out, const char *data, size_t len)
{
    size_t i = 0, plain = 0; /* data[plain .. i) waits to be copied as it is */
    q35_str_add(out, "\"", 1);
    while (i < len) {
        unsigned char c = (unsigned char)data[i];
        size_t n = q35_utf8_len(data + i, len - i);
        if (n > 1 || (n == 1 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)) {
            i += n;
            continue;
        }
        q35_str_add(out, data + plain, i - plain);
        if (n == 0)
            q35_str_addz(out, "\xef\xbf\xbd");
        else
            add_escaped(out, (char)c);
        plain = ++i;
    }
    q35_str_add(out, data + plain, i - plain);
    q35_str_add(out, "\"", 1);
}

void q35_json_addz(struct q35_str *out, const char *text)
{
    q35_json_add(out, text, strlen(text));
}

void q35_json_add_real(struct q35_str *out, double v, const char *otherwise)
{
    if (isfinite(v))
        q35_str_addf(out, "%.9g", v);
    else
        q35_str_addz(out, otherwise);
}
