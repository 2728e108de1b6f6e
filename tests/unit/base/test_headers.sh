#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# Each public header compiles alone, without a warning and without padding: as C11 to C23 and C++17 to
# C++20, by every compiler there is of the usual ones.
set -eu
root=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
flags="-Wall -Wextra -Wpedantic -Wshadow -Werror -Wpadded -fsyntax-only -I$root/include"
# One file a header, so that none leans on another; one call for all of a standard.
for h in "$root"/include/q35/*.h; do
    name=$(basename "$h" .h)
    printf '#include "q35/%s.h"\nint q35_uses_%s(void);\nint q35_uses_%s(void) { return 0; }\n' \
        "$name" "$name" "$name" >"$dir/$name.c"
    cp "$dir/$name.c" "$dir/$name.cc"
done
tried=0
for cc in "${CC:-cc}" gcc clang; do
    command -v "$cc" >/dev/null || continue
    for std in c11 c17 c2x gnu11; do
        $cc -std=$std -Wstrict-prototypes -Wmissing-prototypes $flags "$dir"/*.c
    done
    tried=$((tried + 1))
done
for cxx in "${CXX:-c++}" g++ clang++; do
    command -v "$cxx" >/dev/null || continue
    for std in c++17 c++20; do
        $cxx -std=$std $flags "$dir"/*.cc
    done
done
echo "$tried compilers of C"
test "$tried" -gt 0
