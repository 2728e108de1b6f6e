/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "core/config/keys.h"
#include "tools/q35/cli_internal.h"

static int option_index(const struct cli_command *c, const char *name, size_t len)
{
    uint32_t i;
    for (i = 0; i < c->option_count; i++)
        if (strlen(c->options[i].name) == len && !memcmp(c->options[i].name, name, len))
            return (int)i;
    return -1;
}

static int letter_index(const struct cli_command *c, char letter)
{
    uint32_t i;
    for (i = 0; i < c->option_count; i++)
        if (letter && c->options[i].letter == letter)
            return (int)i;
    return -1;
}

static int set_option(struct cli *cli, int i, const char *value)
{
    const struct cli_option *o = &cli->command->options[i];
    if (cli->values[i])
        return cli_usage(cli, "option --%s is given twice", o->name);
    if (o->values && !q35_parse_choice(o->values, value))
        return cli_usage(cli, "--%s %s: expected one of %s", o->name, value, o->values);
    cli->values[i] = value;
    return CLI_OK;
}

static int unknown_option(const struct cli *cli, const char *text, int len)
{
    struct q35_nearest near = {0};
    char name[64];
    uint32_t i;
    snprintf(name, sizeof(name), "%.*s", len, text);
    for (i = 0; i < cli->command->option_count; i++)
        q35_nearest_try(&near, name, cli->command->options[i].name);
    if (!near.best)
        return cli_usage(cli, "unknown option --%.*s", len, text);
    return cli_usage(cli, "unknown option --%.*s, did you mean --%s?", len, text, near.best);
}

static int parse_long(struct cli *cli, const char *text, int *at)
{
    const char *eq = strchr(text, '=');
    size_t len = eq ? (size_t)(eq - text) : strlen(text);
    int i = option_index(cli->command, text, len);
    if (i < 0)
        return unknown_option(cli, text, (int)len);
    if (!cli->command->options[i].arg) {
        if (eq)
            return cli_usage(cli, "option --%.*s takes no value", (int)len, text);
        return set_option(cli, i, "1");
    }
    if (eq)
        return set_option(cli, i, eq + 1);
    if (*at + 1 >= cli->argc)
        return cli_usage(cli, "option --%s needs a value", text);
    return set_option(cli, i, cli->argv[++*at]);
}

static int parse_short(struct cli *cli, const char *text, int *at)
{
    int i = letter_index(cli->command, text[0]);
    if (i < 0)
        return cli_usage(cli, "unknown option -%c", text[0]);
    if (!cli->command->options[i].arg) {
        if (text[1])
            return cli_usage(cli, "unknown option -%s", text);
        return set_option(cli, i, "1");
    }
    if (text[1])
        return set_option(cli, i, text + 1);
    if (*at + 1 >= cli->argc)
        return cli_usage(cli, "option -%c needs a value", text[0]);
    return set_option(cli, i, cli->argv[++*at]);
}

/* What a command printed must have arrived: a full disk is a failure. */
static int flush_output(const struct cli *cli, int rc)
{
    bool failed = fflush(stdout) == EOF || ferror(stdout);
    return failed && rc == CLI_OK ? cli_failf(cli, "cannot write to standard output") : rc;
}

int cli_run(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli = {.command = command, .argc = argc, .argv = argv};
    bool only_args = false;
    int i, rc = CLI_OK;
    for (i = 0; i < argc && rc == CLI_OK; i++) {
        const char *a = argv[i];
        if (only_args || a[0] != '-' || !a[1]) {
            if (cli.arg_count == CLI_MAX_ARGS)
                return cli_usage(&cli, "too many arguments");
            cli.args[cli.arg_count++] = a;
        } else if (!strcmp(a, "--")) {
            only_args = true;
        } else if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            cli_print_help(stdout, command);
            return flush_output(&cli, CLI_OK);
        } else if (a[1] == '-') {
            rc = parse_long(&cli, a + 2, &i);
        } else {
            rc = parse_short(&cli, a + 1, &i);
        }
    }
    if (rc != CLI_OK)
        return rc;
    if (cli.arg_count < command->min_args)
        return cli_usage(&cli, "too few arguments: q35 %s %s", command->name, command->synopsis);
    if (cli.arg_count > command->max_args)
        return cli_usage(&cli, "unexpected argument '%s'", cli.args[command->max_args]);
    return flush_output(&cli, command->run(&cli));
}

