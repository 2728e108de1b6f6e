/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/q35d/load.h"

#include "q35_version.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CUT_OFF = 3 };

static const struct {
    char letter;
    const char *name, *arg, *help;
} options[] = {
    {'c', "config", "FILE", "the configuration, an INI file; needed"},
    {'t', "test", NULL,
     "check the configuration, the plugins, the model and that a plan exists; "
     "print the plan and exit"},
    {'h', "help", NULL, "print this help and exit"},
    {'V', "version", NULL, "print the version and exit"},
};

static void print_help(FILE *f)
{
    size_t i;
    fputs("usage: q35d -c FILE [-t]\n\n"
          "Serves a packed model over HTTP with the API of OpenAI's completions and chat "
          "completions.\n\n",
          f);
    for (i = 0; i < Q35_COUNT(options); i++) {
        char name[64];
        snprintf(name, sizeof(name), "--%s%s%s", options[i].name, options[i].arg ? " " : "",
                 options[i].arg ? options[i].arg : "");
        fprintf(f, "  -%c, %-15s %s\n", options[i].letter, name, options[i].help);
    }
    fputs("\nSIGTERM and SIGINT drain: requests in progress finish, up to drain_seconds; a second "
          "signal cuts them off.\nSIGHUP reads the configuration again; a bad one changes "
          "nothing.\n\nExit status: 0 drained or tested, 1 failed, 2 wrong usage, 3 requests were "
          "cut off.\n",
          f);
}

static int failed(const struct q35_error *err)
{
    fprintf(stderr, "q35d: %s\n", err->message);
    return EXIT_FAILED;
}

static int test(const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35d_loaded *l = q35d_loaded_create();
    struct q35_config *config = NULL;
    enum q35_status st = q35_config_load(&config, path, &err);
    if (st == Q35_OK)
        st = q35_server_check(config, &err);
    if (st == Q35_OK)
        st = l ? q35d_check(l, config, &err) : q35_fail(&err, Q35_E_NOMEM, "no memory");
    if (st == Q35_OK)
        fprintf(stderr, "q35d: %s is fine\n", path);
    q35d_loaded_destroy(l);
    q35_config_free(config);
    return st == Q35_OK ? EXIT_OK : failed(&err);
}

static int serve(const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35d_loaded *l = q35d_loaded_create();
    struct q35_server *s = NULL;
    enum q35_status st = l ? q35_server_create(&s, path, q35d_load, l, &err)
                           : q35_fail(&err, Q35_E_NOMEM, "no memory");
    if (st == Q35_OK)
        st = q35_server_run(s, &err);
    if (s && q35_server_abandoned(s))
        _exit(EXIT_CUT_OFF);
    q35d_loaded_destroy(l); /* the engine before the server: its thread still reports to it */
    q35_server_destroy(s);
    if (st == Q35_OK)
        return EXIT_OK;
    failed(&err);
    return st == Q35_E_CANCELLED ? EXIT_CUT_OFF : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct option table[Q35_COUNT(options) + 1] = {0};
    char letters[2 * Q35_COUNT(options) + 1] = "";
    const char *config = NULL;
    bool only_test = false;
    size_t i;
    int c;
    for (i = 0; i < Q35_COUNT(options); i++) {
        char letter[3] = {options[i].letter, options[i].arg ? ':' : '\0', '\0'};
        strcat(letters, letter);
        table[i].name = options[i].name;
        table[i].has_arg = options[i].arg ? required_argument : no_argument;
        table[i].val = options[i].letter;
    }
    while ((c = getopt_long(argc, argv, letters, table, NULL)) != -1) {
        if (c == 'c') {
            config = optarg;
        } else if (c == 't') {
            only_test = true;
        } else if (c == 'h') {
            print_help(stdout);
            return EXIT_OK;
        } else if (c == 'V') {
            puts("q35d " Q35_VERSION);
            return EXIT_OK;
        } else {
            return EXIT_USAGE;
        }
    }
    if (!config || optind < argc) {
        fputs(config ? "q35d: too many arguments\n" : "q35d: -c FILE is needed\n", stderr);
        print_help(stderr);
        return EXIT_USAGE;
    }
    return only_test ? test(config) : serve(config);
}
