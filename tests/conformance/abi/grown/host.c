/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The kit inside a host whose ABI is one minor later: plugins of today must pass in it.
 *
 * usage: grown_host PLUGIN.so... */

#include <stdio.h>

#include "core/verify/verify.h"
#include "q35/backend.h"

static void show(void *user, const struct vfy_result *r)
{
    static const char *const outcomes[] = {"pass", "FAIL", "skip"};
    uint32_t i;
    (void)user;
    printf("%-14s %s %s\n", r->check, outcomes[r->outcome], r->note);
    for (i = 0; i < r->finding_count; i++)
        printf("    rule %s: %s\n", vfy_rule_name(r->findings[i].rule), r->findings[i].text);
}

int main(int argc, char **argv)
{
    int i, failed = 0;
    for (i = 1; i < argc; i++) {
        struct vfy_options o = {.path = argv[i], .seed = 1, .quick = true, .progress = show};
        struct q35_error err = Q35_ERROR_INIT;
        struct vfy_report *r;
        printf("%s in a host of ABI %u.%u\n", argv[i], Q35_ABI_MAJOR, Q35_ABI_MINOR);
        if (vfy_run_all(&r, &o, &err)) {
            printf("%s\n", err.message);
            return 1;
        }
        failed += !r->passed || r->abi_minor >= Q35_ABI_MINOR;
        vfy_report_destroy(r);
    }
    return failed != 0;
}
