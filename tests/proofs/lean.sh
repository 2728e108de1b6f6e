#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# Checks lean/Format.lean on the constants of this build. usage: lean.sh CONSTANTS_PROGRAM
# Q35_LEAN: a folder under /tmp with node, lean.js, lean.wasm and lib/. Run without privileges.
set -eu
here=$(dirname "$0")
[ -n "${Q35_LEAN:-}" ] && [ -f "$Q35_LEAN/lean.js" ] || {
    echo "SKIP: no Lean: Q35_LEAN does not name a folder with node, lean.js, lean.wasm and lib"
    exit 77
}
if grep -nwE 'sorry|admit|axiom|native_decide|unsafe' "$here/lean/Format.lean"; then
    echo "FAIL: not proved or not reviewed"
    exit 1
fi
work=$(mktemp -d /tmp/q35-lean-XXXXXX)
trap 'rm -rf "$work"' EXIT
python3 "$here/generate.py" "$1" "$work"
grep -v '^import' "$here/lean/Format.lean" | cat "$work/Constants.lean" - >"$work/All.lean"
grep -v '^import' "$here/lean/Format.lean" | sed -f "$here/lean/broken.sed" |
    cat "$work/Constants.lean" - >"$work/Broken.lean"
chmod -R a+rX "$work"
lower=
[ "$(id -u)" = 0 ] && lower="setpriv --reuid=65534 --regid=65534 --clear-groups"
cd "$work"

lean() {
    LEAN_PATH="$Q35_LEAN/lib" HOME="$work" $lower "$Q35_LEAN/node" --stack-size=8000 \
        "$Q35_LEAN/lean.js" -j1 -DwarningAsError=true "$1" 2>&1
}

lean All.lean >All.log && rc=0 || rc=$?
grep 'error:' All.log && rc=1
if [ $rc != 0 ]; then
    echo "FAIL: Format.lean"
    exit 1
fi
echo "Format.lean: proved"
lean Broken.lean >Broken.log && rc=0 || rc=$?
n=$(grep -cE 'error: (omega could not|unsolved goals)' Broken.log || true)
echo "broken variants: $n of 8 rejected"
[ "$rc" != 0 ] && [ "$n" = 8 ]
