/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Reports as JSON and certificates. */

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/verify/verify.h"
#include "q35/backend.h"

static const char *class_name(uint32_t c)
{
    return c == Q35_CLASS_EXACT ? "exact" : c == Q35_CLASS_CLOSE ? "close" : "unknown";
}

static json_t *result_json(const struct vfy_result *r)
{
    static const char *const outcomes[] = {"pass", "fail", "skip"};
    json_t *findings = json_array();
    uint32_t i;
    for (i = 0; i < r->finding_count; i++)
        json_array_append_new(findings, json_pack("{s:s, s:s, s:s}", "rule",
                                                  vfy_rule_name(r->findings[i].rule), "words",
                                                  vfy_rule_text(r->findings[i].rule), "text",
                                                  r->findings[i].text));
    return json_pack("{s:s, s:s, s:I, s:f, s:o, s:s}", "name", r->check, "outcome",
                     outcomes[r->outcome], "seed", (json_int_t)r->seed, "seconds", r->seconds,
                     "findings", findings, "note", r->note);
}

json_t *vfy_report_json(const struct vfy_report *r)
{
    json_t *checks = json_array();
    char abi[32];
    uint32_t i;
    snprintf(abi, sizeof(abi), "%u.%u", r->abi_major, r->abi_minor);
    for (i = 0; i < r->result_count; i++)
        json_array_append_new(checks, result_json(&r->results[i]));
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:b, s:o}",
                     "q35_certificate", 1, "plugin", r->path, "sha256", r->sha256, "name", r->name,
                     "version", r->version, "abi", abi, "class", class_name(r->determinism),
                     "device", r->device, "device_id", r->device_id, "date", r->date, "seed",
                     (json_int_t)r->seed, "quick", r->quick, "passed", r->passed, "checks", checks);
}

enum q35_status vfy_certificate_write(const struct vfy_report *r, const char *path,
                                      struct q35_error *err)
{
    json_t *doc;
    char *temp = NULL;
    enum q35_status st = Q35_OK;

    if (!r->passed)
        return q35_fail(err, Q35_E_INVALID, "no certificate for a plugin that has not passed");
    doc = vfy_report_json(r);
    if (!doc || asprintf(&temp, "%s.%d.tmp", path, (int)getpid()) < 0) {
        json_decref(doc);
        return q35_fail(err, Q35_E_NOMEM, "no memory for a certificate");
    }
    if (json_dump_file(doc, temp, JSON_INDENT(2)))
        st = q35_fail_errno(err, Q35_E_IO, errno, "%s: cannot be written", temp);
    else if (rename(temp, path))
        st = q35_fail_errno(err, Q35_E_IO, errno, "%s: cannot be written", path);
    if (st)
        unlink(temp);
    free(temp);
    json_decref(doc);
    return st;
}
