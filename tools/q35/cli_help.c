/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "tools/q35/cli_internal.h"

#include "q35_version.h"

static const struct cli_option help_option = {'h', "help", NULL, "show this help and exit"};

enum { WIDTH = 96, OPTION_INDENT = 32 };

/* Up to the end of the text or its next newline, cut at blanks; later lines are indented. The
 * cursor stands at column `indent`. Returns the rest, after newlines. */
static const char *wrap(FILE *f, const char *text, int indent)
{
    int column = indent;
    while (*text && *text != '\n') {
        int blanks = (int)strspn(text, " "), word = (int)strcspn(text + blanks, " \n");
        if (column > indent && column + blanks + word > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
            text += blanks;
            blanks = 0;
        }
        fprintf(f, "%.*s", blanks + word, text);
        text += blanks + word;
        column += blanks + word;
    }
    fputc('\n', f);
    return text + strspn(text, "\n");
}

static void print_option(FILE *f, const struct cli_option *o)
{
    char left[64];
    int n = snprintf(left, sizeof(left), o->letter ? "-%c, " : "    ", o->letter);
    snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", o->name, o->arg ? " " : "",
             o->arg ? o->arg : "");
    fprintf(f, "  %-28s  ", left);
    wrap(f, o->help, OPTION_INDENT);
}

/* Lines of `examples`, each indented by two. */
static void print_examples(FILE *f, const char *text)
{
    fprintf(f, "\nexamples:\n");
    while (*text) {
        int n;
        text += strspn(text, " \n");
        n = (int)strcspn(text, "\n");
        fprintf(f, "  %.*s\n", n, text);
        text += n;
    }
}

void cli_print_help(FILE *f, const struct cli_command *c)
{
    const char *text = c->details ? c->details : "";
    uint32_t i;
    fprintf(f, "usage: q35 %s [OPTION...]%s%s\n\n%s\n", c->name, *c->synopsis ? " " : "",
            c->synopsis, c->summary);
    while (*text) {
        fputc('\n', f);
        text = wrap(f, text, 0);
    }
    fprintf(f, "\noptions:\n");
    for (i = 0; i < c->option_count; i++)
        print_option(f, &c->options[i]);
    print_option(f, &help_option);
    if (c->examples)
        print_examples(f, c->examples);
}

void cli_print_overview(FILE *f, const struct cli_command *const *commands, uint32_t count)
{
    uint32_t i;
    fprintf(f, "usage: q35 COMMAND [OPTION...]\n\n"
               "Runs LLaMA-family models from 3.5-bit weights on whatever devices there are.\n\n"
               "commands:\n");
    for (i = 0; i < count; i++)
        fprintf(f, "  %-16s  %s\n", commands[i]->name, commands[i]->summary);
    fprintf(f, "\n'q35 COMMAND --help' tells more; 'q35 --version' prints the version.\n");
}

/* Text for troff: a backslash, and a dot or quote at the start of a line, would be commands. */
static void man_text(FILE *f, const char *text)
{
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", f);
        if (*text == '\\')
            fputs("\\e", f);
        else if (*text == '-')
            fputs("\\-", f);
        else
            fputc(*text, f);
        line_start = *text == '\n';
    }
}

/* Each line of it a paragraph. */
static void man_paragraphs(FILE *f, const char *text)
{
    while (*text) {
        int n = (int)strcspn(text, "\n");
        char *line = strndup(text, (size_t)n);
        fprintf(f, ".PP\n");
        man_text(f, line ? line : "");
        fputc('\n', f);
        free(line);
        text += n;
        text += strspn(text, "\n");
    }
}

static void man_option(FILE *f, const struct cli_option *o)
{
    fprintf(f, ".TP\n");
    if (o->letter)
        fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
    fprintf(f, "\\fB\\-\\-");
    man_text(f, o->name);
    fprintf(f, "\\fR");
    if (o->arg)
        fprintf(f, " \\fI%s\\fR", o->arg);
    fputc('\n', f);
    man_text(f, o->help);
    fputc('\n', f);
}

void cli_print_man(FILE *f, const struct cli_command *const *commands, uint32_t count)
{
    uint32_t i, k;
    fprintf(f, ".TH Q35 1 \"\" \"q35 " Q35_VERSION "\"\n.SH NAME\n"
               "q35 \\- run LLaMA\\-family models from 3.5\\-bit weights on mixed hardware\n"
               ".SH SYNOPSIS\n.B q35\n.I COMMAND\n[\\fIOPTION\\fR...]\n.SH COMMANDS\n");
    for (i = 0; i < count; i++) {
        const struct cli_command *c = commands[i];
        fprintf(f, ".SS q35 %s ", c->name);
        man_text(f, c->synopsis);
        fputc('\n', f);
        man_text(f, c->summary);
        fputc('\n', f);
        if (c->details)
            man_paragraphs(f, c->details);
        for (k = 0; k < c->option_count; k++)
            man_option(f, &c->options[k]);
        if (c->examples) {
            fprintf(f, ".PP\n.nf\n");
            man_text(f, c->examples);
            fprintf(f, "\n.fi\n");
        }
    }
    fprintf(f, ".SH EXIT STATUS\n0 on success, 1 on failure, 2 when the command line is wrong.\n"
               ".SH SEE ALSO\n.BR q35d (1)\n");
}
