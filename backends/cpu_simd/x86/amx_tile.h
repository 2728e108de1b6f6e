/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_AMX_TILE_H
#define Q35_CPU_AMX_TILE_H

/* The four AMX instructions that the kernel needs, on tiles of 16 rows x 64 bytes. With
 * Q35_AMX_EMULATED they are plain C that does what the manual says, so that the kernel around them
 * is tested on CPUs without AMX. */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if defined(Q35_AMX_EMULATED)

static _Thread_local uint8_t amx_tile[8][16][64];

#define tiles_begin() ((void)0)
#define tiles_end() ((void)0)
#define tile_zero(t) memset(amx_tile[t], 0, sizeof amx_tile[t])

static inline void tile_load(int t, const void *from, uint64_t stride)
{
    int r;
    for (r = 0; r < 16; r++)
        memcpy(amx_tile[t][r], (const uint8_t *)from + (uint64_t)r * stride, 64);
}

static inline void tile_store(int t, void *to, uint64_t stride)
{
    int r;
    for (r = 0; r < 16; r++)
        memcpy((uint8_t *)to + (uint64_t)r * stride, amx_tile[t][r], 64);
}

/* tdpbusd: c[m][n] += sum over k of u8 a[m][k] * s8 b[k / 4][4 n + k % 4], 32 bits, wrapping. */
static inline void tile_dot(int c, int a, int b)
{
    int m, n, k;
    for (m = 0; m < 16; m++)
        for (n = 0; n < 16; n++) {
            uint32_t sum;
            memcpy(&sum, &amx_tile[c][m][4 * n], 4);
            for (k = 0; k < 64; k++)
                sum += (uint32_t)((int32_t)amx_tile[a][m][k] *
                                  (int8_t)amx_tile[b][k / 4][4 * n + k % 4]);
            memcpy(&amx_tile[c][m][4 * n], &sum, 4);
        }
}

#else

/* Configuration: palette 1, all 8 tiles of 16 rows x 64 bytes. */
static inline void tiles_begin(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    int i;
    for (i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
}

#define tiles_end() _tile_release()
#define tile_zero(t) _tile_zero(t)
#define tile_load(t, from, stride) _tile_loadd(t, from, stride)
#define tile_store(t, to, stride) _tile_stored(t, to, stride)
#define tile_dot(c, a, b) _tile_dpbusd(c, a, b)

#endif
#endif
