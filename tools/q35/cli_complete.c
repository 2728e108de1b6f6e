/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "tools/q35/cli_internal.h"
#include "tools/q35/session.h"

struct completion {
    FILE *f;
    const char *word;   /* to complete */
    const char *prefix; /* of every candidate: "--option=" */
    size_t prefix_len;
};

static void offer(const struct completion *c, const char *text, size_t len, const char *about)
{
    size_t n = strlen(c->word);
    if (n <= len && memcmp(text, c->word, n) == 0)
        fprintf(c->f, "%.*s%.*s%s%s\n", (int)c->prefix_len, c->prefix, (int)len, text,
                about ? "\t" : "", about ? about : "");
}

static void offer_list(const struct completion *c, const char *list)
{
    for (; *list; list += strcspn(list, "|"), list += *list == '|')
        offer(c, list, strcspn(list, "|"), NULL);
}

static void offer_value(const struct completion *c, const struct cli_option *o)
{
    static const char *const paths[] = {"FILE", "INI", "MODEL", "BACKEND"};
    size_t i;
    if (o->values)
        offer_list(c, o->values);
    if (strcmp(o->arg, "BACKEND") == 0)
        for (i = 0; session_backends[i]; i++)
            offer(c, session_backends[i], strlen(session_backends[i]), NULL);
    for (i = 0; i < Q35_COUNT(paths); i++)
        if (strcmp(o->arg, paths[i]) == 0)
            fputs(":files\n", c->f);
}

/* The option that a whole word is: "--name" or "-x"; NULL if it is none. */
static const struct cli_option *option_of(const struct cli_command *c, const char *word, size_t len)
{
    uint32_t i;
    for (i = 0; i < c->option_count; i++) {
        const struct cli_option *o = &c->options[i];
        if (len == 2 && word[0] == '-' && o->letter == word[1])
            return o;
        if (len > 2 && word[0] == '-' && word[1] == '-' && strlen(o->name) == len - 2 &&
            memcmp(o->name, word + 2, len - 2) == 0)
            return o;
    }
    return NULL;
}

/* Those not given yet. */
static void offer_options(const struct completion *c, const struct cli_command *command, int n,
                          char *const *words)
{
    char name[64];
    uint32_t i;
    int k;
    for (i = 0; i < command->option_count; i++) {
        const struct cli_option *o = &command->options[i];
        for (k = 0; k < n; k++)
            if (option_of(command, words[k], strcspn(words[k], "=")) == o)
                break;
        snprintf(name, sizeof(name), "--%s", o->name);
        if (k == n)
            offer(c, name, strlen(name), o->help);
    }
    offer(c, "--help", 6, "show this help and exit");
}

/* First words of commands; behind a first word, the second ones. */
static void offer_commands(const struct completion *c, const char *first)
{
    uint32_t count, i;
    const struct cli_command *const *all = cli_commands(&count);
    size_t len = first ? strlen(first) : 0;
    for (i = 0; i < count; i++) {
        const char *name = all[i]->name, *gap = strchr(name, ' ');
        if (!first && !gap)
            offer(c, name, strlen(name), all[i]->summary);
        else if (first && gap && (size_t)(gap - name) == len && memcmp(name, first, len) == 0)
            offer(c, gap + 1, strlen(gap + 1), all[i]->summary);
    }
}

/* words: behind the command's name, the last one being typed. */
static void complete_command(struct completion *c, const struct cli_command *command, int n,
                             char *const *words)
{
    const struct cli_option *o = NULL;
    const char *eq = strchr(c->word, '=');
    if (n >= 2 && strcmp(words[n - 1], "=") == 0) { /* bash cuts words at '=' */
        c->word = "";
        o = option_of(command, words[n - 2], strlen(words[n - 2]));
    } else if (n >= 3 && strcmp(words[n - 2], "=") == 0) {
        o = option_of(command, words[n - 3], strlen(words[n - 3]));
    } else if (n >= 2) {
        o = option_of(command, words[n - 2], strlen(words[n - 2]));
    }
    if ((!o || !o->arg) && eq && (o = option_of(command, c->word, (size_t)(eq - c->word)))) {
        c->prefix = c->word;
        c->prefix_len = (size_t)(eq + 1 - c->word);
        c->word = eq + 1;
    }
    if (o && o->arg)
        offer_value(c, o);
    else if (c->word[0] == '-' || !command->max_args)
        offer_options(c, command, n - 1, words);
    else if (strchr(command->synopsis, '|') && !strpbrk(command->synopsis, " ["))
        offer_list(c, command->synopsis);
    else
        fputs(":files\n", c->f);
}

void cli_print_candidates(FILE *f, int n, char *const *words)
{
    struct completion c = {f, n ? words[n - 1] : "", "", 0};
    const struct cli_command *command;
    bool help = n > 1 && strcmp(words[0], "help") == 0;
    int used;
    words += help;
    n -= help;
    if (n <= 1) {
        offer_commands(&c, NULL);
        return;
    }
    if (n == 2)
        offer_commands(&c, words[0]);
    command = cli_find(n - 1, words, &used);
    if (command && !help)
        complete_command(&c, command, n - used, words + used);
}
