/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_TSP_H
#define GROQ_TSP_H

/* The simulated chip: every constant, its default, and where it comes from. Each is an integer key
 * of the [backend] section. Sources:
 *
 *   [1] D. Abts et al., "Think Fast: A Tensor Streaming Processor (TSP) for Accelerating Deep
 *       Learning Workloads", ISCA 2020, doi 10.1109/ISCA45697.2020.00023
 *   [2] D. Abts et al., "A Software-defined Tensor Streaming Multiprocessor for Large-scale Machine
 *       Learning", ISCA 2022, doi 10.1145/3470496.3527405
 *   [3] L. Gwennap, "Groq Gets Connected", Linley Newsletter, 10 November 2020
 *   assumed: not published, as far as we know; README.md says why so
 *
 * X(field, default, smallest, largest, source, help) */
#define TSP_CONSTANTS(X)                                                                           \
    X(clock_mhz, 900, 1, 10000, "[1]", "clock in MHz")                                             \
    X(lanes, 320, 16, 1024, "[1]", "lanes of a vector: 20 superlanes of 16")                       \
    X(streams, 32, 32, 64, "[1]", "byte streams in each of the two directions")                    \
    X(mem_slices, 88, 88, 256, "[1]", "memory slices, half of them in each hemisphere")            \
    X(slice_words, 8192, 2048, 1048576, "[1]", "vectors of one byte a lane that a slice holds")    \
    X(planes, 4, 4, 4, "[1]", "int8 matrix planes, two in each hemisphere")                        \
    X(plane_size, 320, 16, 1024, "[1]", "inputs and outputs of a plane")                           \
    X(plane_streams, 16, 8, 16, "[1]", "streams over which a plane takes weights")                 \
    X(vxm_alus, 16, 16, 64, "[1]", "vector ALUs in each lane")                                     \
    X(links, 16, 1, 64, "[1]", "links of a chip")                                                  \
    X(node_chips, 8, 1, 16, "[2]", "chips of a node, each linked to each; one layer stays in one") \
    X(link_vector_cycles, 24, 1, 10000, "[3]",                                                     \
      "cycles of a vector on a link: 320 bytes over 4 lanes of 28 to 30 Gb/s, less coding")        \
    X(hop_cycles, 650, 1, 100000, "[2]", "latency of a hop: 722 ns")                               \
    X(slices_per_hop, 4, 1, 64, "assumed", "memory slices that a stream passes in a cycle")        \
    X(mem_latency, 5, 1, 1000, "assumed", "cycles from a read or gather to its stream")            \
    X(mxm_latency, 20, 1, 1000, "assumed", "cycles from an activation to its sum")                 \
    X(vxm_latency, 4, 1, 1000, "assumed", "cycles of an ALU operation")                            \
    X(sxm_latency, 4, 1, 1000, "assumed", "cycles of a permutation of lanes")                      \
    X(weight_buffers, 2, 2, 2, "assumed", "buffers of a plane for weights to come")                \
    X(acc_vectors, 256, 16, 65536, "assumed", "vectors of int32 sums that a plane keeps")          \
    X(gather_lanes, 320, 1, 1024, "assumed",                                                       \
      "lanes that a gather gives an address of their own in a cycle; 20 is one a superlane")

#include <stdint.h>

struct tsp {
#define X(field, value, low, high, source, help) uint32_t field;
    TSP_CONSTANTS(X)
#undef X
};

/* Bytes of a chip's SRAM. */
static inline uint64_t tsp_sram_bytes(const struct tsp *t)
{
    return (uint64_t)t->mem_slices * t->slice_words * t->lanes;
}

#endif
