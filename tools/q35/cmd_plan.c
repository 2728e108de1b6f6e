/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

#include <stdlib.h>

#include <jansson.h>

#include "core/plan/plan.h"

static const struct cli_option options[] = {
    {'c', "config", "INI", "configuration with backends and [schedule]"},
    {'b', "backend", "BACKEND", "plan for this backend alone [cpu_simd]"},
    {'m', "model", "FILE", "packed model [the configuration's]"},
    {0, "synthetic", "SHAPE", "plan for a shape: llama-1b, llama-7b, llama-70b:LAYERS"},
    {0, "context", "N", "positions of a sequence [the configuration's, else the model's]"},
    {0, "sequences", "N", "sequences at once [the configuration's]"},
    {0, "kv-type", "TYPE", "KV cache in f16 or int8 [the configuration's, else f16]", "f16|int8"},
    {0, "explain", NULL, "say what was considered and why this was chosen"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

/* What one plan needs, so that one place frees it. */
struct job {
    struct q35_config *config;
    struct q35_model *model;
    struct q35_registry *registry;
    struct q35_plan *plan;
};

static enum q35_status prepare(struct cli *cli, struct job *j, struct q35_error *err)
{
    const char *path = cli_value(cli, "config"), *backend = cli_value(cli, "backend");
    const char *model = cli_value(cli, "model"), *shape = cli_value(cli, "synthetic");
    enum q35_status st = path ? q35_config_load(&j->config, path, err)
                              : q35_config_default(&j->config, backend ? backend : "cpu_simd", err);
    if (st != Q35_OK)
        return st;
    if (!cli_u32(cli, "context", 1, 1u << 24, &j->config->context) ||
        !cli_u32(cli, "sequences", 1, 65536, &j->config->max_sequences))
        return q35_fail(err, Q35_E_INVALID, "see above");
    if (cli_value(cli, "context") || cli_value(cli, "sequences"))
        j->config->kv_tokens = 0;
    if (cli_value(cli, "kv-type"))
        st = q35_config_set(j->config, "kv_type", cli_value(cli, "kv-type"), err);
    if (st != Q35_OK)
        return st;
    model = model ? model : j->config->model_path;
    if (shape)
        st = q35_model_synthetic(&j->model, shape, false, err);
    else if (model)
        st = q35_model_open(&j->model, model, err);
    else
        return q35_fail(err, Q35_E_INVALID, "no model: give -m, --synthetic or [model] path");
    if (st == Q35_OK)
        st = q35_registry_create(&j->registry, j->config, err);
    if (st == Q35_OK)
        st = q35_plan_create(&j->plan, j->config, j->model, j->registry, NULL, err);
    return st;
}

static int print(struct cli *cli, const struct job *j)
{
    bool json = cli_flag(cli, "json");
    char *text = json ? q35_plan_json(j->plan, j->registry)
                      : q35_plan_text(j->plan, j->registry, cli_flag(cli, "explain"));
    if (!text)
        return cli_failf(cli, "no memory");
    fputs(text, stdout);
    if (json)
        putchar('\n');
    free(text);
    return CLI_OK;
}

static int run(struct cli *cli)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct job j = {0};
    int rc;
    if (cli_value(cli, "config") && cli_value(cli, "backend"))
        return cli_usage(cli, "--config and --backend exclude each other");
    if (cli_value(cli, "model") && cli_value(cli, "synthetic"))
        return cli_usage(cli, "--model and --synthetic exclude each other");
    rc = prepare(cli, &j, &err) == Q35_OK ? print(cli, &j) : cli_error(cli, &err);
    q35_plan_destroy(j.plan);
    q35_registry_destroy(j.registry);
    q35_model_close(j.model);
    q35_config_free(j.config);
    return rc;
}

const struct cli_command cmd_plan = {
    .name = "plan",
    .synopsis = "[-c INI | -b BACKEND] [-m MODEL | --synthetic SHAPE]",
    .summary = "show which layers would run on which device",
    .details = "Nothing is uploaded. With several devices each is timed on one layer of the model "
               "first; with --synthetic times come from memory bandwidths. Ranges in [schedule] "
               "are checked and taken. Exits 1 with the numbers if the model does not fit.",
    .examples = "q35 plan -c q35d.ini --explain\nq35 plan --synthetic llama-70b:80 --json",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
