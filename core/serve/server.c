/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/serve/job.h"
#include "q35/format.h"

#define SWEEP_MS 200
#define STOPPING_NS 5000000000ull /* for the engine to end what was cancelled */

bool q35_server_ready(struct q35_server *s)
{
    struct q35_engine_stats st;
    if (s->phase != Q35_PHASE_SERVING)
        return false;
    q35_engine_stats(s->model.engine, &st);
    return st.ready && !q35_server_hangs(s);
}

bool q35_server_hangs(struct q35_server *s)
{
    struct q35_engine_stats st = {0};
    if (s->model.engine)
        q35_engine_stats(s->model.engine, &st);
    return st.run_since_ns && q35_now_ns() - st.run_since_ns > s->hang_ns;
}

uint64_t q35_server_next_id(struct q35_server *s)
{
    uint64_t id = q35_mix64(++s->next_id);
    return id ? id : q35_server_next_id(s);
}

bool q35_server_abandoned(const struct q35_server *s)
{
    return s->abandoned;
}

/* ---- output gathered during one turn of the loop ---- */

void q35_server_mark_dirty(struct q35_server *s, struct q35_conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = s->dirty;
    s->dirty = c;
}

void q35_server_unmark(struct q35_server *s, struct q35_conn *c)
{
    struct q35_conn **at;
    if (!c->dirty)
        return;
    c->dirty = false;
    for (at = &s->dirty; *at; at = &(*at)->next_dirty)
        if (*at == c) {
            *at = c->next_dirty;
            return;
        }
}

void q35_server_flush(struct q35_server *s)
{
    while (s->dirty) {
        struct q35_conn *c = s->dirty;
        s->dirty = c->next_dirty;
        c->dirty = false;
        q35_conn_flush(c);
    }
}

/* ---- ending ---- */

static void close_listeners(struct q35_server *s)
{
    uint32_t i;
    for (i = 0; i < s->listener_count; i++)
        if (!uv_is_closing((uv_handle_t *)&s->listeners[i]))
            uv_close((uv_handle_t *)&s->listeners[i], NULL);
}

static void close_handles(struct q35_server *s)
{
    size_t i;
    if (!s->handles_open)
        return;
    s->handles_open = false;
    q35_events_close(&s->events); /* the engine's thread must not touch the async handle now */
    close_listeners(s);
    for (i = 0; i < Q35_COUNT(s->signals); i++)
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    uv_close((uv_handle_t *)&s->sweep, NULL);
    uv_close((uv_handle_t *)&s->async, NULL);
}

void q35_server_maybe_stop(struct q35_server *s)
{
    if (s->phase < Q35_PHASE_DRAINING || s->loading || s->conns || s->jobs)
        return;
    close_handles(s);
}

static void close_idle(struct q35_server *s)
{
    struct q35_conn *c, *next;
    for (c = s->conns; c; c = next) {
        next = c->next;
        if (q35_conn_is_idle(c))
            q35_conn_close(c);
    }
}

static void drain(struct q35_server *s)
{
    s->phase = Q35_PHASE_DRAINING;
    s->phase_deadline_ns = q35_now_ns() + s->settings.drain_ns;
    q35_log(Q35_LOG_INFO, "draining: %u requests in progress", s->job_count);
    q35_notify("STOPPING=1");
    close_listeners(s);
    close_idle(s);
    q35_server_maybe_stop(s);
}

static void stop(struct q35_server *s, const char *why)
{
    struct q35_conn *c, *next;
    if (s->phase == Q35_PHASE_STOPPING)
        return;
    if (s->phase < Q35_PHASE_DRAINING)
        close_listeners(s);
    s->phase = Q35_PHASE_STOPPING;
    s->phase_deadline_ns = q35_now_ns() + STOPPING_NS;
    if (s->job_count) {
        q35_log(Q35_LOG_WARN, "%s: %u requests are cut off", why, s->job_count);
        if (s->status == Q35_OK)
            s->status = q35_fail(&s->error, Q35_E_CANCELLED, "%s: %u requests were cut off", why,
                                 s->job_count);
    }
    q35_jobs_stop(s);
    for (c = s->conns; c; c = next) {
        next = c->next;
        if (c->state < Q35_CONN_CLOSING)
            q35_conn_close(c);
    }
    q35_server_maybe_stop(s);
}

