/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <math.h>
#include <pthread.h>

#include <jansson.h>

#include "core/serve/events.h"
#include "core/serve/json_in.h"
#include "core/serve/json_out.h"
#include "core/serve/metrics.h"
#include "core/serve/settings.h"
#include "core/serve/stop.h"

/* ---- stop strings ---- */

/* Where the first stop string of text begins, SIZE_MAX if there is none. */
static size_t first_stop(const struct q35_stops *s, const char *text, size_t len)
{
    size_t best = SIZE_MAX;
    uint32_t i;
    for (i = 0; i < s->count; i++) {
        const char *hit = memmem(text, len, s->text[i], s->len[i]);
        if (hit && (size_t)(hit - text) < best)
            best = (size_t)(hit - text);
    }
    return best;
}

/* Whether text[at .. len), not empty, begins a stop string. */
static bool may_begin(const struct q35_stops *s, const char *text, size_t at, size_t len)
{
    uint32_t i;
    for (i = 0; i < s->count; i++)
        if (len - at < s->len[i] && memcmp(text + at, s->text[i], len - at) == 0)
            return true;
    return false;
}

/* Feeds text in random pieces. All that cannot belong to a stop string is shown, and no more. */
static void feed(struct test_rng *r, const struct q35_stops *s, const char *text, size_t len)
{
    size_t at = 0, i;
    bool found = false;
    while (at < len && !found) {
        size_t n = 1 + test_rng_u64(r) % 4, now = at + n < len ? at + n : len, shown;
        size_t want = first_stop(s, text, now);
        shown = q35_stops_scan(s, text, now, at, &found);
        assert_int_equal(found, want != SIZE_MAX);
        if (found)
            assert_int_equal(shown, want);
        for (i = 0; !found && i < shown; i++)
            assert_false(may_begin(s, text, i, now));
        if (!found && shown < now)
            assert_true(may_begin(s, text, shown, now));
        at = now;
    }
}

static void stop_strings_are_found_in_pieces(void **state)
{
    struct test_rng r = {7};
    int round;
    (void)state;
    for (round = 0; round < 20000; round++) {
        char text[24], stop[4][6];
        struct q35_stops s = {.count = 1 + (uint32_t)(test_rng_u64(&r) % 4)};
        size_t len = test_rng_u64(&r) % sizeof(text), i, k;
        for (i = 0; i < len; i++)
            text[i] = (char)('a' + test_rng_u64(&r) % 2);
        for (i = 0; i < s.count; i++) {
            s.len[i] = 1 + test_rng_u64(&r) % 6;
            for (k = 0; k < s.len[i]; k++)
                stop[i][k] = (char)('a' + test_rng_u64(&r) % 2);
            s.text[i] = stop[i];
        }
        feed(&r, &s, text, len);
    }
}

static void no_more_is_held_back_than_needed(void **state)
{
    char one[] = "abc";
    struct q35_stops s = {.text = {one}, .len = {3}, .count = 1};
    bool found;
    (void)state;
    assert_int_equal(q35_stops_scan(&s, "xxab", 4, 0, &found), 2);
    assert_int_equal(q35_stops_scan(&s, "xxabd", 5, 4, &found), 5);
    assert_int_equal(q35_stops_scan(&s, "xxaba", 5, 4, &found), 4);
    assert_false(found);
    assert_int_equal(q35_stops_scan(&s, "xxabc", 5, 4, &found), 2);
    assert_true(found);
    s.count = 0;
    assert_int_equal(q35_stops_scan(&s, "xxabc", 5, 0, &found), 5);
    assert_false(found);
}

/* ---- JSON ---- */

static void strings_of_any_bytes_become_json(void **state)
{
    struct test_rng r = {11};
    int round;
    (void)state;
    for (round = 0; round < 5000; round++) {
        char data[32];
        size_t len = test_rng_u64(&r) % sizeof(data), i;
        struct q35_str out = {0};
        json_t *v;
        for (i = 0; i < len; i++)
            data[i] = (char)test_rng_u64(&r);
        q35_json_add(&out, data, len);
        v = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(v);
        assert_true(json_is_string(v));
        json_decref(v);
        q35_str_fini(&out);
    }
}

