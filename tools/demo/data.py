# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The tokenizer of the demo model, and its text as batches of token rows."""

import random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from generate_text import document

BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
ROLES = {role: f"<|{role}|>" for role in ("system", "user", "assistant")}
SPECIAL = [BOS, EOS, *ROLES.values()]
# The words of LLaMA 3's tokenizer.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def train_tokenizer(vocab_size, seed, documents=6000):
    """A byte-level BPE tokenizer fitted to freshly generated text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    rng = random.Random(seed)
    tokenizer.train_from_iterator(
        (text for _ in range(documents) for _, text in document(rng)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))])
    return tokenizer


def encode(tokenizer, turns):
    """(ids, learn) of a document; learn is the weight of predicting each token.

    What users say has weight 0. The few tokens of a short answer decide more than those of a
    story and weigh more.
    """
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    ids, learn = [bos], [0.0]
    for role, text in turns:
        body = tokenizer.encode(text, add_special_tokens=False).ids + [eos]
        if role != "text":
            ids.append(tokenizer.token_to_id(ROLES[role]))
            learn.append(0.0)
        ids += body
        told = role in ("text", "assistant")
        learn += [0.0 if not told else 3.0 if len(body) <= 24 else 1.0] * len(body)
    return ids, learn


def prompt_ids(tokenizer, turns):
    """The ids of a prompt that the model should continue."""
    ids, _ = encode(tokenizer, turns)
    if turns[-1][0] == "text":
        return ids[:-1]
    return ids + [tokenizer.token_to_id(ROLES["assistant"])]


class Rows:
    """An endless supply of batches: documents packed into rows of `length` tokens."""

    def __init__(self, tokenizer, length, seed, stories=0.5):
        self.tokenizer, self.length, self.stories = tokenizer, length, stories
        self.rng = random.Random(seed)
        self.pool = []

    def next_fitting(self, space):
        """The longest document of a small pool that fits in the space, or None."""
        while len(self.pool) < 24:
            doc, learn = encode(self.tokenizer, document(self.rng, self.stories))
            if len(doc) <= self.length:
                self.pool.append((doc, learn))
        fits = [p for p in self.pool if len(p[0]) <= space]
        if not fits:
            return None
        best = max(fits, key=lambda p: len(p[0])) if space < self.length else fits[0]
        self.pool.remove(best)
        return best

    def row(self):
        """ids, what follows each, the weight of learning that, and document numbers of a row."""
        ids, targets, weights, parts, part = [], [], [], [], 0
        while found := self.next_fitting(self.length - len(ids)):
            doc, learn = found
            ids += doc
            targets += doc[1:] + [0]
            weights += learn[1:] + [0.0]
            parts += [part] * len(doc)
            part += 1
        pad = self.length - len(ids)
        return ids + [0] * pad, targets + [0] * pad, weights + [0.0] * pad, parts + [-1] * pad

    def batch(self, rows):
        """(ids, targets, weights, mask); the mask [B, 1, T, T] keeps each document to itself."""
        columns = zip(*[self.row() for _ in range(rows)])
        ids, targets, weights, parts = (torch.tensor(column) for column in columns)
        same = parts[:, :, None] == parts[:, None, :]
        allowed = same & torch.ones(self.length, self.length, dtype=torch.bool).tril()
        mask = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))
        return ids, targets, weights, mask[:, None]