static void on_terminate(uv_signal_t *h, int number)
{
    struct q35_server *s = h->data;
    (void)number;
    if (s->loading && s->phase >= Q35_PHASE_DRAINING)
        _exit(1); /* asked twice, and loading cannot be interrupted */
    if (s->phase < Q35_PHASE_DRAINING)
        drain(s);
    else
        stop(s, "second signal");
}

static void on_sweep(uv_timer_t *t)
{
    struct q35_server *s = t->data;
    struct q35_conn *c, *next;
    uint64_t now = q35_now_ns();
    for (c = s->conns; c; c = next) {
        next = c->next;
        q35_conn_check(c, now);
    }
    if (s->phase == Q35_PHASE_DRAINING && now > s->phase_deadline_ns && !s->loading)
        stop(s, "drain_seconds are over");
    if (s->phase == Q35_PHASE_STOPPING && now > s->phase_deadline_ns) {
        while (s->conns)
            q35_conn_close(s->conns);
        s->abandoned = s->jobs != NULL;
        if (s->abandoned)
            q35_log(Q35_LOG_ERROR, "a device does not return; leaving without it");
        close_handles(s);
    }
    if (s->watchdog_ns && now >= s->watchdog_due && !q35_server_hangs(s)) {
        s->watchdog_due = now + s->watchdog_ns;
        q35_notify("WATCHDOG=1");
    }
}

static void on_reload(uv_signal_t *h, int number)
{
    (void)number;
    q35_server_reload(h->data);
}

/* ---- loading ---- */

/* [worker] */
static void load_work(uv_work_t *w)
{
    struct q35_server *s = w->data;
    s->load_status = s->load(s->load_user, s->config, &s->loaded, &s->load_error);
}

static void load_done(uv_work_t *w, int status)
{
    struct q35_server *s = w->data;
    s->loading = false;
    if (status != 0)
        s->load_status = q35_fail(&s->load_error, Q35_E_CANCELLED, "loading was cancelled");
    if (s->load_status != Q35_OK) {
        s->status = s->load_status;
        s->error = s->load_error;
        stop(s, "loading failed");
        return;
    }
    s->model = s->loaded;
    if (s->phase == Q35_PHASE_LOADING) {
        s->phase = Q35_PHASE_SERVING;
        q35_log(Q35_LOG_INFO, "serving %s, context %u", s->model.name, s->model.context);
        q35_notify("READY=1");
    }
    q35_server_maybe_stop(s);
}

static void on_async(uv_async_t *a)
{
    q35_jobs_events(a->data);
}

/* [any] */
static void wake(void *user)
{
    struct q35_server *s = user;
    uv_async_send(&s->async);
}

/* ---- life ---- */

static void raise_descriptor_limit(const struct q35_settings *s)
{
    struct rlimit r;
    rlim_t want = (rlim_t)s->max_connections + 256;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return;
    r.rlim_cur = r.rlim_max == RLIM_INFINITY || r.rlim_max > want ? want : r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur < want)
        q35_log(Q35_LOG_WARN, "only %llu file descriptors may be open for %u connections",
                (unsigned long long)r.rlim_cur, s->max_connections);
}

enum q35_status q35_server_check(const struct q35_config *config, struct q35_error *err)
{
    struct q35_settings s;
    enum q35_status st = q35_settings_load(&s, config, err);
    struct sockaddr_storage addr;
    if (st != Q35_OK)
        return st;
    if (strcmp(config->host, "localhost") != 0 &&
        uv_ip4_addr(config->host, 0, (struct sockaddr_in *)&addr) != 0 &&
        uv_ip6_addr(config->host, 0, (struct sockaddr_in6 *)&addr) != 0)
        st = q35_fail(err, Q35_E_CONFIG, "host: '%s' is not an IP address or localhost",
                      config->host);
    if (s.key_count == 0 && !q35_host_is_loopback(config->host))
        q35_log(Q35_LOG_WARN, "host %s is open to the network and api_key_file is not set",
                config->host);
    q35_settings_fini(&s);
    return st;
}

