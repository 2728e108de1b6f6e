/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* One child process per check, and what to say of how it ended. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/plugin/load.h"
#include "core/plugin/search.h"
#include "core/verify/kit.h"

const struct vfy_check vfy_checks[] = {
    {"load", "loading, query and version negotiation", 20, vfy_check_load},
    {"descriptor", "name, version, options and slots of the descriptor", 20, vfy_check_descriptor},
    {"devices", "enumerate and device_info, also for older and newer hosts", 30, vfy_check_devices},
    {"open", "open and close, bad indices, close of NULL", 60, vfy_check_open},
    {"supports", "supports answers, also for layers of a later version", 60, vfy_check_supports},
    {"plan", "plan is honest, covers what is then made, allocates nothing", 120, vfy_check_plan},
    {"buffers", "device memory: bounds, contents, runs from and to it", 60, vfy_check_buffers},
    {"upload", "chunks in any order, lifetimes of host memory", 120, vfy_check_upload},
    {"upload-errors", "wrong hashes, missing and repeated bytes", 120, vfy_check_upload_errors},
    {"decode", "every code pair of every scheme, bit for bit", 240, vfy_check_decode},
    {"products", "matrix products of crafted and random inputs, bit for bit", 240,
     vfy_check_products},
    {"layers", "whole layers of random shapes", 400, vfy_check_layers},
    {"contexts", "long contexts, block borders, windows, edge positions", 400, vfy_check_contexts},
    {"batch", "results that do not depend on the rest of the batch", 240, vfy_check_batch},
    {"kv", "fork, truncate, rewrite and retry", 240, vfy_check_kv},
    {"kv-random", "random sequences of forks, truncations and ragged batches", 400,
     vfy_check_kv_random},
    {"capacity", "a full KV cache refuses and changes nothing", 240, vfy_check_capacity},
    {"int8-layers", "KV in int8: whole layers of random shapes, batches", 400,
     vfy_check_int8_layers},
    {"int8-contexts", "KV in int8: long contexts, block borders, windows", 400,
     vfy_check_int8_contexts},
    {"int8-kv", "KV in int8: plan, fork, truncate, rewrite, capacity", 400, vfy_check_int8_kv},
    {"greedy", "greedy runs: ties, NaN, batches of all sizes", 240, vfy_check_greedy},
    {"timeline", "ascending values, one completion each, results kept", 120, vfy_check_timeline},
    {"cancel", "cancel before and during a run, and the retry", 240, vfy_check_cancel},
    {"threads", "[any] functions from other threads during runs", 240, vfy_check_threads},
    {"longer", "structs and strides of a host one minor later", 60, vfy_check_longer},
    {"extensions", "get_extension, and what the extensions answer", 60, vfy_check_extensions},
    {"invalid", "arguments that must be refused", 120, vfy_check_invalid},
    {"starved", "no memory and no descriptors: an error, not a crash", 240, vfy_check_starved},
    {"reset", "reset, and the device afterwards", 120, vfy_check_reset},
    {"leaks", "opening, using and closing again and again", 300, vfy_check_leaks},
};
const uint32_t vfy_check_count = Q35_COUNT(vfy_checks);

static const struct {
    const char *name, *text;
} rules[] = {
#define RULE_TEXT(symbol, name, text) {name, text},
    VFY_RULE_MAP(RULE_TEXT)
#undef RULE_TEXT
};

const char *vfy_rule_name(uint32_t rule)
{
    return rule < VFY_RULE_COUNT ? rules[rule].name : "unknown";
}

const char *vfy_rule_text(uint32_t rule)
{
    return rule < VFY_RULE_COUNT ? rules[rule].text : "";
}

bool vfy_check_info(uint32_t index, const char **name, const char **about)
{
    if (index >= vfy_check_count)
        return false;
    *name = vfy_checks[index].name;
    *about = vfy_checks[index].about;
    return true;
}