const char *cli_arg(const struct cli *cli, uint32_t i)
{
    return i < cli->arg_count ? cli->args[i] : NULL;
}

uint32_t cli_arg_count(const struct cli *cli)
{
    return cli->arg_count;
}

const char *cli_value(const struct cli *cli, const char *name)
{
    int i = option_index(cli->command, name, strlen(name));
    return i < 0 ? NULL : cli->values[i];
}

bool cli_flag(const struct cli *cli, const char *name)
{
    return cli_value(cli, name) != NULL;
}

bool cli_u64(const struct cli *cli, const char *name, uint64_t *out)
{
    const char *v = cli_value(cli, name);
    char *end;
    unsigned long long n;
    if (!v)
        return true;
    errno = 0;
    n = strtoull(v, &end, 0);
    if (v[0] < '0' || v[0] > '9' || *end || errno) {
        cli_usage(cli, "--%s wants a whole number, not '%s'", name, v);
        return false;
    }
    *out = n;
    return true;
}

bool cli_u32(const struct cli *cli, const char *name, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t n = *out;
    if (!cli_value(cli, name))
        return true;
    if (!cli_u64(cli, name, &n))
        return false;
    if (n < min || n > max) {
        cli_usage(cli, "--%s must lie between %u and %u", name, min, max);
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

bool cli_f32(const struct cli *cli, const char *name, float min, float max, float *out)
{
    const char *v = cli_value(cli, name);
    char *end;
    float x;
    if (!v)
        return true;
    x = strtof(v, &end);
    if (end == v || *end || !(x >= min && x <= max)) {
        cli_usage(cli, "--%s must be a number between %g and %g, not '%s'", name, (double)min,
                  (double)max, v);
        return false;
    }
    *out = x;
    return true;
}

static void complain(const struct cli *cli, const char *format, va_list ap)
{
    fprintf(stderr, "q35 %s: ", cli->command->name);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

int cli_error(const struct cli *cli, const struct q35_error *err)
{
    static const char made_up[] = "<default>:"; /* a configuration that the user never saw */
    const char *text = err->message[0] ? err->message : q35_status_text(err->status);
    if (strncmp(text, made_up, sizeof(made_up) - 1) == 0 && strstr(text, ": "))
        text = strstr(text, ": ") + 2;
    return cli_failf(cli, "%s", text);
}

int cli_failf(const struct cli *cli, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    complain(cli, format, ap);
    va_end(ap);
    return CLI_FAILED;
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    complain(cli, format, ap);
    va_end(ap);
    fprintf(stderr, "Try 'q35 %s --help'.\n", cli->command->name);
    return CLI_USAGE;
}

int cli_print_json(const struct cli *cli, struct json_t *doc)
{
    int rc = doc ? json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : -1;
    json_decref(doc);
    if (rc == 0)
        putchar('\n');
    return rc ? cli_failf(cli, "cannot write to standard output") : CLI_OK;
}

void cli_progress(const char *label, uint64_t done, uint64_t total)
{
    static uint64_t start, last;
    uint64_t now = q35_now_ns();
    double part;
    int i, bar;
    if (!isatty(STDERR_FILENO))
        return;
    if (total == 0) {
        fprintf(stderr, "\r\033[K");
        start = last = 0;
        return;
    }
    if (!start)
        start = now;
    if (last && now - last < 100000000u && done < total)
        return;
    last = now;
    part = (double)done / (double)total;
    bar = (int)(part * 30.0);
    fprintf(stderr, "\r%-28.40s [", label);
    for (i = 0; i < 30; i++)
        fputc(i < bar ? '#' : ' ', stderr);
    fprintf(stderr, "] %3.0f%%", part * 100.0);
    if (part > 0.01)
        fprintf(stderr, " %.0f s left ", (double)(now - start) * 1e-9 * (1.0 - part) / part);
    fflush(stderr);
}

const char *cli_cpu_name(void)
{
    static char name[128];
    char line[256];
    FILE *f;
    if (name[0])
        return name;
    snprintf(name, sizeof(name), "unknown CPU");
    f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof(line), f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(name, sizeof(name), "%.120s", colon + 2);
        break;
    }
    if (f)
        fclose(f);
    return name;
}