static void good_strings_survive(void **state)
{
    static const char text[] = "a\"b\\c/\n\r\t\b\f\x01\x7f é€𝄞 \xe2\x80\xa8";
    struct q35_str out = {0};
    json_t *v;
    (void)state;
    q35_json_addz(&out, text);
    v = json_loadb(out.data, out.len, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    assert_string_equal(json_string_value(v), text);
    json_decref(v);
    q35_str_clear(&out);
    q35_json_add(&out, "\xc3(\xff", 3);
    assert_string_equal(out.data, "\"\xef\xbf\xbd(\xef\xbf\xbd\"");
    q35_str_clear(&out);
    q35_json_add_real(&out, -INFINITY, "-9999.0");
    q35_json_add_real(&out, NAN, "null");
    q35_json_add_real(&out, -0.5, "null");
    assert_string_equal(out.data, "-9999.0null-0.5");
    q35_str_fini(&out);
}

static void utf8_is_judged(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {{"a", 1},
                 {"\xc3\xa9", 2},
                 {"\xe2\x82\xac", 3},
                 {"\xf0\x9d\x84\x9e", 4},
                 {"\xf4\x8f\xbf\xbf", 4},
                 {"\x80", 0},
                 {"\xc0\x80", 0},
                 {"\xc1\xbf", 0},
                 {"\xe0\x9f\xbf", 0},
                 {"\xed\xa0\x80", 0},
                 {"\xf0\x8f\xbf\xbf", 0},
                 {"\xf4\x90\x80\x80", 0},
                 {"\xf8\x88\x80\x80\x80", 0},
                 {"\xc3", 0},
                 {"\xe2\x82", 0}};
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(cases); i++)
        assert_int_equal(q35_utf8_len(cases[i].text, strlen(cases[i].text)), cases[i].len);
    assert_int_equal(q35_utf8_len("", 0), 0);
}

static void depth_is_limited(void **state)
{
    struct q35_api_error e;
    struct q35_str s = {0};
    int depth, i;
    (void)state;
    for (depth = 1; depth < 40; depth++) {
        json_t *v;
        q35_str_clear(&s);
        q35_str_addz(&s, "{\"a\":");
        for (i = 1; i < depth; i++)
            q35_str_addz(&s, "[");
        q35_str_addz(&s, "\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"\"");
        for (i = 1; i < depth; i++)
            q35_str_addz(&s, "]");
        q35_str_addz(&s, "}");
        v = q35_json_load(s.data, s.len, &e);
        assert_int_equal(v != NULL, depth <= Q35_JSON_DEPTH);
        json_decref(v);
    }
    q35_str_fini(&s);
}

/* ---- keys and origins ---- */

static struct q35_config *config(const char *lines)
{
    struct q35_config *c;
    struct q35_str s = {0};
    struct q35_error err;
    q35_str_addf(&s, "[q35d]\n%s\n[model]\npath = m\n[backend b]\npath = b.so\n", lines);
    assert_int_equal(q35_config_parse(&c, s.data, "test.ini", &err), Q35_OK);
    q35_str_fini(&s);
    return c;
}

static void origins_are_compared_whole(void **state)
{
    struct q35_config *c = config("cors_origins = https://a.example http://b.example:8080");
    struct q35_settings s;
    struct q35_error err;
    (void)state;
    assert_int_equal(q35_settings_load(&s, c, &err), Q35_OK);
    assert_true(q35_settings_origin_allowed(&s, "https://a.example"));
    assert_true(q35_settings_origin_allowed(&s, "HTTP://b.example:8080"));
    assert_false(q35_settings_origin_allowed(&s, "https://a.example.org"));
    assert_false(q35_settings_origin_allowed(&s, "http://b.example"));
    assert_false(q35_settings_origin_allowed(&s, ""));
    assert_true(q35_settings_authorized(&s, NULL)); /* no keys, no need */
    q35_settings_fini(&s);
    q35_config_free(c);
    c = config("cors_origins = https://a.example/path");
    assert_int_equal(q35_settings_load(&s, c, &err), Q35_E_CONFIG);
    assert_non_null(strstr(err.message, "https://a.example/path"));
    q35_config_free(c);
}

