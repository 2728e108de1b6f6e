#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# Cross-builds the AArch64 kernels and their tests and runs them under qemu-user, on a CPU with and
# on one without the dot-product instructions. Needs no library for the other architecture but libc.
set -eu
cc=aarch64-linux-gnu-gcc
for tool in $cc qemu-aarch64; do
    command -v $tool >/dev/null || { echo "skipped: no $tool"; exit 77; }
done
cd "$(dirname "$0")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-std=gnu11 -D_GNU_SOURCE -ffp-contract=off -Wall -Wextra -Wshadow -Werror
    -Iinclude -Ibackends/reference -Ibackends/cpu_simd"
cpu=backends/cpu_simd

compile() { # FLAGS FILE...
    extra=$1
    shift
    for f; do
        $cc $flags $extra -c "$f" -o "$out/$(echo "$f" | tr / _).o"
    done
}
compile -O2 $cpu/cpu.c $cpu/kernels.c $cpu/kernels_c.c $cpu/places.c $cpu/pool.c $cpu/ops*.c \
    backends/reference/ops.c backends/reference/soft*.c tests/kernels/*.c
compile -O3 $cpu/arm/float_neon.c $cpu/arm/attn_neon.c $cpu/arm/attn8_neon.c \
    $cpu/arm/dots_neon.c
compile "-O3 -march=armv8.2-a+dotprod" $cpu/arm/dots_dotprod.c $cpu/arm/attn8_dotprod.c
mains="tests_kernels_main.c.o tests_kernels_test_ops.c.o"
cd "$out"
rest=$(ls ./*.o | grep -v -e main.c.o -e tests_kernels_test -e tests_kernels_kit -e _dots.c.o \
    -e _floats.c.o -e _attention.c.o -e _bench.c.o; ls ./backends_cpu_simd_ops_attention.c.o)
$cc -static -pthread -o kernels tests_kernels_main.c.o tests_kernels_kit.c.o \
    tests_kernels_dots.c.o tests_kernels_floats.c.o tests_kernels_attention.c.o \
    tests_kernels_bench.c.o $rest -lm
$cc -static -pthread -o ops tests_kernels_test_ops.c.o tests_kernels_kit.c.o $rest -lm
for model in cortex-a53 max; do
    echo "-- $model"
    qemu-aarch64 -cpu $model ./kernels
    qemu-aarch64 -cpu $model ./ops
done
