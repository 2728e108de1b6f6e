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
 *   assumed: not published, as far as we know; chosen here, README.md says why
 *
 * X(field, default, smallest, largest, source, help) */
#define TSP_CONSTANTS(X)                                                                           \
    X(clock_mhz, 900, 1, 10000, "[1]", "clock in MHz")                                             \
    X(lanes, 320, 16, 1024, "[1]", "lanes of a vector: 20 superlanes of 16")                       \
    X(streams, 32, 8, 256, "[1]", "byte streams in each of the two directions, per hemisphere")    \
    X(mem_slices, 88, 8, 1024, "[1]", "memory slices, half of them in each hemisphere")            \
    X(slice_words, 8192, 64, 1048576, "[1]", "vectors of one byte per lane that a slice holds")    \
    X(planes, 4, 2, 16, "[1]", "int8 matrix planes, half of them in each hemisphere")              \
    X(plane_rows, 320, 16, 1024, "[1]", "inputs of a plane: its dot products are so long")         \
    X(plane_cols, 320, 16, 1024, "[1]", "outputs of a plane")                                      \
    X(plane_streams, 16, 1, 64, "[1]", "streams over which a plane takes weights, per cycle")      \
    X(vxm_alus, 16, 1, 256, "[1]", "vector ALUs in each lane")                                     \
    X(links, 16, 1, 64, "[1]", "links of a chip to others; 7 of 8 chips of a node: [2]")           \
    X(node_chips, 8, 2, 64, "[2]", "chips of a node, each linked to each")                         \
    X(link_vector_cycles, 24, 1, 10000, "[1]",                                                     \
      "cycles of one vector on a link: 320 bytes at 12.5 GB/s a direction (4 x 30 Gb/s, coded)")   \
    X(hop_cycles, 650, 0, 100000, "[2]", "latency of one hop: 722 ns at 900 MHz")                  \
    X(mem_latency, 5, 0, 1000, "assumed", "cycles from an address to the data on a stream")        \
    X(transit, 12, 0, 1000, "assumed",                                                             \
      "cycles a stream travels at most between units of a hemisphere")                             \
    X(mxm_latency, 20, 0, 1000, "assumed", "cycles from an activation to its int32 result")        \
    X(vxm_latency, 4, 0, 1000, "assumed", "cycles of one ALU operation")                           \
    X(sxm_latency, 4, 0, 1000, "assumed", "cycles of one shift or permutation")                    \
    X(gather_lanes, 320, 1, 1024, "assumed",                                                       \
      "lanes that a gather gives an address of their own each cycle; 20 is one a superlane")

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
