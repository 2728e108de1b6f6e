#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# Each public header compiles alone, as C11 and as C++17, without a warning, and pads nothing.
set -eu
root=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
flags="-Wall -Wextra -Wpedantic -Werror -Wpadded -fsyntax-only -I$root/include"
for h in "$root"/include/q35/*.h; do
    printf '#include "q35/%s"\nint main(void) { return 0; }\n' "$(basename "$h")" >"$dir/t.c"
    cp "$dir/t.c" "$dir/t.cc"
    ${CC:-cc} -std=c11 $flags "$dir/t.c"
    if command -v "${CXX:-c++}" >/dev/null; then
        ${CXX:-c++} -std=c++17 $flags "$dir/t.cc"
    fi
done
