/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/unit/test.h"

#include <math.h>

#include "tests/unit/plan/fakes.h"

#define MB 1000000u

static struct world w;

/* Every assignment of layers to devices, by definition: the decoder layers of a device are one
 * range; a device's stages fit together. Returns the least cost, INFINITY if there is no plan. */
static double brute_force(bool throughput, double *latency)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct planner p = {.in = w.in, .err = &err};
    uint32_t owner[16], n = w.in.n;
    uint64_t total = 1;
    double best = INFINITY;
    *latency = INFINITY;
    assert_int_equal(plan_candidates(&p), Q35_OK);
    assert_int_equal(plan_costs(&p), Q35_OK);
    for (uint32_t i = 0; i < n; i++)
        total *= p.count;
    for (uint64_t code = 0; code < total; code++) {
        struct span_need used[MAX_FAKES] = {{0, 0}};
        bool seen[MAX_FAKES] = {false}, ok = true;
        double seconds, bottleneck, cost;
        uint64_t rest = code;
        for (uint32_t l = 0; l < n; l++, rest /= p.count)
            owner[l] = (uint32_t)(rest % p.count);
        for (uint32_t l = 1; l + 1 < n; l++) {
            if (l > 1 && owner[l] != owner[l - 1] && seen[owner[l]])
                ok = false;
            seen[owner[l]] = true;
        }
        for (uint32_t a = 0, b; a < n && ok; a = b) {
            struct span_need need;
            for (b = a + 1; b < n && owner[b] == owner[a]; b++)
                ;
            need = plan_need(&p, owner[a], a, b);
            ok = plan_fits(&p, owner[a], a, b, used[owner[a]]);
            used[owner[a]].own += need.own;
            used[owner[a]].host += need.host;
        }
        if (!ok)
            continue;
        plan_evaluate(&p, owner, &seconds, &bottleneck);
        cost = throughput ? bottleneck : seconds;
        if (cost < best * (1 - 1e-12) || (cost < best * (1 + 1e-12) && seconds < *latency))
            *latency = seconds;
        best = fmin(best, cost);
    }
    plan_candidates_free(&p);
    q35_str_fini(&p.log);
    return best;
}

/* Random worlds: the plan costs what the best of all plans costs, and keeps within memory. */
static void optimal(void **state)
{
    static char names[2][16] = {"latency", "throughput"};
    struct test_rng rng = {20260};
    int feasible = 0, refused = 0, split = 0, apart = 0;
    (void)state;
    for (int round = 0; round < 400; round++) {
        uint64_t bytes[7];
        uint32_t n = 4 + (uint32_t)(test_rng_u64(&rng) % 4);
        uint32_t devices = 1 + (uint32_t)(test_rng_u64(&rng) % (n > 6 ? 3 : 4));
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_plan *plan;
        double best, latency;
        enum q35_status st;
        bool throughput = round & 1;
        for (uint32_t l = 0; l < n; l++)
            bytes[l] = (1 + test_rng_u64(&rng) % 9) * MB;
        world_init(&w, n, bytes);
        for (uint32_t i = 0; i < devices; i++) {
            bool like = i && test_rng_u64(&rng) % 3 == 0;
            uint64_t memory = (8 + test_rng_u64(&rng) % 40) * MB;
            uint64_t bandwidth = (1 + test_rng_u64(&rng) % 20) * 1000 * MB;
            if (like) {
                memory = w.devices[i - 1].info.memory_total;
                bandwidth = w.devices[i - 1].info.memory_bandwidth;
                fakes[i] = fakes[i - 1];
            } else {
                fakes[i].kv = test_rng_u64(&rng) % 3 * MB;
                fakes[i].scratch = test_rng_u64(&rng) % 4 * MB;
                fakes[i].in_place = test_rng_u64(&rng) % 4 == 0;
                fakes[i].refuse = test_rng_u64(&rng) & test_rng_u64(&rng) & test_rng_u64(&rng);
            }
            world_device(&w, like, memory, bandwidth);
        }
        w.config.objective = names[throughput];
        best = brute_force(throughput, &latency);
        st = plan_make(&plan, &w.in, &err);
        if (best == INFINITY) {
            refused++;
            if (st != Q35_E_CAPACITY && st != Q35_E_UNSUPPORTED)
                fail_msg("round %d: status %d, %s", round, st, err.message);
            continue;
        }
        feasible++;
        if (st != Q35_OK)
            fail_msg("round %d: there is a plan, yet: %s", round, err.message);
        if (devices == 1)
            assert_true(plan->seconds == 0);
        else if (fabs(plan->seconds - latency) > 1e-9 * latency ||
                 fabs((throughput ? plan->bottleneck : plan->seconds) - best) > 1e-9 * best)
            fail_msg("round %d: %.9g s, busiest %.9g s; the best has %.9g and %.9g\n%s", round,
                     plan->seconds, plan->bottleneck, latency, best, plan->explanation);
        split += plan->stage_count > 1;
        for (uint32_t i = 1; i < plan->stage_count; i++)
            apart += i > 1 && plan->stages[i].device == plan->stages[0].device;
        q35_plan_destroy(plan);
    }
    assert_true(feasible > 150 && refused > 50 && split > 60 && apart > 5);
}

