# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""tools/bench-peers with stand-ins for q35 and llama-bench that say known speeds."""
import json
import os
import subprocess
import sys
import tempfile

Q35 = """#!/bin/sh
echo "q35 $*" >>$LOG
read='"read_bandwidth": 4e10, "bandwidth_fraction": 0.97'
case " $* " in *" --prompt 0 "*) echo "{\\"decode_tokens_per_second\\": 30, $read}";;
*) echo "{\\"decode_tokens_per_second\\": 30, \\"prefill_tokens_per_second\\": 400, $read}";; esac
"""
# one test for each call; the way to decode behind a context is HELP
PEER = """#!/bin/sh
echo "peer $*" >>$LOG
case "$*" in --help) echo "HELP"; exit;; esac
case "$*" in *" -p 0 "*) echo '[{"n_prompt": 0, "n_gen": 32, "avg_ts": 12}]';;
*" -n 0"*) echo '[{"n_prompt": 512, "n_gen": 0, "avg_ts": 100}]';; esac
"""


def script(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o755)
    return path


def run(*args):
    return subprocess.run([sys.executable, sys.argv[1], *args], capture_output=True, text=True)


def commands():
    """What was called since the last time."""
    with open(os.environ["LOG"]) as f:
        lines = f.read().splitlines()
    os.remove(os.environ["LOG"])
    return lines


with tempfile.TemporaryDirectory() as d:
    os.environ["LOG"] = os.path.join(d, "log")
    q35, peer = script(d, "q35", Q35), script(d, "llama-bench", PEER)
    common = ["--q35", q35, "--peer", peer + "=/x/peer.gguf"]
    done = run(*common, "--rounds", "2")
    assert done.returncode == 0, done.stderr
    line = [s for s in done.stdout.splitlines() if s.startswith("peer.gguf")][0].split()
    assert line[1:] == ["12.00", "2.50x", "100.00", "4.00x"], done.stdout
    assert "q35's turns: 40.0 to 40.0 GB/s; its decode takes 97%" in done.stdout, done.stdout
    rows = json.loads(run(*common, "--prompt", "0", "--rounds", "1", "--json", "--busy").stdout)
    assert rows[1] == {"name": "peer.gguf", "decode": 12, "prefill": None}, rows
    commands()
    long = ["--context", "8192", "--prompt", "0", "--rounds", "1", "--kv-type", "int8"]
    for known, wanted in (("-d, --n-depth <n>", "-n 32 -d 8192"), ("-gp <pp,tg>", "-gp 8192,32")):
        other = script(d, "other", PEER.replace("HELP", known))
        done = run("--q35", q35, "--peer", other + "=m.gguf", *long)
        assert done.returncode == 0 and "behind 8192 tokens, KV in 8 bits" in done.stdout, done
        ours, _, theirs = commands()
        assert "--context 8192 --kv-type int8" in ours, ours
        assert wanted in theirs and "-ctk q8_0 -ctv q8_0" in theirs and " -p 0 " in theirs, theirs
    done = run(*common, *long)
    assert done.returncode != 0 and "neither -d nor -gp" in done.stderr, done
    assert run(*common, "--rounds", "0").returncode != 0
    assert run("--q35", q35, "--peer", "nothing").returncode != 0
    broken = script(d, "broken", "#!/bin/sh\necho went wrong >&2\nexit 1\n")
    done = run("--q35", q35, "--peer", broken + "=m.gguf")
    assert done.returncode != 0 and "went wrong" in done.stderr, done.stderr
