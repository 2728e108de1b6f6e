# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""A small LLaMA in PyTorch whose layers are stacked tensors.

Every weight of the decoder is one tensor with the layer as its first axis, so growing the
model is a repeat along that axis, and noise or an optimizer step is one batched operation.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    """The sizes of a model, named as in a Hugging Face config.json."""

    vocab_size: int = 768
    hidden_size: int = 128
    intermediate_size: int = 256
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    num_hidden_layers: int = 80
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    max_position_embeddings: int = 512

    @property
    def head_dim(self):
        """Channels of one attention head."""
        return self.hidden_size // self.num_attention_heads


LINEARS = ("q", "k", "v", "o", "gate", "up", "down")


def linear_shapes(s):
    """Rows and columns of each linear weight of a layer, by name."""
    d, f, kv = s.hidden_size, s.intermediate_size, s.num_key_value_heads * s.head_dim
    return {"q": (d, d), "k": (kv, d), "v": (kv, d), "o": (d, d),
            "gate": (f, d), "up": (f, d), "down": (d, f)}


def rope_tables(s, length):
    """cos and sin, each [length, head_dim], in the half-rotation convention."""
    inv = s.rope_theta ** (-torch.arange(0, s.head_dim, 2, dtype=torch.float32) / s.head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), inv)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Rotary embedding of x [B, H, T, head_dim]."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