enum q35_status q35_server_create(struct q35_server **out, const char *config_path,
                                  q35_serve_load_fn load, void *user, struct q35_error *err)
{
    struct q35_server *s = calloc(1, sizeof(*s));
    enum q35_status st;
    uint32_t i;
    *out = NULL;
    if (!s)
        return q35_fail(err, Q35_E_NOMEM, "no memory for the server");
    s->load = load;
    s->load_user = user;
    s->started = (int64_t)time(NULL);
    if (getrandom(&s->next_id, sizeof(s->next_id), 0) != (ssize_t)sizeof(s->next_id))
        s->next_id = q35_now_ns();
    q35_metrics_init(&s->metrics);
    http_parser_set_max_header_size(Q35_HEADER_BYTES + Q35_URL_BYTES);
    json_object_seed(0); /* before several threads parse */
    st = q35_events_init(&s->events, wake, s, err);
    s->config_path = strdup(config_path);
    if (st == Q35_OK && !s->config_path)
        st = q35_fail(err, Q35_E_NOMEM, "no memory for the server");
    if (st == Q35_OK)
        st = q35_config_load(&s->config, config_path, err);
    if (st == Q35_OK)
        st = q35_server_check(s->config, err);
    if (st == Q35_OK)
        st = q35_settings_load(&s->settings, s->config, err);
    if (st != Q35_OK) {
        q35_server_destroy(s);
        return st;
    }
    q35_log_set_level(s->settings.log_level);
    q35_log_set_style(q35_notify_journal() ? Q35_LOG_JOURNAL : Q35_LOG_TIMED);
    for (i = 0; i < s->config->backend_count; i++)
        if (s->hang_ns < s->config->backends[i].hang_seconds * 1000000000ull)
            s->hang_ns = s->config->backends[i].hang_seconds * 1000000000ull;
    *out = s;
    return Q35_OK;
}

static void start_handles(struct q35_server *s)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    size_t i;
    uv_async_init(&s->loop, &s->async, on_async);
    s->async.data = s;
    uv_timer_init(&s->loop, &s->sweep);
    s->sweep.data = s;
    uv_timer_start(&s->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    for (i = 0; i < Q35_COUNT(s->signals); i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], numbers[i] == SIGHUP ? on_reload : on_terminate,
                        numbers[i]);
    }
    s->watchdog_ns = q35_notify_watchdog_ns();
    s->handles_open = true;
}

enum q35_status q35_server_run(struct q35_server *s, struct q35_error *err)
{
    enum q35_status st;
    int rc = uv_loop_init(&s->loop);
    if (rc != 0)
        return q35_fail(err, Q35_E_IO, "cannot make an event loop: %s", uv_strerror(rc));
    s->has_loop = true;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit(&s->settings);
    start_handles(s);
    st = q35_server_listen(s, err);
    if (st == Q35_OK) {
        s->load_work.data = s;
        s->loading = uv_queue_work(&s->loop, &s->load_work, load_work, load_done) == 0;
        if (!s->loading)
            st = q35_fail(err, Q35_E_INTERNAL, "cannot start loading");
    }
    if (st != Q35_OK)
        close_handles(s);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    s->has_loop = false;
    if (st == Q35_OK && s->status != Q35_OK && err)
        *err = s->error;
    return st == Q35_OK ? s->status : st;
}

void q35_server_destroy(struct q35_server *s)
{
    if (!s)
        return;
    q35_jobs_destroy(s);
    q35_events_fini(&s->events);
    q35_settings_fini(&s->settings);
    q35_config_free(s->config);
    free(s->config_path);
    free(s);
}

/* ---- reload ---- */

static enum q35_status reload(struct q35_server *s, struct q35_error *err)
{
    struct q35_config *next;
    struct q35_settings settings;
    struct q35_str names = {0};
    enum q35_status st = q35_config_load(&next, s->config_path, err);
    if (st != Q35_OK)
        return st;
    st = q35_server_check(next, err);
    if (st == Q35_OK)
        st = q35_settings_load(&settings, next, err);
    if (st == Q35_OK) {
        q35_settings_need_restart(s->config, next, &names);
        settings.max_queue = s->settings.max_queue; /* the engine's, which goes on */
        q35_settings_fini(&s->settings);
        s->settings = settings;
        q35_log_set_level(settings.log_level);
        if (names.len)
            q35_log(Q35_LOG_WARN, "reload: changed, but only a restart applies: %s", names.data);
        q35_str_fini(&names);
    }
    q35_config_free(next);
    return st;
}

void q35_server_reload(struct q35_server *s)
{
    struct q35_error err = Q35_ERROR_INIT;
    char state[64];
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)(q35_now_ns() / 1000));
    q35_notify(state);
    if (reload(s, &err) == Q35_OK)
        q35_log(Q35_LOG_INFO, "configuration reloaded");
    else
        q35_log(Q35_LOG_ERROR, "reload: %s; the old configuration stays", err.message);
    q35_notify("READY=1");
}