void vfy_fail(struct vfy *v, enum vfy_rule rule, const char *format, ...)
{
    struct vfy_finding *f;
    va_list args;
    if (v->sh->finding_count >= VFY_FINDINGS)
        return;
    f = &v->sh->findings[v->sh->finding_count];
    f->rule = rule;
    va_start(args, format);
    vsnprintf(f->text, sizeof(f->text), format, args);
    va_end(args);
    v->sh->finding_count++;
}

void vfy_note(struct vfy *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(v->sh->note, sizeof(v->sh->note), format, args);
    va_end(args);
}

bool vfy_skip(struct vfy *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(v->sh->note, sizeof(v->sh->note), format, args);
    va_end(args);
    v->sh->skipped = 1;
    return true;
}

/* ---- the child ----------------------------------------------------------------------------- */

static void child(const struct vfy_check *check, const struct vfy_options *o,
                  struct vfy_shared *shared)
{
    static struct vfy v; /* the fault handler looks at it */
    const struct rlimit no_core = {0, 0};
    struct vfy_env *env;
    int out = memfd_create("stdout", MFD_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    fflush(stdout);
    if (out >= 0)
        dup2(out, STDOUT_FILENO);
    v.sh = shared;
    v.path = o->path;
    v.seed = o->seed;
    v.quick = o->quick;
    v.device = o->device;
    v.plugin = o->plugin;
    v.rng.state = o->seed ^ 0x5ca1ab1e;
    v.d.where = shared->where;
    v.err = (struct q35_error)Q35_ERROR_INIT;
    if (pipe2(v.sentinels, O_CLOEXEC))
        _exit(1);
    vfy_guard_install(&v);
    env = vfy_env_take(&v);
    check->run(&v);
    vfy_env_compare(&v, env);
    shared->finished = 1;
    _exit(0); /* without the plugin's destructors: "load" has tried those */
}

static double now_seconds(void)
{
    return (double)q35_now_ns() * 1e-9;
}

/* waitpid with a deadline; false if it had to be killed. */
static bool await(pid_t pid, uint32_t seconds, int *status)
{
    const struct timespec nap = {0, 2000000};
    double end = now_seconds() + seconds;
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid)
            return true;
        if (got < 0 && errno != EINTR)
            return true;
        if (now_seconds() > end) {
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            return false;
        }
        nanosleep(&nap, NULL);
    }
}

static void judge(struct vfy_shared *s, bool in_time, int status, uint32_t seconds)
{
    struct vfy v = {.sh = s};
    const char *where = s->where[0] ? s->where : "the kit";
    s->where[VFY_WHERE - 1] = s->name[63] = s->version[63] = '\0';
    s->device[63] = s->device_id[63] = '\0';
    if (s->finished)
        return;
    if (!in_time)
        vfy_fail(&v, VFY_RETURNS, "%s did not return within %u seconds", where, seconds);
    else if (WIFSIGNALED(status))
        vfy_fail(&v, VFY_NO_ABORT, "the process died of %s during %s", strsignal(WTERMSIG(status)),
                 where);
    else
        vfy_fail(&v, VFY_NO_ABORT, "the process ended with exit status %d during %s",
                 WEXITSTATUS(status), where);
}

/* What a plugin wrote is cleaned before it is shown. */
static void take_names(struct vfy_report *r, const struct vfy_shared *s)
{
    if (s->name[0]) {
        q35_clean_text(r->name, sizeof(r->name), s->name);
        q35_clean_text(r->version, sizeof(r->version), s->version);
        r->abi_major = s->abi_major;
        r->abi_minor = s->abi_minor;
    }
    if (s->determinism) {
        r->determinism = s->determinism;
        q35_clean_text(r->device, sizeof(r->device), s->device);
        q35_clean_text(r->device_id, sizeof(r->device_id), s->device_id);
    }
}

