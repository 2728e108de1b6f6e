# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Runs a trained Hugging Face directory: continues prompts, or measures held-out prompts."""

import argparse
import json
import os

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from data import EOS, prompt_ids
from export import measure
from model import LINEARS, Llama, Shape


def load(path):
    """(model, tokenizer) of a directory that export.save() wrote."""
    with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    fields = Shape.__dataclass_fields__
    model = Llama(Shape(**{k: v for k, v in config.items() if k in fields}))
    weights = load_file(os.path.join(path, "model.safetensors"))
    with torch.no_grad():
        model.embed.copy_(weights["model.embed_tokens.weight"])
        model.final_norm.copy_(weights["model.norm.weight"])
        for i in range(model.shape.num_hidden_layers):
            prefix = f"model.layers.{i}."
            for name in LINEARS:
                part = "self_attn" if name in "qkvo" else "mlp"
                model.linear[name][i] = weights[f"{prefix}{part}.{name}_proj.weight"]
            model.norms[i, 0] = weights[prefix + "input_layernorm.weight"]
            model.norms[i, 1] = weights[prefix + "post_attention_layernorm.weight"]
    return model, Tokenizer.from_file(os.path.join(path, "tokenizer.json"))


def arguments():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model", help="Hugging Face directory")
    p.add_argument("--prompt", action="append", default=[], help="text to continue")
    p.add_argument("--chat", action="append", default=[], help="what a user says")
    p.add_argument("--cases", type=int, default=0, help="measure so many prompts per class (0)")
    p.add_argument("--noise", type=float, default=0.0,
                   help="relative error on the weights, with int8 activations; 0.11 is like "
                   "3.5-bit quantization (0)")
    p.add_argument("--wrong", action="store_true", help="print the outputs judged wrong")
    p.add_argument("--seed", type=int, default=99, help="seed of prompts and noise (99)")
    p.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    return p.parse_args()


def main():
    """Prints continuations, answers and measures."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model, tokenizer = load(args.model)
    turns = [[("text", t)] for t in args.prompt] + [[("user", t)] for t in args.chat]
    if turns:
        model.noise = args.noise
        prompts = [prompt_ids(tokenizer, t) for t in turns]
        stop = tokenizer.token_to_id(EOS)
        for t, ids in zip(turns, model.generate(prompts, stop, 256, args.noise > 0)):
            print(f"[{t[0][1]}]{tokenizer.decode(ids)}\n")
    if args.cases:
        samples = []
        right = measure(model, tokenizer, args.cases, args.noise, args.seed, samples)
        for case, text, good in samples:
            if args.wrong and not good:
                print(json.dumps({**case, "output": text}))
        print(", ".join(f"{name} {share:.1%}" for name, share in right.items()))


if __name__ == "__main__":
    main()
