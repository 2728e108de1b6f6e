/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_PLACES_H
#define Q35_CPU_PLACES_H

/* Where the threads of a pool belong: which CPU and which NUMA node, as hwloc sees the machine.
 * Without hwloc at build time all CPUs are cores of one node.
 *
 * What is split by node: thread i of n goes first through the i-th part of a loop, and the threads
 * of a node have adjacent numbers. A matrix's rows and the bytes that are hashed while weights are
 * uploaded are cut alike, so each node's threads read the same rows for every token, and take from
 * other nodes only when their own node has nothing left. What the first touch decides then falls
 * into place: pages of a file that was not in memory are read in by the node that will use them,
 * and buffers of a thread are on its node. What is not: weights are the page cache's pages and are
 * never copied, so a file that is already in memory stays where it is, and KV caches lie where
 * their first token was computed. */

#include <stdbool.h>
#include <stdint.h>

#define PLACES_NODES 16u /* nodes that are told apart; the rest counts as the last of them */

struct places {
    uint32_t threads, nodes;
    uint32_t first[PLACES_NODES + 1]; /* first thread of each node; first[nodes] is threads */
    int *cpu;                         /* [threads], of each thread; -1 past the CPUs there are */
};

/* Spreads threads over the CPUs that this process may use (affinity mask and cgroup), over the
 * nodes evenly, and one on each core before any core has two. False if out of memory. Threads: any.
 */
bool places_init(struct places *p, uint32_t threads);
void places_fini(struct places *p); /* a zeroed one is fine */

/* The same over a machine that hwloc makes up ("node:2 core:4 pu:2"), of whose CPUs those with a
 * set bit in `allowed` may be used (CPU i: bit i). Always false without hwloc. */
bool places_init_synthetic(struct places *p, uint32_t threads, const char *machine,
                           uint64_t allowed);

/* The node of a thread. */
uint32_t places_node(const struct places *p, uint32_t thread);

#endif
