/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "places.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#if defined(Q35_HWLOC)
#include <hwloc.h>
#include <unistd.h>
#endif

/* A CPU that may be used. */
struct place {
    int cpu;
    uint32_t node;
    uint32_t rank; /* among the CPUs of its core */
    uint32_t turn; /* among those of its node and rank */
};

/* All of them; count = 0: not known. */
struct machine {
    struct place *places;
    uint32_t count, nodes;
};

static int compare(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

/* Cores before their second CPUs, nodes in turns. */
static int by_worth(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int c = compare(x->rank, y->rank);
    if (!c)
        c = compare(x->turn, y->turn);
    return c ? c : compare(x->node, y->node);
}

static int by_node(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int c = compare(x->node, y->node);
    return c ? c : by_worth(a, b);
}

/* Nodes that have threads are numbered anew, from 0 on. */
static void assign(struct places *p, struct machine *m)
{
    uint32_t used = m->count < p->threads ? m->count : p->threads, i;
    qsort(m->places, m->count, sizeof *m->places, by_worth);
    qsort(m->places, used, sizeof *m->places, by_node);
    for (i = 0; i < used; i++) {
        if ((i == 0 || m->places[i].node != m->places[i - 1].node) && p->nodes < PLACES_NODES)
            p->first[p->nodes++] = i;
        p->cpu[i] = m->places[i].cpu;
    }
    for (; i < p->threads; i++)
        p->cpu[i] = -1;
    if (!p->nodes)
        p->nodes = 1;
    p->first[p->nodes] = p->threads;
}

static bool machine_alloc(struct machine *m, uint32_t most)
{
    *m = (struct machine){.places = calloc(most ? most : 1, sizeof *m->places)};
    return m->places != NULL;
}

/* Every CPU a core of its own, all on one node. */
static bool plain_machine(struct machine *m, const cpu_set_t *allowed)
{
    int c;
    if (!machine_alloc(m, CPU_SETSIZE))
        return false;
    for (c = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET(c, allowed)) {
            m->places[m->count] = (struct place){.cpu = c, .turn = m->count};
            m->count++;
        }
    return true;
}

#if defined(Q35_HWLOC)

static uint32_t node_of(hwloc_topology_t t, hwloc_obj_t pu)
{
    hwloc_obj_t node;
    int os = pu->nodeset ? hwloc_bitmap_first(pu->nodeset) : -1;
    node = os < 0 ? NULL : hwloc_get_numanode_obj_by_os_index(t, (unsigned)os);
    return node ? node->logical_index : 0;
}

/* CPUs before i that share its core, or its node and rank. */
static void number(struct machine *m, hwloc_obj_t *core, uint32_t i)
{
    struct place *p = &m->places[i];
    uint32_t j;
    for (j = 0; j < i; j++)
        p->rank += core[j] == core[i];
    for (j = 0; j < i; j++)
        p->turn += m->places[j].node == p->node && m->places[j].rank == p->rank;
}

/* The CPUs of a loaded topology, as far as `may` says yes. */
static bool read_machine(struct machine *m, hwloc_topology_t t, const cpu_set_t *allowed)
{
    int n = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU), i;
    hwloc_obj_t *core = calloc(n > 0 ? (size_t)n : 1, sizeof *core);
    if (!core || !machine_alloc(m, n > 0 ? (uint32_t)n : 0)) {
        free(core);
        return false;
    }
    for (i = 0; i < n; i++) {
        hwloc_obj_t pu = hwloc_get_obj_by_type(t, HWLOC_OBJ_PU, (unsigned)i);
        if (pu->os_index >= CPU_SETSIZE || !CPU_ISSET(pu->os_index, allowed))
            continue;
        core[m->count] = hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_CORE, pu);
        if (!core[m->count])
            core[m->count] = pu;
        m->places[m->count].cpu = (int)pu->os_index;
        m->places[m->count].node = node_of(t, pu);
        number(m, core, m->count);
        m->count++;
    }
    free(core);
    return true;
}

/* machine: NULL for this one. Its cgroup's limits are in the topology. */
static bool hwloc_machine(struct machine *m, const char *machine, const cpu_set_t *allowed)
{
    hwloc_topology_t t;
    bool ok;
    /* without sysfs hwloc knows no more than sched_getaffinity, and complains on stderr */
    if (!machine && access("/sys/devices/system/cpu", F_OK) != 0)
        return false;
    if (hwloc_topology_init(&t) != 0)
        return false;
    hwloc_topology_set_cache_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE);
#if HWLOC_API_VERSION >= 0x20100 /* it visits every CPU, and the kernel knows as much */
    hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
#endif
    ok = (!machine || hwloc_topology_set_synthetic(t, machine) == 0) &&
         hwloc_topology_load(t) == 0 && read_machine(m, t, allowed);
    hwloc_topology_destroy(t);
    return ok;
}

#else

static bool hwloc_machine(struct machine *m, const char *machine, const cpu_set_t *allowed)
{
    (void)m;
    (void)machine;
    (void)allowed;
    return false;
}

#endif

static bool places_from(struct places *p, uint32_t threads, struct machine *m)
{
    *p = (struct places){.threads = threads, .cpu = calloc(threads, sizeof *p->cpu)};
    if (p->cpu)
        assign(p, m);
    free(m->places);
    return p->cpu != NULL;
}

bool places_init(struct places *p, uint32_t threads)
{
    struct machine m = {0};
    cpu_set_t allowed;
    memset(p, 0, sizeof *p);
    CPU_ZERO(&allowed);
    (void)sched_getaffinity(0, sizeof allowed, &allowed);
    if (threads == 1 || !hwloc_machine(&m, NULL, &allowed) || !m.count) {
        free(m.places);
        if (!plain_machine(&m, &allowed))
            return false;
    }
    return places_from(p, threads, &m);
}

bool places_init_synthetic(struct places *p, uint32_t threads, const char *machine,
                           uint64_t allowed)
{
    struct machine m = {0};
    cpu_set_t set;
    size_t i;
    memset(p, 0, sizeof *p);
    CPU_ZERO(&set);
    for (i = 0; i < 64; i++)
        if (allowed >> i & 1)
            CPU_SET(i, &set);
    return hwloc_machine(&m, machine, &set) && places_from(p, threads, &m);
}

void places_fini(struct places *p)
{
    free(p->cpu);
    memset(p, 0, sizeof *p);
}

uint32_t places_node(const struct places *p, uint32_t thread)
{
    uint32_t node = 0;
    while (node + 1 < p->nodes && p->first[node + 1] <= thread)
        node++;
    return node;
}
