/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/verify/verify.h"
#include "q35/backend.h"
#include "tools/q35/cli.h"

static const struct cli_option options[] = {
    {0, "certificate", "FILE", "write a certificate there if the plugin passes"},
    {0, "check", "NAME", "run one check alone"},
    {0, "device", "N", "the plugin's device to use [0]"},
    {0, "json", NULL, "print one JSON document instead of text"},
    {0, "list", NULL, "list the checks and exit"},
    {0, "options", "LIST", "options of the plugin's [backend] section: KEY=VALUE,KEY=VALUE"},
    {0, "quick", NULL, "fewer random cases"},
    {0, "seed", "S", "seed of all random cases [1]"},
    {0, "timeout", "S", "deadline of every check in seconds [20 to 400, by check]"},
};

static void show(void *user, const struct vfy_result *r)
{
    static const char *const outcomes[] = {"pass", "FAIL", "skip"};
    const char *file = user;
    uint32_t i;
    printf("%-14s %s  %6.1f s  %s\n", r->check, outcomes[r->outcome], r->seconds, r->about);
    for (i = 0; i < r->finding_count; i++) {
        printf("    rule %s: \"%s\"\n", vfy_rule_name(r->findings[i].rule),
               vfy_rule_text(r->findings[i].rule));
        printf("    %s\n", r->findings[i].text);
    }
    if (r->note[0])
        printf("    note: %s\n", r->note);
    if (r->finding_count)
        printf("    again: q35 verify-plugin --check %s --seed %" PRIu64 " %s\n", r->check, r->seed,
               file);
    fflush(stdout);
}

static int list(void)
{
    const char *name, *about;
    uint32_t i;
    for (i = 0; vfy_check_info(i, &name, &about); i++)
        printf("%-14s %s\n", name, about);
    return CLI_OK;
}

enum { NO_DEVICE = 77 }; /* exit status: what test drivers take for a skip */

/* Nothing failed, but what needs a device was skipped: there is none. */
static bool no_device(const struct vfy_report *r)
{
    uint32_t i, skipped = 0;
    for (i = 0; i < r->result_count; i++) {
        if (r->results[i].outcome == VFY_FAIL)
            return false;
        skipped += r->results[i].outcome == VFY_SKIP;
    }
    return skipped && !r->determinism;
}

static void summary(const struct vfy_report *r)
{
    uint32_t i, count[3] = {0};
    for (i = 0; i < r->result_count; i++)
        count[r->results[i].outcome]++;
    printf("%s %s (ABI %u.%u) on %s: %u passed, %u failed, %u skipped: %s\n",
           r->name[0] ? r->name : "the plugin", r->version, r->abi_major, r->abi_minor,
           r->device[0] ? r->device : "no device", count[VFY_PASS], count[VFY_FAIL],
           count[VFY_SKIP],
           no_device(r) ? "without a device nothing more can be said"
           : r->passed  ? "it conforms"
                        : "it does not conform");
}

enum { MAX_OPTIONS = 32 };

/* Splits "a=b,c=d" in place. */
static bool read_options(char *list, struct q35_kv_pair *items, struct q35_options *out)
{
    char *next = list, *value;
    *out = (struct q35_options){.size = sizeof(*out), .items = items};
    while (next && *next && out->count < MAX_OPTIONS) {
        char *key = strsep(&next, ",");
        value = strchr(key, '=');
        if (!value || value == key)
            return false;
        *value = '\0';
        items[out->count++] = (struct q35_kv_pair){key, value + 1};
    }
    return !next || !*next;
}

static int verify(struct cli *cli, const struct vfy_options *given)
{
    struct vfy_options o = *given;
    const char *certificate = cli_value(cli, "certificate");
    struct q35_error err = Q35_ERROR_INIT;
    struct vfy_report *report;
    bool json = cli_flag(cli, "json");
    int rc = CLI_OK;

    if (cli_flag(cli, "list"))
        return list();
    if (!o.path)
        return cli_usage(cli, "which plugin?");
    if (!cli_u64(cli, "seed", &o.seed) || !cli_u32(cli, "device", 0, 1023, &o.device) ||
        !cli_u32(cli, "timeout", 1, 86400, &o.seconds))
        return CLI_USAGE;
    if (certificate && (o.only || o.quick))
        return cli_usage(cli, "a certificate needs all checks, in full");
    if (!json) {
        o.progress = show;
        o.user = (void *)(uintptr_t)o.path;
    }
    if (vfy_run_all(&report, &o, &err))
        return cli_error(cli, &err);
    if (json)
        rc = cli_print_json(cli, vfy_report_json(report));
    else
        summary(report);
    if (certificate && report->passed) {
        if (vfy_certificate_write(report, certificate, &err))
            rc = cli_error(cli, &err);
        else if (!json)
            printf("certificate: %s\n", certificate);
    }
    if (no_device(report))
        rc = NO_DEVICE;
    else if (!report->passed)
        rc = CLI_FAILED;
    vfy_report_destroy(report);
    return rc;
}

static int run(struct cli *cli)
{
    struct q35_kv_pair items[MAX_OPTIONS];
    struct q35_options plugin;
    struct vfy_options o = {.path = cli_arg(cli, 0),
                            .seed = 1,
                            .quick = cli_flag(cli, "quick"),
                            .only = cli_value(cli, "check")};
    const char *given = cli_value(cli, "options");
    char *list = given ? strdup(given) : NULL;
    int rc;
    if (given && (!list || !read_options(list, items, &plugin)))
        rc = cli_usage(cli, "--options %s: not KEY=VALUE,KEY=VALUE", given);
    else if (given && cli_value(cli, "certificate"))
        rc = cli_usage(cli, "a certificate is about a plugin without options");
    else {
        o.plugin = given ? &plugin : NULL;
        rc = verify(cli, &o);
    }
    free(list);
    return rc;
}

const struct cli_command cmd_verify_plugin = {
    .name = "verify-plugin",
    .synopsis = "FILE.so",
    .summary = "check that a backend plugin keeps the rules of its header",
    .details = "Every check runs in a process of its own with a deadline, so that a plugin which "
               "crashes, exits or hangs costs one check. A failure names the rule of "
               "include/q35/backend.h that was broken and the command that shows it again.\n\n"
               "The exit status is 77 if nothing failed but there is no device to try.\n\n"
               "The plugin is loaded and run: verify only what you would run.",
    .examples = "q35 verify-plugin ./mine.so\n"
                "q35 verify-plugin --certificate mine.cert.json ./mine.so\n"
                "q35 verify-plugin --check layers --seed 7 ./mine.so\n"
                "q35 verify-plugin --options mode=mlir ./groq.so",
    .options = options,
    .option_count = Q35_COUNT(options),
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