static void take_findings(struct vfy_result *out, struct vfy_shared *s)
{
    uint32_t i;
    out->finding_count = s->finding_count < VFY_FINDINGS ? s->finding_count : VFY_FINDINGS;
    for (i = 0; i < out->finding_count; i++) {
        s->findings[i].text[VFY_TEXT - 1] = '\0';
        out->findings[i].rule = s->findings[i].rule;
        q35_clean_text(out->findings[i].text, VFY_TEXT, s->findings[i].text);
    }
    s->note[VFY_TEXT - 1] = '\0';
    q35_clean_text(out->note, VFY_TEXT, s->note);
}

static enum q35_status run_check(struct vfy_report *r, const struct vfy_check *check,
                                 const struct vfy_options *o, struct q35_error *err)
{
    struct vfy_result *out = &r->results[r->result_count];
    struct vfy_shared *s =
        mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint32_t seconds = o->seconds ? o->seconds : check->seconds;
    double start = now_seconds();
    int status = 0;
    bool in_time;
    pid_t pid;

    if (s == MAP_FAILED)
        return q35_fail_errno(err, Q35_E_NOMEM, errno, "no memory for check %s", check->name);
    fflush(stdout);
    fflush(stderr);
    pid = fork();
    if (pid < 0) {
        munmap(s, sizeof(*s));
        return q35_fail_errno(err, Q35_E_NOMEM, errno, "no process for check %s", check->name);
    }
    if (pid == 0)
        child(check, o, s);
    in_time = await(pid, seconds, &status);
    kill(-pid, SIGKILL); /* whatever the plugin has started */
    judge(s, in_time, status, seconds);
    out->check = check->name;
    out->about = check->about;
    out->seed = o->seed;
    out->seconds = now_seconds() - start;
    take_findings(out, s);
    out->outcome = out->finding_count ? VFY_FAIL : s->skipped ? VFY_SKIP : VFY_PASS;
    take_names(r, s);
    munmap(s, sizeof(*s));
    r->result_count++;
    if (o->progress)
        o->progress(o->user, out);
    return Q35_OK;
}

static void set_date(char out[32])
{
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

enum q35_status vfy_run_all(struct vfy_report **out, const struct vfy_options *options,
                            struct q35_error *err)
{
    struct vfy_report *r = calloc(1, sizeof(*r));
    struct vfy_options o = *options;
    enum q35_status st = Q35_OK;
    bool failed = false, ran = false;
    uint32_t i;

    *out = NULL;
    if (r)
        r->results = calloc(vfy_check_count, sizeof(*r->results));
    if (!r || !r->results) {
        free(r);
        return q35_fail(err, Q35_E_NOMEM, "no memory for a report");
    }
    r->path = realpath(options->path, NULL); /* dlopen must not search */
    if (!r->path)
        st = q35_fail_errno(err, Q35_E_IO, errno, "%s", options->path);
    o.path = r->path;
    if (!st)
        st = q35_file_sha256(r->path, r->sha256, err);
    r->seed = o.seed;
    r->quick = o.quick;
    set_date(r->date);
    for (i = 0; !st && i < vfy_check_count; i++) {
        if (o.only && strcmp(o.only, vfy_checks[i].name))
            continue;
        ran = true;
        st = run_check(r, &vfy_checks[i], &o, err);
        failed |= !st && r->results[r->result_count - 1].outcome == VFY_FAIL;
        /* A plugin that cannot be loaded would fail everything after for the same reason. */
        if (!st && i == 0 && failed)
            break;
    }
    if (!st && !ran)
        st = q35_fail(err, Q35_E_NOT_FOUND, "there is no check '%s'", o.only);
    if (st) {
        vfy_report_destroy(r);
        return st;
    }
    r->passed = !failed && (o.only || r->determinism != 0);
    *out = r;
    return Q35_OK;
}

void vfy_report_destroy(struct vfy_report *r)
{
    if (!r)
        return;
    free(r->path);
    free(r->results);
    free(r);
}
