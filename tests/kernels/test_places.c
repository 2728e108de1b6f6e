/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Threads on machines that hwloc makes up: several nodes, cores with two CPUs, CPUs that may not be
 * used. */

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "places.h"

static unsigned failures;

/* CPUs of synthetic machines count up through nodes, cores, CPUs of a core. */
struct expected {
    const char *machine;
    uint64_t allowed;
    uint32_t threads, nodes;
    uint32_t first[4]; /* of each node, then the end */
    int cpu[10];
};

static const struct expected cases[] = {
    /* one node, no second CPUs */
    {"node:1 core:4 pu:1", ~0ull, 4, 1, {0, 4}, {0, 1, 2, 3}},
    {"node:1 core:4 pu:1", ~0ull, 2, 1, {0, 2}, {0, 1}},
    /* every core before any has two */
    {"node:1 core:2 pu:2", ~0ull, 2, 1, {0, 2}, {0, 2}},
    {"node:1 core:2 pu:2", ~0ull, 3, 1, {0, 3}, {0, 2, 1}},
    /* both nodes get the same number, adjacent */
    {"node:2 core:2 pu:2", ~0ull, 4, 2, {0, 2, 4}, {0, 2, 4, 6}},
    {"node:2 core:2 pu:2", ~0ull, 2, 2, {0, 1, 2}, {0, 4}},
    {"node:2 core:2 pu:2", ~0ull, 3, 2, {0, 2, 3}, {0, 2, 4}},
    {"node:2 core:2 pu:2", ~0ull, 8, 2, {0, 4, 8}, {0, 2, 1, 3, 4, 6, 5, 7}},
    /* one thread needs one node */
    {"node:2 core:2 pu:2", ~0ull, 1, 1, {0, 1}, {0}},
    /* CPUs that may not be used: no first CPU of core 0, nothing of the second node but one */
    {"node:2 core:2 pu:2", 0x8e, 4, 2, {0, 3, 4}, {1, 2, 3, 7}},
    {"node:2 core:2 pu:2", 0xf0, 2, 1, {0, 2}, {4, 6}},
    /* more threads than CPUs: the rest is not pinned */
    {"node:2 core:1 pu:1", ~0ull, 3, 2, {0, 1, 3}, {0, 1, -1}},
    /* packages that share a node, a node in each of two groups */
    {"pack:2 node:1 core:2 pu:1", ~0ull, 4, 2, {0, 2, 4}, {0, 1, 2, 3}},
};

static void check(const struct expected *e)
{
    struct places p;
    uint32_t i, node;
    if (!places_init_synthetic(&p, e->threads, e->machine, e->allowed)) {
        printf("FAIL: %s was refused\n", e->machine);
        failures++;
        return;
    }
    if (p.threads != e->threads || p.nodes != e->nodes) {
        printf("FAIL: %s: %u threads on %u nodes, not %u\n", e->machine, p.threads, p.nodes,
               e->nodes);
        failures++;
    }
    for (node = 0; node <= e->nodes; node++)
        if (p.first[node] != e->first[node]) {
            printf("FAIL: %s, %u threads: node %u begins with thread %u\n", e->machine, e->threads,
                   node, p.first[node]);
            failures++;
        }
    for (i = 0; i < e->threads; i++) {
        if (p.cpu[i] != e->cpu[i]) {
            printf("FAIL: %s, %u threads: thread %u on CPU %d, not %d\n", e->machine, e->threads, i,
                   p.cpu[i], e->cpu[i]);
            failures++;
        }
        for (node = 0; e->first[node + 1] <= i;)
            node++;
        if (places_node(&p, i) != node) {
            printf("FAIL: %s: thread %u on node %u\n", e->machine, i, places_node(&p, i));
            failures++;
        }
    }
    places_fini(&p);
}

/* This machine, whatever it is: CPUs that may be used, each once. */
static void check_real(void)
{
    struct places p;
    cpu_set_t set, seen;
    uint32_t i, n;
    CPU_ZERO(&set);
    CPU_ZERO(&seen);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return;
    n = (uint32_t)CPU_COUNT(&set);
    if (!places_init(&p, n)) {
        printf("FAIL: this machine\n");
        failures++;
        return;
    }
    for (i = 0; i < n && p.cpu[i] >= 0; i++) {
        if (!CPU_ISSET((size_t)p.cpu[i], &set) || CPU_ISSET((size_t)p.cpu[i], &seen)) {
            printf("FAIL: thread %u on CPU %d\n", i, p.cpu[i]);
            failures++;
        }
        CPU_SET((size_t)p.cpu[i], &seen);
    }
    if (p.nodes < 1 || p.first[0] != 0 || p.first[p.nodes] != n) {
        printf("FAIL: %u nodes, threads %u to %u\n", p.nodes, p.first[0], p.first[p.nodes]);
        failures++;
    }
    places_fini(&p);
}

int main(void)
{
    struct places p;
    size_t i;
    check_real();
    if (!places_init_synthetic(&p, 1, "node:1 core:1 pu:1", 1)) {
        puts(failures ? "FAILED" : "built without hwloc: made-up machines are not tested");
        return failures ? 1 : 77;
    }
    places_fini(&p);
    for (i = 0; i < sizeof cases / sizeof *cases; i++)
        check(&cases[i]);
    if (places_init_synthetic(&p, 1, "no machine", 1)) {
        puts("FAIL: nonsense was accepted");
        failures++;
    }
    puts(failures ? "FAILED" : "ok");
    return failures != 0;
}
