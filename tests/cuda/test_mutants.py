#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Seeded bugs in copies of the CUDA kernels and of cuda.so's host half: tests must catch every one.

usage: test_mutants.py CC CXX SOURCE_ROOT TESTS FAKE_CUDA FAKE_CUBLASLT ARCHIVE...
TESTS: the folder of test_cuda_host and test_cuda_gemm. ARCHIVEs: the kernels' tests, the emulator and
what they need.
"""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from mutants import build, changed, fails, survey  # noqa: E402

CC, CXX = sys.argv[1:3]
ROOT, TESTS, FAKE_CUDA, FAKE_CUBLASLT = (os.path.abspath(a) for a in sys.argv[3:7])
ARCHIVES = [os.path.abspath(a) for a in sys.argv[7:]]
# Misaligned accesses end the process.
ALIGNED = ["-fsanitize=alignment", "-fsanitize-trap=alignment" if "clang" in CXX
           else "-fsanitize-undefined-trap-on-error"]
# Races on shared memory are found by emu_race.cpp, in three times the time: where nothing else would.
RACES = ["-DEMU_RACES", "-fsanitize=thread"]

TILE, FEW, MANY, THREE = "tile.cuh", "matmul_few.cuh", "matmul_many.cuh", "triple_few.cuh"
GEMM, ROTATE, ROPE, MISC = "gemm.cuh", "rotate.cuh", "rope.cuh", "misc.cuh"

# (name, file, old text, new text, the part of the kernels' tests that must fail)
KERNELS = [
    ("row-above", TILE, "(r + 16u - back) & 15u, col", "(r + 15u - back) & 15u, col", "embed"),
    ("ring-seam", TILE, "strip_move(hi, hi_left ^ lo_left, n);", "strip_move(hi, hi_left, n);",
     "matmul"),
    ("third-nibble", TILE, "first ^ second", "first | second", "matmul"),
    ("halfword", TILE, "h < 6u ? h & 1u : hi", "h < 6u ? h & 1u : 0u", "matmul"),
    ("b-to-which-row", FEW, "((row + 1u) & 15u)", "((row + 1u) & 7u)", "matmul"),
    ("one-sharer-less", FEW, "first / m->span) + 1u", "first / m->span)", "matmul"),
    ("sums-left", FEW, "        from[i] = 0;\n", "", "matmul"),
    ("beyond-shared-memory", FEW, "(int32_t *)last + Q35_CU_FEW_BLOCKS;",
     "(int32_t *)last + Q35_CU_FEW_BLOCKS + 40u;", "matmul"),
    ("segment-too-many", THREE, "s < n)", "s <= n)", "matmul"),
    ("lane-above", MANY, "bhi[2] = {0, 0}, above = (lane_id() + 28u)",
     "bhi[2] = {0, 0}, above = (lane_id() + 27u)", "matmul"),
    ("copies-not-waited-for", MANY, "copy_wait<0>();", "copy_wait<1>();", "matmul"),
    ("last-step", MANY, "a->cols_padded <= steps * 192u - 64u ? 1u : 0u",
     "a->cols_padded <= steps * 192u - 64u ? 2u : 0u", "matmul"),
    ("decoded-row", GEMM, "(uint64_t)block * 16u * a->cols_padded",
     "(uint64_t)block * 8u * a->cols_padded", "matmul"),
    ("stride-of-sums", GEMM, "token * a.stride + row", "token * a.rows + row", "matmul"),
    ("butterfly", ROTATE, "p / h * (h * R) + p % h", "p / h * h + p % h", "rotate"),
    ("no-epsilon", ROTATE, "Q35_DIVF(sum, (float)n) + eps", "Q35_DIVF(sum, (float)n)", "rotate"),
    ("sign", ROTATE, ">> (i & 63u)) & 1u", ">> (i & 31u)) & 1u", "rotate"),
    ("last-position", "attn.cuh", "b == r->hi / 64u ? r->hi % 64u : 63u", "63u", "attn"),
    ("merge-short", "attn.cuh", "next[r], part[r], 4 * G)", "next[r], part[r], 4 * G - 1)", "attn"),
    ("tree", "attn_f16.cuh", "attn_four<C>(q + 2 * C, k0 + 2 * C, k1 + 2 * C, t);",
     "attn_four<C>(q + 2 * C, k0 + 2 * C, k1 + C, t);", "attn"),
    ("scale-of-v", "attn_int8.cuh", "scales[heads * Q35_ATTN_BLOCK + threadIdx.x]",
     "scales[threadIdx.x]", "attn"),
    ("byte-to-float", "attn_int8.cuh", "- 8388736.0f", "- 8388735.0f", "attn"),
    ("running-maximum", "attn_merge.cuh", "lane >= k && y > top ? y : top",
     "lane >= k ? y : top", "attn"),
    ("place-in-page", ROPE, "t->position % Q35_ATTN_BLOCK, i;", "t->position / Q35_ATTN_BLOCK, i;",
     "rope"),
    ("scale-in-page", ROPE, "scales[slots] = v_scale;", "scales[1] = v_scale;", "rope"),
    ("last-of-equals", MISC, "(x == y && i < j)", "(x == y && i > j)", "small"),
    ("hash-index", MISC, "(a.first_byte + at) / 8u + 1u", "(a.first_byte + at) / 8u", "matmul"),
    ("keys-misaligned", "attn_f16.cuh", "16u * C + 4u; /*", "16u * C + 2u; /*", "attn"),
    ("launch-bounds", ROTATE, "KERNEL(256, embed,", "KERNEL(128, embed,", "embed"),
    ("nan-hides-a-score", "attn.cuh", "in0 && s0 == s0 ? s0", "in0 ? s0", "attn"),
    ("no-change", TILE, "/* Tiles in the device's order.", "/* Tiles in  the device's order.", None),
]

# Those that only the order of accesses gives away.
ORDER = [
    ("barrier-missing", MANY, "__syncthreads(); /* step k", "/* step k", "matmul"),
    ("heads-norm-without-sync", ROPE, "        __syncwarp(); /* all have read x; a shuffle does not order that */\n",
     "", "rope"),
    ("probabilities-without-sync", "attn.cuh", "                                 p + r * 64);\n    __syncwarp();",
     "                                 p + r * 64);", "attn"),
    ("next-page-too-early", "attn.cuh", "        attn_join<G>(first, next, part, begun, st, o);\n        __syncthreads();",
     "        attn_join<G>(first, next, part, begun, st, o);", "attn"),
]

# The same for cuda.so; "host" and "gemm" are test programs.
HOST = [
    ("leading-dimension-of-weights", "gemm.c", "s->k, s->rows, s->k);", "s->k, s->rows, s->k + 16);",
     "gemm"),
    ("leading-dimension-of-sums", "gemm.c", "s->rows, s->n, s->rows);",
     "s->rows, s->n, s->rows + 16);", "gemm"),
    ("stride-of-results", "gemm.c", ".stride = rows,", ".stride = m->rows,", "gemm"),
    ("always-the-library", "gemm.c", "t->ms[1] < t->ms[0]", "t->ms[1] >= 0.0f", "gemm"),
    ("ids-of-first-round", "exec.c", "b->s.ids + 4 * (uint64_t)at", "b->s.ids", "host"),
    ("graph-of-logits", "graph.c", ".flags = b->run->flags", ".flags = 0", "host"),
    ("capture-unlocked", "device.c", "    pthread_mutex_lock(&first->capture_lock);\n    st", "    st", "host"),
    ("spoilt-capture-launched", "graph.c", "        code = err->native_code;\n", "        code = 0;\n", "host"),
    ("rows-a-few-at-a-time", "gemm.c", "#define ROOM ((uint64_t)64 << 20)",
     "#define ROOM ((uint64_t)24 << 10)", None),
]


def kernel_fails(folder, part, races=False):
    """Whether the kernels' tests notice the copy at folder/backends/cuda."""
    out, at = os.path.join(folder, "emu.o"), os.path.join(ROOT, "tests", "cuda", "kernels")
    # The copy is found first; what includes it lies beside another copy of the emulator.
    os.makedirs(os.path.join(folder, "tests", "cuda"))
    shutil.copytree(at, os.path.join(folder, "tests", "cuda", "kernels"))
    shutil.copy(os.path.join(ROOT, "tests", "cuda", "emu.h"), os.path.join(folder, "tests", "cuda"))
    build([CXX, "-std=c++17", "-O0", "-ffp-contract=off", "-D_GNU_SOURCE", "-w"] + ALIGNED +
          (RACES if races else []) + ["-I" + folder,
           "-I" + at, "-I" + os.path.join(ROOT, "include"),
           "-I" + os.path.join(ROOT, "backends", "reference"), "-c",
           os.path.join(folder, "tests", "cuda", "kernels", "emu.cpp"), "-o", out])
    exe = os.path.join(folder, "checks")
    build([CXX, out] + ARCHIVES + ["-lm", "-lpthread", "-o", exe])
    return fails([exe] + ([part] if part else []), timeout=60)