/* 80 equal layers on eight equal devices: as many states as counts, not as sets. */
static void many_equal_devices(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint64_t bytes[82];
    struct q35_plan *plan;
    static char throughput[] = "throughput";
    (void)state;
    for (int l = 0; l < 82; l++)
        bytes[l] = l == 0 || l == 81 ? 0 : 10 * MB;
    world_init(&w, 82, bytes);
    for (int i = 0; i < 8; i++)
        world_device(&w, i > 0, 200 * MB, 1000u * MB);
    w.config.objective = throughput;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_int_equal(plan->stage_count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(plan->stages[i].count, i == 0 || i == 7 ? 11 : 10);
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(plan->stages[i].device, plan->stages[j].device);
    }
    assert_true(fabs(plan->bottleneck - 0.1) < 1e-4);
    q35_plan_destroy(plan);
    w.devices[0].info.max_sequences = 1; /* below the configuration's 2 */
    for (int i = 1; i < 8; i++)
        w.devices[i].info.memory_free = w.devices[i].info.memory_total = 110 * MB;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_E_CAPACITY);
}

static void refusal_has_the_numbers(void **state)
{
    uint64_t bytes[5] = {MB, 1024u << 20, 1024u << 20, 1024u << 20, MB};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_plan *plan = (void *)&err;
    (void)state;
    world_init(&w, 5, bytes);
    world_device(&w, false, 1200u << 20, 0);
    world_device(&w, false, 1300u << 20, 0);
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_E_CAPACITY);
    assert_null(plan);
    assert_non_null(strstr(err.message, "need 3.002 GiB; a:0"));
    assert_non_null(strstr(err.message, "64 tokens of KV"));
    assert_non_null(strstr(err.message, "a:0 has 1.172 GiB free"));
    assert_non_null(strstr(err.message, "b:0 has 1.270 GiB free"));
    assert_non_null(strstr(err.message, "room for 1 decoder layers"));
    for (int i = 0; i < 2; i++)
        assert_int_equal(fakes[i].opens, fakes[i].closes);
    fakes[0].refuse = fakes[1].refuse = 1 << 2;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_E_UNSUPPORTED);
    assert_string_equal(err.message, "no device takes layer 2 (a:0: layer 2: not this one)");
}

