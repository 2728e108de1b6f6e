# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Shell completion: what the program answers, and bash, zsh and fish with its scripts (those that
are installed).
usage: test_completion.py Q35"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

q35 = os.path.abspath(sys.argv[1])


def out(*command, **options):
    p = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert p.returncode == 0, (command, p.stderr)
    return p.stdout


def complete(*words):
    return [line.split("\t")[0] for line in out(q35, "--complete", *words).splitlines()]


names = [line[2:18].strip() for line in out(q35, "--help").splitlines() if line.startswith("  ")]
assert "run" in names and "bench accuracy" in names, names

# Commands, and the second words of those of two.
assert complete("") == [n for n in names if " " not in n]
assert complete("r") == ["run"] and complete("help", "conv") == ["convert"]
assert complete("bench", "l") == ["ladder"] and complete("xyz", "") == []

# The options of --help, of the manual and of completion are the same.
manual = out(q35, "--print-man").replace("\\-", "-").split(".SS q35 ")[1:]
for name, section in zip(names, manual):
    shown = re.findall(r"^  (?:-., |    )(--[a-z0-9-]+)", out(q35, *name.split(), "--help"), re.M)
    offered = complete(*name.split(), "--")
    in_manual = re.findall(r"^(?:\\fB-.\\fR, )?\\fB(--[a-z0-9-]+)\\fR", section, re.M)
    assert section.startswith(name), (name, section[:40])
    assert shown == offered == in_manual + ["--help"] and len(shown) == len(set(shown)), \
        (name, shown, offered, in_manual)

# Values, paths, and what was given already.
assert complete("run", "--kv-type", "") == ["f16", "int8"]
assert complete("run", "--kv-type=i") == ["--kv-type=int8"]
assert complete("run", "--kv-type", "=", "i") == complete("run", "--kv-type", "i") == ["int8"]
assert complete("convert", "-s", "tre") == complete("convert", "-s", "trellis")
assert complete("convert", "-s", "trellis") == ["trellis", "trellis2"]
assert complete("run", "-m", "mod") == complete("convert", "") == [":files"]
assert complete("run", "-p", "") == complete("run", "--tokens", "1") == []
assert complete("run", "-b", "cpu") == ["cpu_simd", ":files"]
assert complete("completion", "") == ["bash", "zsh", "fish"]
assert "--chat" in complete("run", "") and "--chat" not in complete("run", "--chat", "--")
assert "--config" not in complete("run", "-c", "x", "--")

# A value that is none of the list is refused by the same list.
p = subprocess.run([q35, "run", "--kv-type", "f8"], capture_output=True, text=True)
assert p.returncode == 2 and "--kv-type f8: expected one of f16|int8" in p.stderr, p.stderr

with tempfile.TemporaryDirectory() as tmp:
    env = dict(os.environ, PATH=os.path.dirname(q35) + ":" + os.environ["PATH"], HOME=tmp, TERM="dumb")
    open(os.path.join(tmp, "a file.gguf"), "w").close()

    def bash(line, *words):
        script = f'eval "$(q35 completion bash)"\nCOMP_WORDS=({" ".join(words)})\n' \
                 f'COMP_CWORD={len(words) - 1}\n_q35 q35\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
        return out("bash", "-c", script, env=env, cwd=tmp).split("\n")[:-1]

    assert bash("", "q35", "ver") == ["verify-plugin"]
    assert bash("", "q35", "run", "--kv-type", "=", "in") == ["int8"]
    assert bash("", "q35", "run", "--kv-type", "=") == ["f16", "int8"]
    assert bash("", "q35", "convert", "a") == ["a file.gguf"]
    assert "--no-rotate" in bash("", "q35", "convert", "--n")
    shells = ["bash"]
    if shutil.which("fish"):
        def fish(line):
            script = f"q35 completion fish | source; complete -C '{line}'"
            return [x.split("\t")[0] for x in out("fish", "-c", script, env=env, cwd=tmp).splitlines()]
        assert fish("q35 ver") == ["verify-plugin"]
        assert fish("q35 run --kv-type ") == ["f16", "int8"]
        assert fish("q35 run --kv-type=i") == ["--kv-type=int8"]
        assert "a file.gguf" in [x.replace("\\", "") for x in fish("q35 convert a")]
        shells.append("fish")
    if shutil.which("zsh"):
        with open(os.path.join(tmp, "_q35"), "w", encoding="utf-8") as f:
            f.write(out(q35, "completion", "zsh"))
        # compadd replaced, as completion itself wants a terminal
        script = "compadd() { shift 4; print -l -- \"$@\"; }; compset() { return 1; }\n" \
                 "_files() { print -l -- :files; }\n" \
                 "t() { words=(\"$@\"); CURRENT=$#; source ./_q35; }\n"
        zsh = lambda line: out("zsh", "-fc", script + "t " + line, env=env, cwd=tmp).split()
        assert zsh("q35 ver") == ["verify-plugin"]
        assert zsh("q35 run --kv-type ''") == ["f16", "int8"]
        assert zsh("q35 run -b cpu") == ["cpu_simd", ":files"]
        shells.append("zsh")
print("PASS:", ", ".join(shells))
