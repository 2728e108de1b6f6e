/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <sys/socket.h>

#include "backends/reference/soft.h"
#include "core/plugin/certificate.h"
#include "core/plugin/isolate_session.h"
#include "core/plugin/spawn.h"

/* libFuzzer target for what plugins hand us from outside: certificates ("c", then the file), and
 * the answers of a worker process that may say anything ("w", two bytes of length, what lies in the
 * arena, then replies). Linked with --wrap=q35_spawn: no process is started. */

static const char *const fuzz_files[8] = {"p.so", "p.cert.json"};

pid_t __wrap_q35_spawn(char *const *argv, const int *fds, int n, int output);

static const uint8_t *script; /* of replies that are left */
static size_t script_bytes;
static const uint8_t *arena;
static size_t arena_bytes;

/* Of loading a plugin here and of the worker's side, which are not run. */
const struct q35_ops q35_reference_ops;

enum q35_status q35_soft_lend(struct q35_plugin *api, const struct q35_host *host,
                              struct q35_error *err)
{
    (void)api;
    (void)host;
    return q35_fail(err, Q35_E_UNSUPPORTED, "not here");
}

struct q35_device *q35_soft_own(const struct q35_plugin *api, struct q35_device *dev)
{
    (void)api;
    return dev;
}

static int ends[4] = {-1, -1, -1, -1}; /* the worker's, of two sessions */

/* A worker that has answered all it ever will. Waits use one channel, other calls another. */
pid_t __wrap_q35_spawn(char *const *argv, const int *fds, int n, int output)
{
    const int channel[2] = {fds[ISO_CHANNELS], fds[ISO_WAIT_CHANNELS]};
    int *end = ends[0] < 0 ? ends : ends + 2, most = ends[0] < 0 ? 2 : 12;
    size_t texts = arena_bytes < 256 ? arena_bytes : 256;
    check(argv && n == ISO_FDS && output == -1);
    /* first the plugin's texts are asked for, then its devices */
    check(pwrite(fds[n - 1], arena, texts, 0) == (ssize_t)texts);
    check(pwrite(fds[n - 1], arena + texts, arena_bytes - texts, ISO_TEXT_BYTES) >= 0);
    for (int i = 0; i < 2; i++)
        check((end[i] = dup(channel[i])) >= 0);
    for (int i = 0; i < most && script_bytes; i++) {
        size_t part =
            script_bytes < sizeof(struct iso_reply) ? script_bytes : sizeof(struct iso_reply);
        check(send(end[i == 5], script, part, MSG_NOSIGNAL) == (ssize_t)part);
        script += part;
        script_bytes -= part;
    }
    for (int i = 0; i < 2; i++) /* after these the worker is gone */
        check(shutdown(end[i], SHUT_WR) == 0);
    return 0;
}

static void close_ends(void)
{
    for (int i = 0; i < 4; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        ends[i] = -1;
    }
}

/* Everything once, as the engine would. */
static void use_device(const struct q35_plugin_entry *e, struct q35_device *dev)
{
    static float out[16];
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_layer layer = {.size = (uint32_t)sizeof(layer)};
    struct q35_plan_request request = {.size = (uint32_t)sizeof(request),
                                       .layers = &layer,
                                       .layer_count = 1,
                                       .layer_stride = (uint32_t)sizeof(layer)};
    struct q35_plan_result plan = {.size = (uint32_t)sizeof(plan)};
    struct q35_token token = {0};
    struct q35_weights *w = NULL;
    struct q35_buffer *b = NULL;
    uint64_t value = 0;
    (void)e->api.supports(dev, &layer, &err);
    (void)e->api.plan(dev, &request, &plan, &err);
    check(plan.size == sizeof(plan));
    if (e->api.buffer_alloc(dev, 64, &b, &err) == Q35_OK) {
        check(b != NULL);
        (void)e->api.buffer_read(b, 0, out, sizeof(out), &err);
        e->api.buffer_free(b);
    }
    if (e->api.weights_begin(dev, &layer, 1, (uint32_t)sizeof(layer), &w, &err) == Q35_OK) {
        struct q35_run run = {
            .size = (uint32_t)sizeof(run), .count = 1, .n_tokens = 1, .signal = 1};
        run.token_stride = (uint32_t)sizeof(token);
        run.tokens = &token;
        run.weights = w;
        run.out.host = out;
        run.out.bytes = sizeof(out);
        if (e->api.run_layers(dev, &run, &err) == Q35_OK)
            (void)e->api.wait(dev, 1, 0, &err);
        (void)e->api.poll(dev, &value, &err);
        e->api.weights_free(w);
    }
}

static void run_worker(const uint8_t *data, size_t size)
{
    struct q35_config_backend config = {.name = (char[]){"w"}, .hang_seconds = 1};
    struct q35_plugin_entry e = {.config = &config, .path = (char[]){"/w.so"}};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_device_info *infos;
    struct q35_device *dev;
    char note[488];
    uint32_t count;
    arena_bytes = size < 2 ? 0 : data[0] + 256u * data[1];
    if (size < 2 || arena_bytes > size - 2)
        return;
    arena = data + 2;
    script = arena + arena_bytes;
    script_bytes = size - 2 - arena_bytes;
    e.options.size = (uint32_t)sizeof(e.options);
    if (q35_isolate_load(&e, "/worker", &err) != Q35_OK) {
        check(!e.worker && err.status != Q35_OK);
        return;
    }
    check(e.api.name && e.api.version && e.api.description && e.api.licence);
    if (q35_plugin_devices(&e, &infos, &count, note, &err) == Q35_OK)
        for (uint32_t i = 0; i < count; i++)
            check(memchr(infos[i].name, 0, sizeof(infos[i].name)) && infos[i].max_batch);
    free(infos);
    if (e.api.open(&e.host, &e.options, 0, &dev, &err) == Q35_OK) {
        use_device(&e, dev);
        e.api.close(dev);
    }
    q35_isolate_unload(&e);
}

static void read_certificate(const uint8_t *data, size_t size)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_certificate c;
    char plugin[128], path[128];
    fuzz_write(fuzz_path(plugin, "p.so"), "", 0);
    fuzz_write(fuzz_path(path, "p.cert.json"), data, size);
    if (q35_certificate_check(plugin, &c, &err) == Q35_OK)
        check(memchr(c.date, 0, sizeof(c.date)) && memchr(c.host_abi, 0, sizeof(c.host_abi)));
    else
        check(err.message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] == 'c')
        read_certificate(data + 1, size - 1);
    else if (data[0] == 'w')
        run_worker(data + 1, size - 1);
    close_ends();
    return 0;
}
