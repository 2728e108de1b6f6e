#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# usage: test_calibrate_cli.sh Q35 MAKE_FIXTURE: convert --calibrate and perplexity from outside.
set -u
q35=$1
make=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
files() { ls -A "$dir" | tr '\n' ' '; }

"$make" small none "$dir/in.gguf" || fail "no fixture"
python3 - "$dir" <<'PY' || fail "no texts"
import random, sys
r = random.Random(1)
words = ["".join(r.choice("abcdefghij") for _ in range(r.randint(2, 6))) for _ in range(40)]
for name in "calibrate", "evaluate":
    with open("%s/%s.txt" % (sys.argv[1], name), "w") as f:
        f.write(" ".join(r.choice(words) for _ in range(500)))
PY
convert() { # output, options
    out=$dir/$1
    shift
    "$q35" convert "$dir/in.gguf" -o "$out" "$@" >"$dir/log" 2>&1 ||
        fail "convert $*: $(cat "$dir/log")"
}
calibrate="--calibrate $dir/calibrate.txt"

# The same file at any number of threads, whatever is switched off; each switch matters.
convert all.q35.gguf $calibrate --threads 1
for options in "" "--no-feedback --correct 0" "--no-awq --damp 0.1" --no-propagate "--sweeps 0" "--refine-tables 1" \
    "--calibrate-tokens 300 --target-bits 10" "--scheme trellis2 --effort 0" \
    "--scheme vq2 --no-rotate"; do
    convert a.q35.gguf $calibrate $options --threads 1
    convert b.q35.gguf $calibrate $options --threads 3
    cmp -s "$dir/a.q35.gguf" "$dir/b.q35.gguf" || fail "threads matter with $options"
    cmp -s "$dir/a.q35.gguf" "$dir/all.q35.gguf"
    [ $? -eq "$([ -z "$options" ] && echo 0 || echo 1)" ] || fail "'$options' and the default"
done
"$q35" inspect "$dir/b.q35.gguf" --verify >/dev/null || fail "inspect"

# It serves its purpose: closer to the float model than rounding alone.
kl() { # model
    "$q35" perplexity -m "$dir/$1" -f "$dir/evaluate.txt" --kl "$dir/in.gguf" --json >"$dir/json" ||
        fail "perplexity of $1"
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["kl_divergence"])' "$dir/json"
}
convert round.q35.gguf
python3 -c 'import sys; a, b = map(float, sys.argv[1:]); sys.exit(not 0 < a < 0.8 * b)' \
    "$(kl all.q35.gguf)" "$(kl round.q35.gguf)" || fail "KL $(kl all.q35.gguf), rounding $(kl round.q35.gguf)"

# Bits where they count: within the budget, and closer.
convert more.q35.gguf $calibrate --target-bits 10 --json
python3 - "$dir/log" "$(kl all.q35.gguf)" "$(kl more.q35.gguf)" <<'PY' || fail "target bits: $(cat "$dir/log")"
import json, sys
d = json.load(open(sys.argv[1]))
assert 8.5 < d["decoder_bits_per_weight"] <= 10, d
assert len({t["scheme"] for t in d["tensors"] if t["name"].startswith("blk.")}) >= 2, d
assert float(sys.argv[3]) < float(sys.argv[2]), sys.argv
PY

# What perplexity prints agrees with itself: a model is at no distance from itself, and windows of
# any context score every token once.
"$q35" perplexity -m "$dir/in.gguf" -f "$dir/evaluate.txt" --kl "$dir/in.gguf" --json >"$dir/json" ||
    fail "perplexity of a float model"
"$q35" perplexity -m "$dir/in.gguf" -f "$dir/evaluate.txt" --context 32 --stride 8 --json \
    --max-tokens 100 >"$dir/json2" || fail "perplexity with a stride"
