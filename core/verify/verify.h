/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_VERIFY_H
#define Q35_CORE_VERIFY_H

/* The conformance kit: is this plugin what include/q35/backend.h says a plugin is?
 *
 * Every check runs in a child process of its own with a deadline, so a plugin that crashes, exits
 * or hangs costs one check. A finding names the rule of the header that was broken, where it was
 * seen, and the report gives the seed that reproduces it. */

#include "core/base/base.h"

enum vfy_outcome { VFY_PASS = 0, VFY_FAIL = 1, VFY_SKIP = 2 };

enum { VFY_FINDINGS = 4, VFY_TEXT = 400 };

struct vfy_finding {
    uint32_t rule; /* enum vfy_rule */
    char text[VFY_TEXT];
};

struct vfy_result {
    const char *check; /* short name: "timeline" */
    const char *about; /* one line for people */
    enum vfy_outcome outcome;
    uint64_t seed;
    double seconds;
    uint32_t finding_count;
    struct vfy_finding findings[VFY_FINDINGS];
    char note[VFY_TEXT]; /* why it was skipped, or what was left out */
};

struct vfy_report {
    char *path;
    char sha256[65]; /* of the file */
    char name[64], version[64], device[64], device_id[64];
    uint32_t abi_major, abi_minor;
    uint32_t determinism; /* enum q35_device_class, 0 if unknown */
    uint64_t seed;
    bool quick;
    bool passed;
    char date[32]; /* ISO 8601, UTC */
    struct vfy_result *results;
    uint32_t result_count;
};

struct vfy_options {
    const char *path;
    uint64_t seed;
    bool quick;       /* fewer random cases */
    uint32_t device;  /* index of the plugin */
    const struct q35_options *plugin; /* its [backend] options, NULL: none; outlives the run */
    const char *only; /* one check by name, or NULL */
    uint32_t seconds; /* deadline of every check; 0: each check has its own */
    void (*progress)(void *user, const struct vfy_result *result); /* may be NULL */
    void *user;
};

/* Fails only if the kit itself cannot work (no such file, no such check, no memory); a plugin's
 * failures are in the report. Forks: call it from a process with one thread. */
enum q35_status vfy_run_all(struct vfy_report **out, const struct vfy_options *options,
                            struct q35_error *err);
void vfy_report_destroy(struct vfy_report *r);

/* The rule's name ("timeline-once") and its words in the header. */
const char *vfy_rule_name(uint32_t rule);
const char *vfy_rule_text(uint32_t rule);
/* Names and descriptions of the checks; false beyond the last. */
bool vfy_check_info(uint32_t index, const char **name, const char **about);

/* The report as JSON; the caller owns the reference. Also the content of a certificate:
 *   q35_certificate 1, plugin, sha256, name, version, abi, class, device, date, seed, passed,
 *   checks: [{name, outcome, seed, seconds, findings: [{rule, text}], note}] */
struct json_t;
struct json_t *vfy_report_json(const struct vfy_report *r);
/* Writes a certificate of a passed report, atomically. */
enum q35_status vfy_certificate_write(const struct vfy_report *r, const char *path,
                                      struct q35_error *err);

#endif
