# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""usage: test_bench_peers_accuracy.py TOOL Q35: tools/bench-peers-accuracy with a stand-in for
llama-perplexity that lets q35 evaluate the model and the text it is given. Only if the model and the
text were written right is the perplexity that of the source."""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

tool, q35 = map(os.path.abspath, sys.argv[1:])
D, FFN, HEADS, KV, LAYERS, VOCAB = 64, 96, 4, 2, 2, 258
QUANTIZE = """#!/usr/bin/env python3
import shutil, sys
shutil.copy(sys.argv[-3], sys.argv[-2])
"""
PERPLEXITY = """#!/usr/bin/env python3
import json, subprocess, sys
a = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--kl-divergence" in sys.argv:
    d = json.loads(subprocess.run([%r, "perplexity", "-m", a["-m"], "-f", a["-f"], "--half", "--json",
                   "--context", a["-c"]], capture_output=True, text=True, check=True).stdout)
    print("Mean PPL(Q)                   : %%.6f \u00b1 0.25" %% d["perplexity"])
    print("Mean    KLD:   0.012500 \u00b1   0.000125")
    print("Same top p: 87.500 \u00b1 0.125 %%")
""" % q35


def write_model(folder, r):
    """A Hugging Face directory: bytes for a vocabulary, weights of F32, F16 and BF16."""
    shapes = {"model.embed_tokens.weight": [VOCAB, D], "model.norm.weight": [D],
              "lm_head.weight": [VOCAB, D]}
    for i in range(LAYERS):
        for name, shape in (("self_attn.q_proj", [D, D]), ("self_attn.k_proj", [D // HEADS * KV, D]),
                            ("self_attn.v_proj", [D // HEADS * KV, D]), ("self_attn.o_proj", [D, D]),
                            ("mlp.gate_proj", [FFN, D]), ("mlp.up_proj", [FFN, D]),
                            ("mlp.down_proj", [D, FFN]), ("input_layernorm", [D]),
                            ("post_attention_layernorm", [D])):
            shapes[f"model.layers.{i}.{name}.weight"] = shape
    head, data = {}, b""
    for n, (name, shape) in enumerate(shapes.items()):
        values = [1 + 0.1 * r.random() if len(shape) == 1 else r.gauss(0, 3 / D ** 0.5)
                  for _ in range(shape[0] * (shape[1] if len(shape) > 1 else 1))]
        raw = struct.pack(f"<{len(values)}f", *values)
        kind = ("F32", "F16", "BF16")[n % 3]
        if kind == "F16":
            raw = struct.pack(f"<{len(values)}e", *values)
        elif kind == "BF16":
            raw = b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(head).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + data)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": D,
              "intermediate_size": FFN, "num_attention_heads": HEADS, "num_key_value_heads": KV,
              "num_hidden_layers": LAYERS, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
              "max_position_embeddings": 128, "rope_theta": 10000.0, "tie_word_embeddings": False,
              "bos_token_id": 256, "eos_token_id": 257, "hidden_act": "silu"}
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in printable]
    names = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    vocab = {names[b]: b for b in range(256)}
    special = [{"id": 256 + i, "content": t, "special": True, "normalized": False, "lstrip": False,
                "rstrip": False, "single_word": False} for i, t in enumerate(("<s>", "</s>"))]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        json.dump({"version": "1.0", "added_tokens": special, "normalizer": None,
                   "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
                   "post_processor": {"type": "TemplateProcessing", "pair": [], "special_tokens": {
                       "<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}},
                       "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}]},
                   "decoder": {"type": "ByteLevel"},
                   "model": {"type": "BPE", "vocab": vocab | {"<s>": 256, "</s>": 257}, "merges": []}}, f)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}, f)


def script(folder, name, text):
    with open(os.path.join(folder, name), "w") as f:
        f.write(text)
    os.chmod(f.name, 0o755)


def run(*args):
    return subprocess.run([sys.executable, tool, "--q35", q35, *args], capture_output=True, text=True)


with tempfile.TemporaryDirectory() as d:
    r = random.Random(1)
    write_model(d, r)
    for name in "evaluate", "calibrate":
        with open(os.path.join(d, name), "w") as f:
            f.write("".join(r.choice("abc \nde") for _ in range(1000)))
    script(d, "llama-quantize", QUANTIZE)
    script(d, "llama-perplexity", PERPLEXITY)
    script(d, "llama-imatrix", "#!/bin/sh\nwhile [ $1 != -o ]; do shift; done; echo >$2\n")
    common = ["--model", d, "--text", d + "/evaluate", "--context", "32", "--windows", "6"]
    done = run(*common, "--calibrate", d + "/calibrate", "--calibrate-tokens", "400", "--llama.cpp", d,
               "--types", "Q4_0", "--convert", "--scheme vq2", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    mine, peer = rows["q35 float"], rows["llama.cpp F32"]
    assert abs(mine["perplexity"] - peer["perplexity"]) < 1e-4 * mine["perplexity"], rows
    assert mine["kinds"] == "90 tokens scored", mine  # 6 windows, 15 of 32 tokens each
    assert rows["llama.cpp Q4_0"]["kl"] == 0.0125 and rows["llama.cpp Q4_0"]["top1"] == 87.5, rows
    assert "llama.cpp Q4_0, imatrix" in rows, rows
    assert 16 < peer["bits"] < 32 and "F16" in peer["kinds"], peer
    ours = [rows[n] for n in rows if n.startswith("q35 ") and n != "q35 float"]
    assert len(ours) == 5 and all(0 < o["kl"] for o in ours), rows
    assert rows["q35 trellis2"]["kl"] < rows["q35 trellis"]["kl"] * 1.2, rows
    text = run(*common).stdout
    assert "q35 float" in text and "trellis2" in text and "llama.cpp" not in text, text
    script(d, "llama-quantize", "#!/bin/sh\necho went wrong >&2\nexit 1\n")
    done = run(*common, "--llama.cpp", d)
    assert done.returncode != 0 and "went wrong" in done.stderr, done.stderr
    assert run("--model", d, "--text", d + "/evaluate", "--windows", "1").returncode != 0
