/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "core/base/base.h"

static atomic_int log_level = 1;
static atomic_int log_style = Q35_LOG_PLAIN;

void q35_log_set_level(int level)
{
    atomic_store(&log_level, level);
}

void q35_log_set_style(enum q35_log_style style)
{
    atomic_store(&log_style, (int)style);
}

/* What text from elsewhere holds must not begin lines of its own. */
static void clean_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

static void log_time(char *out, size_t size)
{
    struct timespec now;
    struct tm tm;
    size_t n;
    clock_gettime(CLOCK_REALTIME, &now);
    n = gmtime_r(&now.tv_sec, &tm) ? strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    snprintf(out + n, size - n, ".%03ldZ", now.tv_nsec / 1000000);
}

void q35_log(int level, const char *format, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7}; /* of syslog */
    char text[1024], when[40], line[1024 + 64];
    int n;
    va_list ap;
    if (level < 0 || level > 3 || level > atomic_load(&log_level))
        return;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    clean_line(text);
    switch (atomic_load(&log_style)) {
    case Q35_LOG_JOURNAL:
        n = snprintf(line, sizeof(line), "<%d>%s\n", priorities[level], text);
        break;
    case Q35_LOG_TIMED:
        log_time(when, sizeof(when));
        n = snprintf(line, sizeof(line), "%s %s: %s\n", when, names[level], text);
        break;
    default:
        n = snprintf(line, sizeof(line), "q35: %s: %s\n", names[level], text);
        break;
    }
    if (n > 0)
        fwrite(line, 1, (size_t)n, stderr); /* unbuffered: in one piece */
}