def order_fails(folder, part):
    return kernel_fails(folder, part, races=True)


def host_fails(folder, part):
    so, at = os.path.join(folder, "cuda.so"), os.path.join(folder, "backends", "cuda")
    sources = [os.path.join(at, f) for f in sorted(os.listdir(at)) if f.endswith(".c")]
    soft = [a for a in ARCHIVES if "q35soft" in a]
    build([CC, "-std=gnu11", "-O0", "-w", "-fPIC", "-shared", "-ffp-contract=off", "-D_GNU_SOURCE",
           "-fvisibility=hidden", "-I" + at,
           "-I" + os.path.join(ROOT, "include"), "-I" + os.path.join(ROOT, "backends", "reference")] +
          sources + soft + ["-lm", "-lpthread", "-ldl", "-o", so])
    env = {"CUDA_SO": so, "FAKE_CUDA": FAKE_CUDA, "FAKE_CUBLASLT": FAKE_CUBLASLT}
    limit = 90 if part else 600  # one of the bugs hangs
    return any(fails([os.path.join(TESTS, "test_cuda_" + p)], env, timeout=limit)
               for p in ([part] if part else ["host", "gemm"]))


def tries(sub, fails_for):
    """For survey: a copy of backends/cuda with a text changed in its folder `sub`."""
    def try_one(file, old, new, part):
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "backends", "cuda")
            shutil.copytree(os.path.join(ROOT, "backends", "cuda"), copy)
            with changed(os.path.join(copy, sub, file), old, new):
                return fails_for(folder, part), ""
    return try_one


def main():
    missed = (survey(KERNELS, tries("kernels", kernel_fails)) +
              survey(ORDER, tries("kernels", order_fails)) + survey(HOST, tries("", host_fails)))
    print(f"{len(KERNELS) + len(ORDER) + len(HOST) - 2} seeded bugs, {missed} not as expected")
    return 1 if missed else 0


sys.exit(main())
