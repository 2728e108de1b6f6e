#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# usage: test_real_models.sh Q35 SOURCE_ROOT. Trained models, when there are any: each converts with
# every scheme, verifies, and generates the same text on two backends. They are looked for in
# $Q35_SHARED/models or ../shared/models beside the source tree.
set -u
q35=$1
models=${Q35_SHARED:-$2/../shared}/models
gguf=$models/stories260K/stories260K.gguf
hf=$models/tinystories-656k
[ -f "$gguf" ] && [ -d "$hf" ] || { echo "SKIP no trained models in $models"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

for model in "$gguf" "$hf"; do
    for scheme in trellis vq2 alt43; do
        out=$dir/$scheme.q35.gguf
        "$q35" convert "$model" -o "$out" --scheme $scheme --json >"$dir/json" || fail "$model $scheme"
        python3 - "$dir/json" $scheme <<'PY' || fail "$model $scheme: errors"
import json, sys
d = json.load(open(sys.argv[1]))
limit = {"trellis": 0.09, "vq2": 0.11, "alt43": 0.13}[sys.argv[2]]
if d["relative_rmse"] > limit:
    sys.exit(f"relative error {d['relative_rmse']}")
PY
        "$q35" inspect "$out" --verify >/dev/null || fail "$model $scheme: inspect"
        for backend in reference cpu_simd; do
            "$q35" run -b $backend -m "$out" -p 'Once upon a time' -n 40 --temp 0 >"$dir/$backend" ||
                fail "$model $scheme: run on $backend"
        done
        cmp -s "$dir/reference" "$dir/cpu_simd" || fail "$model $scheme: backends differ"
        grep -qE "girl|boy|day" "$dir/reference" || fail "$model $scheme: $(cat "$dir/reference")"
    done
done
echo PASS
