#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# usage: fuzz.sh FUZZER SEEDS RUNS. A short run of a libFuzzer target from fresh seeds; "SKIP reason"
# in place of FUZZER skips. Longer runs: FUZZER -max_total_time=3600 CORPUS_DIR.
set -e
case $1 in SKIP*) echo "$1"; exit 77 ;; esac
fuzzer=$(realpath "$1")
seeds=$(realpath "$2")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/corpus"
"$seeds" "$dir/corpus"
cd "$dir"
# libFuzzer's own exit status for a finding is 77, which means skipped here.
ASAN_OPTIONS=detect_leaks=${FUZZ_LEAKS:-1}:allocator_may_return_null=1 \
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    "$fuzzer" -runs="$3" -seed=1 -max_len=65536 -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=20 \
    -print_final_stats=1 -error_exitcode=1 corpus
