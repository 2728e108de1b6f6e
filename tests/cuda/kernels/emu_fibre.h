/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TEST_CUDA_EMU_FIBRE_H
#define Q35_TEST_CUDA_EMU_FIBRE_H

/* The emulator's scheduler, as kernels see it. */

#include <stddef.h>
#include <stdint.h>

struct emu_dim {
    uint32_t x, y, z;
};

struct emu_fibre {
    struct emu_dim thread;
};

struct emu_grid {
    struct emu_dim block, block_dim, grid_dim;
    uint8_t *shared;
    uint32_t slack; /* shared memory begins 1 KiB after a multiple of 16 KiB, else at one */
};

extern struct emu_fibre *emu_self; /* the running thread */
extern struct emu_grid emu_grid;

/* Ends the launch with this message. Does not return. */
[[noreturn]] void emu_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The message of emu_error, from outside a block. */
void emu_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

void emu_barrier(const char *file, int line);
void emu_warp_sync(const char *file, int line);

/* Deposits up to 3 words and waits for all lanes of mask to do so at the same place; then the words
 * of each can be read until emu_warp_done. */
void emu_warp_exchange(const uint64_t *words, uint32_t n, uint32_t mask, const char *file,
                       int line);
const uint64_t *emu_warp_slots(uint32_t lane);
void emu_warp_done(uint32_t mask, const char *file, int line);

/* ---- races on shared memory (emu_race.cpp), where kernels are compiled with EMU_RACES -----------
 */

/* Static shared memory lies in a section of its own, so that accesses to it can be told. */
#define EMU_SHARED_SECTION __attribute__((section("q35_emu_shared")))
#ifdef EMU_RACES
#define EMU_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
#else
#define EMU_UNCHECKED
#endif

/* Shared memory of the block that begins: dynamic, and static if `fixed` is not NULL. */
void emu_race_begin(const void *dynamic, size_t bytes, const void *fixed, size_t fixed_bytes);
void emu_race_barrier(void);            /* all threads have arrived */
void emu_race_warp_sync(uint32_t warp); /* its lanes have met at a __syncwarp */
void emu_race_atomic(const void *p, size_t bytes);
void emu_race_read(const void *p, size_t bytes); /* by the running thread */
void emu_race_write(const void *p, size_t bytes);

void emu_copy_later(void *to, const void *from);
void emu_copy_commit(void);
void emu_copy_wait(uint32_t groups);

/* Runs body once for every thread of one block; emu_die leaves it by way of the scheduler. Returns
 * 0, or -1 with the message in emu_error(). backwards: threads take turns in descending order. */
int emu_run_block(void (*body)(const void *), const void *args, uint32_t threads, int backwards);

#endif
