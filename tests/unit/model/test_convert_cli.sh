#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# usage: test_convert_cli.sh Q35 MAKE_FIXTURE: the commands convert and inspect from outside.
set -u
q35=$1
make=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
files() { ls -A "$dir" | tr '\n' ' '; }

"$make" small none "$dir/in.gguf" || fail "no fixture"
"$q35" convert "$dir/in.gguf" -o "$dir/out.q35.gguf" >"$dir/log" 2>&1 || fail "$(cat "$dir/log")"
grep -q 'bits a weight' "$dir/log" || fail "no summary: $(cat "$dir/log")"
grep -q 's left' "$dir/log" && fail "a progress bar without a terminal"
"$q35" inspect "$dir/out.q35.gguf" --verify --json >"$dir/json" || fail "inspect"
python3 - "$dir/json" <<'PY' || fail "inspect --json"
import json, sys
d = json.load(open(sys.argv[1]))
assert d["kind"] == "packed" and d["scheme"] == "trellis" and d["hashes"] == "match", d
assert d["types"] == "single trellis", d
assert d["model"]["layers"] == 2 and d["model"]["rope"] == "pairs", d
assert d["parameters"] == 2 * 288 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64) + 5 * 64, d
# padded 64 -> 128 columns: more than 7 bits each
assert 7 < d["bits_per_weight"] < 8.5, d
assert d["tokenizer"].startswith("llama, 288 tokens"), d
PY
"$q35" inspect "$dir/in.gguf" --tensors >"$dir/log" || fail "inspect of a float model"
grep -q 'blk.1.ffn_down.weight *F32' "$dir/log" || fail "no list of tensors"
# layer after layer, in columns
[ "$(grep -c '^  ' "$dir/log")" -eq 21 ] && [ "$(sed -n '2,$s/^  .* bytes  //p' "$dir/log" | wc -l)" -eq 21 ] ||
    fail "tensors: $(cat "$dir/log")"
[ "$(sed -n 's/^  \(blk.[01]\).*/\1/p' "$dir/log" | uniq | wc -l)" -eq 2 ] || fail "order of tensors"
[ "$(grep '^  ' "$dir/log" | awk '{ print length }' | sort -u | wc -l)" -eq 1 ] || fail "columns"
"$q35" inspect "$dir/in.gguf" --verify >/dev/null 2>&1 && fail "verified a float model"

# A damaged code is found.
cp "$dir/out.q35.gguf" "$dir/bad.gguf"
size=$(wc -c <"$dir/bad.gguf")
printf '\252' | dd of="$dir/bad.gguf" bs=1 seek=$((size - 5000)) conv=notrunc 2>/dev/null
"$q35" inspect "$dir/bad.gguf" --verify >/dev/null 2>"$dir/err" && fail "damage unnoticed"
grep -q 'does not match its hash' "$dir/err" || fail "$(cat "$dir/err")"
rm -f "$dir/bad.gguf" "$dir/err" "$dir/json"

# Failures: exit status not zero, the reason on stderr, nothing left behind.
before=$(files)
check_refused() { # text, arguments of convert
    text=$1
    shift
    "$q35" convert "$@" >"$dir/log" 2>&1 && fail "accepted: convert $*"
    grep -q -e "$text" "$dir/log" || fail "convert $*: $(cat "$dir/log")"
    [ "$(files)" = "$before" ] || fail "convert $* left: $(files), not $before"
}
check_refused 'is the input' "$dir/in.gguf" -o "$dir/in.gguf"
check_refused 'is packed already' "$dir/out.q35.gguf" -o "$dir/x.gguf"
check_refused 'No such file' "$dir/absent.gguf" -o "$dir/x.gguf"
check_refused 'cannot create' "$dir/in.gguf" -o "$dir/absent/x.gguf"
check_refused 'expected one of trellis|' "$dir/in.gguf" -o "$dir/x.gguf" --scheme q4
check_refused 'PATTERN=SCHEME' "$dir/in.gguf" -o "$dir/x.gguf" --tensor-type blk
check_refused 'no such scheme' "$dir/in.gguf" -o "$dir/x.gguf" --tensor-type 'blk*=q4'
check_refused "'blok.\*': no matrix has" "$dir/in.gguf" -o "$dir/x.gguf" --tensor-type '*.ffn_up.*=vq2,blok.*=vq2'
check_refused '-o FILE is missing' "$dir/in.gguf"
check_refused '--damp needs --calibrate' "$dir/in.gguf" -o "$dir/x.gguf" --damp 0.1
"$make" small nan "$dir/nan.gguf"
before=$(files)
check_refused 'blk.1.attn_q.weight is not finite at row 0, column 5' "$dir/nan.gguf" -o "$dir/x.gguf"

# No room for the file.
(ulimit -f 100 && "$q35" convert "$dir/in.gguf" -o "$dir/x.gguf" >"$dir/log" 2>&1) && fail "no room"
grep -q 'File too large' "$dir/log" || fail "no room: $(cat "$dir/log")"
[ "$(files)" = "$before" ] || fail "no room left: $(files)"

# Interrupted once the output has been begun: nothing is left, or it was done before.
"$make" large none "$dir/large.gguf"
before=$(files)
"$q35" convert "$dir/large.gguf" -o "$dir/x.gguf" --effort 2 --threads 1 >"$dir/log" 2>&1 &
pid=$!
while ! ls "$dir" | grep -q part && kill -0 $pid 2>/dev/null; do :; done
kill -INT $pid 2>/dev/null
if wait $pid; then
    "$q35" inspect "$dir/x.gguf" --verify >/dev/null || fail "interrupted late, file unusable"
else
    grep -q cancelled "$dir/log" || fail "interrupted: $(cat "$dir/log")"
    [ "$(files)" = "$before" ] || fail "interrupted, left: $(files)"
fi

# Nobody reads what it prints any more: the same.
rm -f "$dir/x.gguf"
before=$(files)
"$q35" convert -v "$dir/large.gguf" -o "$dir/x.gguf" --threads 1 2>"$dir/log" | :
if [ -e "$dir/x.gguf" ]; then
    "$q35" inspect "$dir/x.gguf" --verify >/dev/null || fail "closed pipe, file unusable"
else
    [ "$(files)" = "$before" ] || fail "a closed pipe left: $(files)"
fi
echo PASS