static void given_ranges(void **state)
{
    uint64_t bytes[6] = {MB, MB, MB, MB, MB, MB};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_plan *plan;
    bool lost[2] = {false, true};
    char *text;
    (void)state;
    world_init(&w, 6, bytes);
    world_device(&w, false, 100 * MB, 1000);
    world_device(&w, false, 100 * MB, 1000000);
    world_range(&w, "b", 0, 1, 3);
    world_range(&w, "a", 0, 0, 0);
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_true(plan->given);
    assert_int_equal(plan->stage_count, 2);
    assert_int_equal(plan->stages[0].device, 0);
    assert_int_equal(plan->stages[0].count, 2);
    assert_int_equal(plan->stages[1].device, 1);
    assert_int_equal(plan->stages[1].first, 2);
    assert_int_equal(plan->stages[1].count, 4);
    assert_int_equal(plan->stages[1].need.weight_bytes, 4 * MB);
    text = q35_plan_text(plan, &w.registry, true);
    assert_non_null(strstr(text, "a:0 (fake a): embedding, layers 0-0;"));
    assert_non_null(strstr(text, "b:0 (fake b): layers 1-3, head;"));
    assert_non_null(strstr(text, "ranges given by [schedule]"));
    free(text);
    text = q35_plan_json(plan, &w.registry);
    assert_non_null(strstr(text, "\"weight_bytes\": 4000000"));
    free(text);
    q35_plan_destroy(plan);
    /* its device lost: the rest takes over */
    assert_int_equal(fakes[1].opens - fakes[1].closes, 1);
    q35_device_close(&w.devices[1]);
    w.in.lost = lost;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_false(plan->given);
    assert_int_equal(plan->stage_count, 1);
    assert_int_equal(plan->stages[0].device, 0);
    assert_non_null(strstr(plan->explanation, "b:0 (fake b) is left out: it is lost"));
    assert_non_null(strstr(plan->explanation, "its ranges are not used"));
    q35_plan_destroy(plan);
    w.in.lost = NULL;
    /* embedding not taken by its neighbour */
    fakes[0].refuse = 1;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_int_equal(plan->stage_count, 3);
    assert_int_equal(plan->stages[0].device, 1);
    q35_plan_destroy(plan);
}

/* KV in int8 goes where it is offered, and takes what it takes there. */
static void kv_in_int8(void **state)
{
    static char int8[] = "int8";
    uint64_t bytes[6] = {MB, MB, MB, MB, MB, MB};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_plan *plan;
    char *text;
    (void)state;
    world_init(&w, 6, bytes);
    world_device(&w, false, 100 * MB, 2000 * MB); /* the faster one */
    world_device(&w, false, 30 * MB, 1000 * MB);
    fakes[0].kv = fakes[1].kv = 10 * MB;
    w.devices[1].info.features = Q35_FEATURE_KV_INT8;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_int_equal(plan->stages[0].device, 0);
    assert_int_equal(plan->kv_type, Q35_KV_F16);
    q35_plan_destroy(plan);
    w.config.kv_type = int8;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    for (uint32_t i = 0; i < plan->stage_count; i++) /* the ends may be anywhere */
        if (plan->stages[i].first + plan->stages[i].count > 1 && plan->stages[i].first < 5) {
            assert_int_equal(plan->stages[i].device, 1);
            assert_int_equal(plan->stages[i].need.kv_bytes, 4 * 5 * MB);
        }
    assert_int_equal(plan->kv_type, Q35_KV_INT8);
    text = q35_plan_text(plan, &w.registry, true);
    assert_non_null(strstr(text, "64 tokens of KV in int8"));
    assert_non_null(strstr(text, "does not take layer 1: fake a offers no KV cache in int8"));
    free(text);
    q35_plan_destroy(plan);
    world_range(&w, "a", 0, 0, 3);
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_E_UNSUPPORTED);
    assert_string_equal(err.message, "t.ini:10: a:0 does not take layer 1: fake a offers no KV "
                                     "cache in int8 (kv_type = int8)");
    w.config.range_count = 0;
    w.devices[1].info.features = 0;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "fake a offers no KV cache in int8"));
}

