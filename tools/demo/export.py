# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Writes the model as a Hugging Face directory and measures it on held-out prompts."""

import json
import os
import random
import shutil
from collections import defaultdict

from safetensors.torch import save_file

from check_text import judge
from data import BOS, CHAT_TEMPLATE, EOS, prompt_ids
from generate_text import cases


def config(shape):
    """config.json of a LLaMA of this shape."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": shape.vocab_size, "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads, "head_dim": shape.head_dim,
        "hidden_act": "silu", "max_position_embeddings": shape.max_position_embeddings,
        "rms_norm_eps": shape.rms_norm_eps, "rope_theta": shape.rope_theta,
        "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1,
        "torch_dtype": "float32", "use_cache": True,
    }


def save(model, tokenizer, path, status):
    """Writes the directory beside its place and then renames it there."""
    new, old = path + ".new", path + ".old"
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    os.makedirs(new)
    save_file(model.tensors(), os.path.join(new, "model.safetensors"), {"format": "pt"})
    tokenizer.save(os.path.join(new, "tokenizer.json"))
    files = {
        "config.json": config(model.shape),
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False,
                                   "max_new_tokens": 200},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS,
            "add_bos_token": True, "add_eos_token": False, "clean_up_tokenization_spaces": False,
            "model_max_length": model.shape.max_position_embeddings,
            "chat_template": CHAT_TEMPLATE},
    }
    for name, value in files.items():
        with open(os.path.join(new, name), "w", encoding="utf-8") as f:
            json.dump(value, f, indent=2)
            f.write("\n")
    with open(os.path.join(new, "STATUS.txt"), "w", encoding="utf-8") as f:
        f.write(status + "\n")
    if os.path.exists(path):
        os.rename(path, old)
    os.rename(new, path)
    shutil.rmtree(old, ignore_errors=True)


def measure(model, tokenizer, count, noise=0.0, seed=99, samples=None):
    """Fractions of held-out prompts answered rightly, by class.

    noise: relative error put on every weight row, with activations rounded to int8, to stand
    for quantization. samples: a list that receives (case, output, right).
    """
    made = cases(random.Random(seed), count)
    prompts = [prompt_ids(tokenizer, case["turns"]) for case in made]
    stop = tokenizer.token_to_id(EOS)
    model.noise, before = noise, model.noise
    right = defaultdict(list)
    order = sorted(range(len(made)), key=lambda i: made[i]["class"])
    for start in range(0, len(order), 64):
        group = order[start:start + 64]
        limit = max(len(prompts[i]) for i in group) + 170
        outputs = model.generate([prompts[i] for i in group], stop, limit, noise > 0)
        for i, ids in zip(group, outputs):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            good = judge(made[i], text)
            right[made[i]["class"]].append(good)
            if samples is not None:
                samples.append((made[i], text, good))
    model.noise = before
    return {name: sum(v) / len(v) for name, v in sorted(right.items())}
