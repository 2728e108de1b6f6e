#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# A plugin crashes in the middle of a sentence, in a process of its own: the sentence goes on.
# usage: test_failover.sh Q35 MODEL FOLDER_OF_MORTAL_SO
set -eu
q35=$1 model=$2 folder=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
[ -f "$model" ] || { echo "there is no $model"; exit 77; }

cat >"$dir/whole.ini" <<INI
[model]
path = $model
[backend plain]
path = reference.so
INI
cat >"$dir/split.ini" <<INI
[model]
path = $model
[backend plain]
path = reference.so
[backend mortal]
path = $folder/mortal.so
isolate = process
after = 600
[schedule]
layers.plain = 0-39
layers.mortal = 40-79
INI
run() {
    "$q35" run -c "$dir/$1.ini" -p 'Once upon a time' -n 24 --temp 0 --ignore-eos \
        >"$dir/$1.out" 2>"$dir/$1.err"
}
run whole
run split || { cat "$dir/split.err"; exit 1; }
cat "$dir/split.out"
grep -q 'mortal 0 .*lost' "$dir/split.err" || {
    echo "the plugin was to crash, and did not:"
    cat "$dir/split.err"
    exit 1
}
cmp "$dir/whole.out" "$dir/split.out"
# the same plugin, not isolated, takes the program with it: the isolation is what saved it
sed -i 's/isolate = process/isolate = none/' "$dir/split.ini"
if run split; then
    echo "the crash did not happen without isolation"
    exit 1
fi