python3 - "$dir/json" "$dir/json2" <<'PY' || fail "perplexity --json: $(cat "$dir/json" "$dir/json2")"
import json, math, sys
d, s = (json.load(open(f)) for f in sys.argv[1:])
assert d["scheme"] == "float" and d["kl_divergence"] == 0 and d["kl_max"] == 0, d
assert d["top1_agreement"] == 1 and abs(d["perplexity"] - math.exp(d["nll"])) < 1e-6 * d["perplexity"], d
assert s["tokens"] == 100 and s["context"] == 32 and s["stride"] == 8, s
assert s["windows"] == 1 + math.ceil((100 - 31) / 8), s
PY
# --half: whole windows, their second halves.
"$q35" perplexity -m "$dir/in.gguf" -f "$dir/evaluate.txt" --context 32 --half --json --max-tokens 100 \
    >"$dir/json" || fail "perplexity --half"
"$q35" perplexity -m "$dir/in.gguf" -f "$dir/evaluate.txt" --ids "$dir/ids" --max-tokens 100 ||
    fail "perplexity --ids"
python3 - "$dir/json" "$dir/ids" <<'PY' || fail "perplexity --half: $(cat "$dir/json")"
import json, sys
d = json.load(open(sys.argv[1]))
assert d["windows"] == 3 and d["tokens"] == 3 * 15 and d["stride"] == 32, d
ids = [int(line) for line in open(sys.argv[2])]
assert len(ids) == 100 and min(ids) >= 0 and len(set(ids)) > 5, ids
PY
rm -f "$dir/ids"
refused() { # text, command
    text=$1
    shift
    "$q35" "$@" >"$dir/log" 2>&1 && fail "accepted: $*"
    grep -q -e "$text" "$dir/log" || fail "$*: $(cat "$dir/log")"
}
refused 'a model and a text are needed' perplexity -m "$dir/in.gguf"
refused 'no --stride' perplexity -m "$dir/in.gguf" -f "$dir/evaluate.txt" --half --stride 8
refused 'too few' perplexity -m "$dir/in.gguf" -f "$dir/evaluate.txt" --half --max-tokens 9
refused 'cannot write' perplexity -m "$dir/in.gguf" -f "$dir/evaluate.txt" --ids "$dir/none/ids"
refused 'No such file' perplexity -m "$dir/in.gguf" -f "$dir/absent.txt"

: >"$dir/empty.txt"
refused 'needs --model' bench accuracy --text "$dir/evaluate.txt"
refused 'is empty' perplexity -m "$dir/in.gguf" -f "$dir/empty.txt"

# The ladder: in order of worth, and its float row is the model itself.
"$q35" bench accuracy --model "$dir/in.gguf" --text "$dir/evaluate.txt" --max-tokens 200 --calibrate-tokens 400 \
    --calibrate "$dir/calibrate.txt" --effort 0 --json >"$dir/json" 2>"$dir/log" ||
    fail "bench accuracy --text: $(cat "$dir/log")"
python3 - "$dir/json" <<'PY' || fail "bench accuracy --text: $(cat "$dir/json")"
import json, sys
rows = {r["format"]: r for r in json.load(open(sys.argv[1]))["rows"]}
kl = {name: r["kl_divergence"] for name, r in rows.items()}
assert kl["float"] == 0 and rows["float"]["top1_agreement"] == 1, rows["float"]
assert 0 < kl["int8-absmax"] < kl["int4-absmax"], kl
assert kl["trellis2"] < kl["alt43"] and kl["trellis"] < kl["alt43"], kl
for s in "trellis", "trellis2":
    assert kl[s + "+calibrate"] < 0.8 * kl[s], kl
    names = [s + "+calibrate-" + o for o in ("rotation", "awq", "feedback", "propagation",
                                                  "sweeps")]
    names += [s + e for e in ("", "-refined", "-unrotated", "+calibrate", "+calibrate+refined")]
    assert len({kl[n] for n in names}) == 10, kl
assert 8 < rows["int8-absmax"]["bits_per_weight"] < 9 and rows["trellis"]["bits_per_weight"] > 7, rows
PY
"$q35" bench accuracy --model "$dir/in.gguf" --text "$dir/evaluate.txt" --max-tokens 50 \
    --only 'int8*' >"$dir/json" || fail "bench accuracy --only"