static void restarts_are_named(void **state)
{
    struct q35_config *a = config("port = 1"), *b = config("port = 2\nhost = 127.0.0.2");
    struct q35_str names = {0};
    (void)state;
    q35_settings_need_restart(a, a, &names);
    assert_int_equal(names.len, 0);
    q35_settings_need_restart(a, b, &names);
    assert_string_equal(names.data, "[q35d] host, [q35d] port");
    q35_str_fini(&names);
    q35_config_free(a);
    q35_config_free(b);
}

/* Each line of a section changed alone is either named or one that a reload applies. */
static void no_key_is_forgotten(void **state)
{
    static const char base[] = "[q35d]\n[model]\n[schedule]\n[backend one]\npath = one.so\n";
    static const struct {
        const char *section, *line, *name; /* name NULL: applies at once */
    } changes[] = {
        {"[q35d]", "max_queue = 3", "[q35d] max_queue"},
        {"[q35d]", "drain_seconds = 3", NULL},
        {"[q35d]", "tls_cert = x", NULL},
        {"[q35d]", "max_body_kib = 3", NULL},
        {"[model]", "path = x", "[model] path"},
        {"[model]", "context = 77", "[model] context"},
        {"[schedule]", "micro_batch = 3", "[schedule] micro_batch"},
        {"[schedule]", "probe_seconds = 3", "[schedule] probe_seconds"},
        {"[schedule]", "kv_type = int8", "[schedule] kv_type"},
        {"[schedule]", "layers.one = 0-3", "[schedule] layers"},
        {"[backend one]", "required = true", "[backend] one"},
        {"[backend one]", "isolate = process", "[backend] one"},
        {"[backend one]", "hang_seconds = 3", "[backend] one"},
        {"[backend one]", "require_certificate = true", "[backend] one"},
        {"[backend one]", "its_own = 3", "[backend] one"},
        {"", "[backend two]\npath = two.so", "[backend] two"},
    };
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *a, *b;
    size_t i;
    (void)state;
    assert_int_equal(q35_config_parse(&a, base, "a.ini", &err), Q35_OK);
    for (i = 0; i < Q35_COUNT(changes); i++) {
        struct q35_str names = {0}, text = {0};
        const char *at = strstr(base, changes[i].section) + strlen(changes[i].section);
        if (!*changes[i].section)
            at = base + strlen(base);
        q35_str_addf(&text, "%.*s\n%s\n%s", (int)(at - base), base, changes[i].line, at);
        if (q35_config_parse(&b, text.data, "b.ini", &err) != Q35_OK)
            fail_msg("%s: %s", changes[i].line, err.message);
        q35_settings_need_restart(a, b, &names);
        assert_string_equal(names.data ? names.data : "", changes[i].name ? changes[i].name : "");
        q35_str_clear(&names);
        q35_settings_need_restart(b, a, &names);
        assert_string_equal(names.data ? names.data : "", changes[i].name ? changes[i].name : "");
        q35_str_fini(&names);
        q35_str_fini(&text);
        q35_config_free(b);
    }
    q35_config_free(a);
}

static void loopback_is_known(void **state)
{
    (void)state;
    assert_true(q35_host_is_loopback("127.0.0.1"));
    assert_true(q35_host_is_loopback("127.9.9.9"));
    assert_true(q35_host_is_loopback("::1"));
    assert_true(q35_host_is_loopback("localhost"));
    assert_false(q35_host_is_loopback("0.0.0.0"));
    assert_false(q35_host_is_loopback("::"));
    assert_false(q35_host_is_loopback("128.0.0.1"));
}