def rms_norm(x, gain, eps):
    """RMSNorm over the last axis."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * gain


def linear(x, w, act8):
    """x @ w.T; act8 rounds each token of x to int8 with one scale, as the runtime does."""
    if act8:
        scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-9) / 127
        x = (x / scale).round() * scale
    return F.linear(x, w)


def attend(q, k, v, mask):
    """Softmax attention. q [B, H, T, D]; k, v [B, KV, S, D]; mask [B or 1, 1, T, S] is added.

    The query heads that share a key head are folded into its rows: no copies of k and v.
    """
    batch, heads, length, dim = q.shape
    kv = k.shape[1]
    q = q.reshape(batch, kv, heads // kv * length, dim)
    scores = (q @ k.transpose(-1, -2)).view(batch, kv, heads // kv, length, k.shape[2])
    weights = F.softmax(scores * dim ** -0.5 + mask[:, :, None], dim=-1)
    out = weights.view(batch, kv, heads // kv * length, k.shape[2]) @ v
    return out.view(batch, heads, length, dim)


def block(x, w, norms, tables, mask, dims, act8=False, past=None):
    """One decoder layer on x [B, T, d]. w: tuple of weights in the order of LINEARS.

    past: None, or a list of the keys and values of earlier tokens, which grows by this call.
    """
    heads, kv_heads, head_dim, eps = dims
    wq, wk, wv, wo, gate, up, down = w
    batch, length, _ = x.shape
    cos, sin = tables
    h = rms_norm(x, norms[0], eps).to(wq.dtype)
    q = linear(h, wq, act8).view(batch, length, heads, head_dim).transpose(1, 2)
    k = linear(h, wk, act8).view(batch, length, kv_heads, head_dim).transpose(1, 2)
    v = linear(h, wv, act8).view(batch, length, kv_heads, head_dim).transpose(1, 2)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    if past is not None:
        k, v = (torch.cat((p, n), dim=2) for p, n in zip(past, (k, v))) if past else (k, v)
        past[:] = [k, v]
    a = attend(q, k, v, mask).transpose(1, 2).reshape(batch, length, heads * head_dim)
    x = x + linear(a, wo, act8).float()
    h = rms_norm(x, norms[1], eps).to(wq.dtype)
    h = F.silu(linear(h, gate, act8)) * linear(h, up, act8)
    return x + linear(h, down, act8).float()


class Llama(nn.Module):
    """The model. noise: relative standard deviation added to each row while training."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.noise, self.dtype = shape, 0.0, torch.float32
        n, d = shape.num_hidden_layers, shape.hidden_size
        self.linear = nn.ParameterDict()
        for name, (rows, cols) in linear_shapes(shape).items():
            std = cols ** -0.5 * (0.1 if name in ("o", "down") else 1.0)
            self.linear[name] = nn.Parameter(torch.randn(n, rows, cols) * std)
        self.norms = nn.Parameter(torch.ones(n, 2, d))
        self.final_norm = nn.Parameter(torch.ones(d))
        self.embed = nn.Parameter(torch.randn(shape.vocab_size, d) * d ** -0.5)
        self.block = block

    def weights(self):
        """Per-layer tuples of the linear weights, with noise when asked for."""
        out = []
        for name in LINEARS:
            w = self.linear[name]
            if self.noise > 0:
                rms = w.detach().square().mean(-1, keepdim=True).sqrt()
                w = w + torch.randn_like(w) * (self.noise * rms)
            out.append(w.to(self.dtype).unbind(0))
        return list(zip(*out))

    def dims(self):
        """The constants that block() needs."""
        s = self.shape
        return s.num_attention_heads, s.num_key_value_heads, s.head_dim, s.rms_norm_eps

    def head(self, x):
        """Logits of the last layer's output; the head is the embedding."""
        x = rms_norm(x, self.final_norm, self.shape.rms_norm_eps).to(self.dtype)
        return F.linear(x, self.embed.to(self.dtype)).float()

    def forward(self, ids, mask):
        """Logits [B, T, vocab] of ids [B, T]; mask [B or 1, 1, T, T] is added to the scores."""
        tables = [t.to(ids.device, self.dtype) for t in rope_tables(self.shape, ids.shape[1])]
        mask = mask.to(self.dtype)
        x = F.embedding(ids, self.embed)
        for w, norms in zip(self.weights(), self.norms.unbind(0)):
            x = self.block(x, w, norms, tables, mask, self.dims())
        return self.head(x)

    @torch.no_grad()
    def generate(self, prompts, stop, limit, act8=False):
        """Greedy continuations of lists of token ids, each cut before the token `stop`.

        All rows advance together from position 0; a row reads its prompt first. limit: the
        most tokens a row may have in all.
        """
        device = self.embed.device
        weights, norms = self.weights(), self.norms.unbind(0)
        cos, sin = [t.to(device, self.dtype) for t in rope_tables(self.shape, limit)]
        rows = [list(p) for p in prompts]
        past = [[] for _ in norms]
        mask = torch.zeros(1, 1, 1, 1, device=device, dtype=self.dtype)
        done = [False] * len(rows)
        for t in range(limit - 1):
            x = F.embedding(torch.tensor([[r[t]] for r in rows], device=device), self.embed)
            for i, w in enumerate(weights):
                x = block(x, w, norms[i], (cos[t:t + 1], sin[t:t + 1]), mask, self.dims(),
                          act8, past[i])
            best = self.head(x)[:, -1].argmax(-1).tolist()
            for i, row in enumerate(rows):
                if len(row) == t + 1:
                    done[i] = done[i] or best[i] == stop
                    row.append(stop if done[i] else best[i])
            if all(done):
                break
        out = [row[len(p):] for row, p in zip(rows, prompts)]
        return [r[:r.index(stop)] if stop in r else r for r in out]

    def grown(self, layers):
        """A deeper model that computes the same: after each layer come copies of it.

        The output projections of the copies begin at zero, so they add nothing until trained.
        """
        times = layers // self.shape.num_hidden_layers
        out = Llama(replace(self.shape, num_hidden_layers=layers))
        with torch.no_grad():
            for name, w in self.linear.items():
                out.linear[name].copy_(w.repeat_interleave(times, dim=0))
                if name in ("o", "down"):
                    out.linear[name][torch.arange(layers) % times > 0] = 0.0
            out.norms.copy_(self.norms.repeat_interleave(times, dim=0))
            out.final_norm.copy_(self.final_norm)
            out.embed.copy_(self.embed)
        out.dtype, out.block = self.dtype, self.block
        return out.to(self.embed.device)

    def tensors(self):
        """The weights under their Hugging Face names, float32 on the CPU."""
        out = {"model.embed_tokens.weight": self.embed, "model.norm.weight": self.final_norm}
        for i in range(self.shape.num_hidden_layers):
            prefix = f"model.layers.{i}."
            for name in LINEARS:
                part = "self_attn" if name in "qkvo" else "mlp"
                out[f"{prefix}{part}.{name}_proj.weight"] = self.linear[name][i]
            out[prefix + "input_layernorm.weight"] = self.norms[i, 0]
            out[prefix + "post_attention_layernorm.weight"] = self.norms[i, 1]
        return {k: v.detach().float().cpu().contiguous().clone() for k, v in out.items()}