[ "$(wc -l <"$dir/json")" -eq 1 ] || fail "bench accuracy --only: $(cat "$dir/json")"

# --resume: a start that fails at the head (on a value that is no number, where the key does not look)
# keeps both layers; the next goes on from what is whole of them and writes the same file.
"$make" small late-nan "$dir/nan.gguf" || fail "no fixture"
mv "$dir/in.gguf" "$dir/good.gguf"
interrupted() { # options
    cp "$dir/nan.gguf" "$dir/in.gguf"
    "$q35" convert "$dir/in.gguf" -o "$dir/b.q35.gguf" $calibrate --resume "$@" >"$dir/log" 2>&1 &&
        fail "not interrupted: $*"
    grep -q 'b.q35.gguf.layers keeps what is done: tensor output.weight is not finite' "$dir/log" ||
        fail "interrupted: $(cat "$dir/log")"
    [ ! -e "$dir/b.q35.gguf" ] || fail "an output of an interrupted conversion"
    cp "$dir/good.gguf" "$dir/in.gguf"
}
resumes() { # layers, same as, options
    n=$1
    same=$2
    shift 2
    convert b.q35.gguf $calibrate --resume --json "$@"
    python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["resumed_layers"] != int(sys.argv[2]))' \
        "$dir/log" "$n" || fail "not $n layers: $(cat "$dir/log")"
    cmp -s "$dir/b.q35.gguf" "$dir/$same" || fail "resumed after $n layers, another file: $*"
    [ ! -e "$dir/b.q35.gguf.layers" ] || fail "layers are kept beside a whole file"
    rm "$dir/b.q35.gguf"
}
layers=$dir/b.q35.gguf.layers
rm "$dir/b.q35.gguf"
interrupted
interrupted --threads 3
cp "$layers" "$dir/kept"
resumes 2 all.q35.gguf --threads 2
python3 -c 'import sys; b = open(sys.argv[1], "rb").read(); open(sys.argv[2], "wb").write(b[:-3])' \
    "$dir/kept" "$layers"
resumes 1 all.q35.gguf
interrupted --target-bits 10
resumes 2 more.q35.gguf --target-bits 10
cp "$dir/kept" "$layers"
"$q35" convert "$dir/in.gguf" -o "$dir/b.q35.gguf" $calibrate --resume --damp 0.1 >"$dir/log" 2>&1 &&
    fail "resumed with other options"
grep -q 'b.q35.gguf.layers was left by a start with another model, text or options' "$dir/log" ||
    fail "other options: $(cat "$dir/log")"
cmp -s "$dir/kept" "$layers" || fail "what was kept is lost"
rm -f "$layers" "$dir/kept" "$dir/nan.gguf" "$dir/good.gguf" "$dir/more.q35.gguf"

# Failures leave nothing behind.
rm -f "$dir/json" "$dir/json2" "$dir/a.q35.gguf"
before=$(files)
refused 'is empty' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" --calibrate "$dir/empty.txt"
refused 'No such file' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" --calibrate "$dir/absent.txt"
refused 'not enough' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" $calibrate --target-bits 4
refused 'target-bits' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" $calibrate --target-bits 2.33
refused 'target-bits' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" $calibrate --target-bits 33
refused 'can be resumed' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" --resume
refused 'needs --calibrate' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" --target-bits 4
refused 'damp' convert "$dir/in.gguf" -o "$dir/a.q35.gguf" $calibrate --damp -1
(ulimit -f 100 && "$q35" convert "$dir/in.gguf" -o "$dir/a.q35.gguf" $calibrate >"$dir/log" 2>&1) &&
    fail "no room"
grep -q 'File too large' "$dir/log" || fail "no room: $(cat "$dir/log")"
[ "$(files)" = "$before" ] || fail "left: $(files), not $before"
echo PASS