/* Each refused, with this message. */
static void bad_given_ranges(void **state)
{
    static const struct {
        const char *name;
        uint32_t device, first, last;
        enum q35_status status;
        const char *message;
    } bad[] = {
        {"a", 0, 0, 4, Q35_E_CONFIG, "t.ini:10: layers 0-4: the model has 4 decoder layers, 0-3"},
        {"a", 0, 0, 2, Q35_E_CONFIG, "t.ini:10: no range of [schedule] has decoder layer 3 of 0-3"},
        {"a", 0, 1, 3, Q35_E_CONFIG, "t.ini:10: no range of [schedule] has decoder layer 0 of 0-3"},
        {"a", 1, 0, 3, Q35_E_CONFIG, "t.ini:10: backend a has 1 device, there is no number 1"},
        {"b", 0, 0, 3, Q35_E_CAPACITY,
         "t.ini:10: layers 0 to 5 of the graph need 0.006 GiB on b:0"},
        {"c", 0, 0, 3, Q35_E_UNSUPPORTED, "t.ini:10: c:0 does not take layer 3: not this one"},
        {"d", 0, 0, 3, Q35_E_CONFIG, "t.ini:10: device d:0 cannot be used: d:0: it is broken"},
        {"e", 0, 0, 3, Q35_E_CONFIG, "t.ini:10: backend e is left out: no file"},
    };
    uint64_t bytes[6] = {MB, MB, MB, MB, MB, MB};
    (void)state;
    for (size_t i = 0; i < Q35_COUNT(bad); i++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_plan *plan = (void *)&err;
        world_init(&w, 6, bytes);
        for (int d = 0; d < 5; d++)
            world_device(&w, false, d == 1 ? 3 * MB : 100 * MB, 1000);
        w.registry.device_count = 4;
        w.plugins[4].status = Q35_E_NOT_FOUND;
        strcpy(w.plugins[4].reason, "no file");
        fakes[2].refuse = 1 << 3;
        fakes[3].broken = true;
        world_range(&w, bad[i].name, bad[i].device, bad[i].first, bad[i].last);
        if (plan_make(&plan, &w.in, &err) != bad[i].status || plan ||
            strncmp(err.message, bad[i].message, strlen(bad[i].message)) != 0)
            fail_msg("case %zu: %d '%s'", i, err.status, err.message);
    }
}

/* Two plugins whose devices are one memory: what fits on each alone need not fit twice. */
static void shared_memory(void **state)
{
    uint64_t bytes[6] = {0, 4 * MB, 4 * MB, 4 * MB, 4 * MB, 0};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_plan *plan;
    static char throughput[] = "throughput";
    (void)state;
    world_init(&w, 6, bytes);
    world_device(&w, false, 18 * MB, 1000 * MB);
    world_device(&w, false, 18 * MB, 1100 * MB);
    fakes[0].scratch = fakes[1].scratch = 2 * MB;
    w.config.objective = throughput;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_int_equal(plan->stage_count, 2);
    q35_plan_destroy(plan);
    strcpy(w.devices[1].info.id, w.devices[0].info.id);
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_int_equal(plan->stage_count, 1); /* 16 + 2 + 2 > 18 */
    assert_int_equal(plan->stages[0].device, 1);
    assert_non_null(strstr(plan->explanation, "b:0 alone is used of the devices that share"));
    q35_plan_destroy(plan);
}

static void opens_and_closes(void **state)
{
    uint64_t bytes[4] = {MB, MB, MB, MB};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_plan *plan;
    (void)state;
    world_init(&w, 4, bytes);
    world_device(&w, false, 100 * MB, 1000 * MB);
    world_device(&w, false, 100 * MB, 90000u * (uint64_t)MB);
    world_device(&w, false, 100 * MB, 90000u * (uint64_t)MB);
    fakes[2].broken = true;
    assert_int_equal(plan_make(&plan, &w.in, &err), Q35_OK);
    assert_int_equal(plan->stage_count, 1);
    assert_int_equal(plan->stages[0].device, 1);
    assert_int_equal(fakes[0].opens, 1);
    assert_int_equal(fakes[0].closes, 1);
    assert_int_equal(fakes[1].opens, 1);
    assert_int_equal(fakes[1].closes, 0);
    assert_null(w.devices[0].dev);
    assert_non_null(w.devices[1].dev);
    assert_non_null(strstr(plan->explanation, "c:0 (fake c) is left out: c:0: it is broken"));
    q35_plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimal),          cmocka_unit_test(many_equal_devices),
        cmocka_unit_test(given_ranges),     cmocka_unit_test(refusal_has_the_numbers),
        cmocka_unit_test(bad_given_ranges), cmocka_unit_test(kv_in_int8),
        cmocka_unit_test(shared_memory),    cmocka_unit_test(opens_and_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
