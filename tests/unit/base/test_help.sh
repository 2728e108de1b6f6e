#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# usage: test_help.sh Q35: --help of every command fits a screen, and the manual is one that man takes.
q35=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

"$q35" --help >"$dir/all" || fail "q35 --help"
sed -n 's/^  \([a-z][a-z-]*\( [a-z]*\)\{0,1\}\)  .*/\1/p' "$dir/all" >"$dir/names"
[ "$(wc -l <"$dir/names")" -ge 11 ] || fail "few commands: $(cat "$dir/names")"
while read -r name; do
    # shellcheck disable=SC2086
    "$q35" $name --help >"$dir/help" || fail "$name --help"
    grep -q "^usage: q35 $name" "$dir/help" || fail "$name: no usage line"
    grep -q "^  q35 $name" "$dir/help" || fail "$name: no example, or none indented"
    grep -n ' $' "$dir/help" && fail "$name: blanks at the end of a line"
    awk 'length > 96 { print; bad = 1 } END { exit bad }' "$dir/help" || fail "$name: a long line"
done <"$dir/names"
"$q35" --print-man >"$dir/man" || fail "--print-man"
"$q35" help inspect | grep -q '^usage: q35 inspect' || fail "q35 help inspect"
"$q35" inspct >"$dir/help" 2>&1
grep -q "unknown command 'inspct', did you mean 'inspect'?" "$dir/help" || fail "$(cat "$dir/help")"
[ "$(grep -c '^.SS q35 ' "$dir/man")" -eq "$(wc -l <"$dir/names")" ] || fail "commands in the manual"
if command -v groff >/dev/null; then
    groff -man -ww -Tascii "$dir/man" 2>&1 >/dev/null | grep . && fail "groff complains"
fi
exit 0