/* ---- metrics ---- */

static void histograms_count(void **state)
{
    static struct q35_metrics m; /* large */
    struct q35_metrics_view v = {.model = "a\"b\\c\nd"};
    struct q35_str out = {0};
    (void)state;
    q35_metrics_init(&m);
    assert_true(q35_histogram_mean(&m.request, 3.0) == 3.0);
    q35_histogram_add(&m.request, 50000000);       /* the first bound itself */
    q35_histogram_add(&m.request, 50000001);       /* just above */
    q35_histogram_add(&m.request, 2000000000000u); /* above all */
    q35_metrics_text(&m, &v, &out);
    assert_non_null(strstr(out.data, "q35_request_seconds_bucket{le=\"0.05\"} 1\n"));
    assert_non_null(strstr(out.data, "q35_request_seconds_bucket{le=\"0.1\"} 2\n"));
    assert_non_null(strstr(out.data, "q35_request_seconds_bucket{le=\"960\"} 2\n"));
    assert_non_null(strstr(out.data, "q35_request_seconds_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(out.data, "q35_request_seconds_count 3\n"));
    assert_non_null(strstr(out.data, "model=\"a\\\"b\\\\c\\nd\""));
    q35_str_fini(&out);
}

/* ---- events between threads ---- */

struct counter {
    struct q35_events q;
    int wakes;
};

static void count_wake(void *user)
{
    ((struct counter *)user)->wakes++;
}

#define PUSHERS 4
#define PUSHES 5000

static void *push_many(void *user)
{
    struct counter *c = user;
    struct q35_error err = {.status = Q35_E_IO, .message = "why"};
    int i;
    for (i = 0; i < PUSHES; i++) {
        struct q35_logprob top[2] = {{i, -1}, {i + 1, -2}};
        struct q35_event ev = {.token = i, .top = top, .n_top = 2, .time_ns = 1};
        if (i % 100 == 99) {
            ev.finish = Q35_FINISH_ERROR;
            ev.error = &err;
        }
        q35_events_push(&c->q, user, &ev);
    }
    return NULL;
}

static void events_arrive_whole_and_in_order(void **state)
{
    static struct counter c[1];
    pthread_t threads[PUSHERS];
    size_t got = 0, sum = 0, i, n;
    struct q35_error err;
    (void)state;
    assert_int_equal(q35_events_init(&c->q, count_wake, c, &err), Q35_OK);
    for (i = 0; i < PUSHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, c), 0);
    while (got < (size_t)PUSHERS * PUSHES) {
        const struct q35_queued *list = q35_events_take(&c->q, &n);
        for (i = 0; i < n; i++) {
            assert_int_equal(list[i].top[1].id, list[i].token + 1);
            assert_int_equal(list[i].error != NULL, list[i].token % 100 == 99);
            if (list[i].error)
                assert_string_equal(list[i].error, "why");
            sum += (size_t)list[i].token;
        }
        got += n;
    }
    for (i = 0; i < PUSHERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(sum, (size_t)PUSHERS * PUSHES * (PUSHES - 1) / 2);
    assert_true(c->wakes > 0);
    q35_events_close(&c->q);
    push_many(c); /* dropped */
    q35_events_take(&c->q, &n);
    assert_int_equal(n, 0);
    q35_events_fini(&c->q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_strings_are_found_in_pieces),
        cmocka_unit_test(no_more_is_held_back_than_needed),
        cmocka_unit_test(strings_of_any_bytes_become_json),
        cmocka_unit_test(good_strings_survive),
        cmocka_unit_test(utf8_is_judged),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(origins_are_compared_whole),
        cmocka_unit_test(restarts_are_named),
        cmocka_unit_test(no_key_is_forgotten),
        cmocka_unit_test(loopback_is_known),
        cmocka_unit_test(histograms_count),
        cmocka_unit_test(events_arrive_whole_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
