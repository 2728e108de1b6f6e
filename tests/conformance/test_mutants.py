#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Seeded bugs in a copy of the reference backend: the kit must catch every one.

usage: test_mutants.py Q35 CC SOURCE_ROOT [NAME ...]
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from mutants import build, changed, survey  # noqa: E402

OPS, ARITH, FORMAT = "ops.c", "arith.h", "format.h"
KV, PAGES = "soft_kv.c", "soft_pages.c"
EXEC, WEIGHTS = "soft_exec.c", "soft_weights.c"
TIME, RUN, IMPL, LAYER = "soft_timeline.c", "soft_run.c", "soft_impl.h", "soft_layer.c"
DEVICE = "soft_device.c"

# (name, file, old text, new text, the check that must fail)
MUTANTS = [
    ("bias-forgotten", OPS, "m->bias ? v + m->bias[r] : v", "v", "layers"),
    ("last-row", OPS, "r < block + Q35_TILE_ROWS && r < m->rows",
     "r < block + Q35_TILE_ROWS && r + 1 < m->rows", "products"),
    ("last-tile-only", OPS, "acc[r][t] += row_dot(", "acc[r][t] = row_dot(", "products"),
    ("first-token-scale", OPS, "m->scales[r], token_scales[t])", "m->scales[r], token_scales[0])",
     "products"),
    ("row-scale-index", OPS, "m->scales[r], token", "m->scales[r - block], token", "products"),
    ("padding-not-zeroed", OPS, "memset(v + cols, 0, (cols_padded - cols) * sizeof(float));",
     "for (uint32_t i = cols; i < cols_padded; i++) v[i] = 1.0f;", "products"),
    ("no-rotation", OPS, "if (rot_block)", "if (0)", "products"),
    ("halves-off-by-one", OPS, "x + i + half;", "x + i + half - (half > 1);", "layers"),
    ("pairs-wrong", OPS, "x + 2 * i : x + i;", "x + i : x + i;", "layers"),
    ("sine-sign", OPS, "cos_sin[half + i]);", "-cos_sin[half + i]);", "layers"),
    ("window-start", OPS, "b == lo / Q35_ATTN_BLOCK ? lo % Q35_ATTN_BLOCK : 0;", "0;", "contexts"),
    ("window-off-by-one", OPS, "hi + 1 - a->window : 0", "hi - a->window : 0", "contexts"),
    ("kv-head-mapping", OPS, "h / group, lo", "h % a->n_kv_heads, lo", "layers"),
    ("no-attention-scale", OPS, "q35_dot(q->q, key, d) * a->scale", "q35_dot(q->q, key, d)", "layers"),
    ("residual-sign", OPS, "x[i] = x[i] + y[i];", "x[i] = x[i] - y[i];", "layers"),
    ("gate-up-swapped", OPS, "q35_silu(gate[i]) * up[i]", "q35_silu(up[i]) * gate[i]", "layers"),
    ("embedding-row", OPS, "row % Q35_TILE_ROWS, w", "(row + 1) % Q35_TILE_ROWS, w", "decode"),
    ("embedding-rotated", OPS, "if (m->rot_block)", "if (0)", "decode"),
    ("dot-without-fma", ARITH, "Q35_FMAF(x[i], y[i], lane[i & 15u])",
     "x[i] * y[i] + lane[i & 15u]", "layers"),
    ("dot-eight-lanes", ARITH, "lane[i & 15u] = Q35_FMAF(x[i], y[i], lane[i & 15u])",
     "lane[i & 7u] = Q35_FMAF(x[i], y[i], lane[i & 7u])", "layers"),
    ("round-half-up", ARITH, "Q35_RINTF(x[i] * inv)", "floorf(x[i] * inv + 0.5f)", "products"),
    ("divide-first", ARITH, "Q35_RINTF(x[i] * inv)", "Q35_RINTF(x[i] / top * 127.0f)", "products"),
    ("rescale-order", ARITH, "(float)acc * (row_scale * token_scale)",
     "(float)acc * row_scale * token_scale", "products"),
    ("exp-coefficient", ARITH, "1.3981999507e-3f", "1.3983e-3f", "contexts"),
    ("f16-truncates", ARITH, "a += 0xc8000fffu + ((a >> 13) & 1u);", "a += 0xc8000000u;", "layers"),
    ("block-lanes", ARITH, "lane[(first + j) & 15u] = lane[(first + j) & 15u] + s[j];",
     "lane[(first + j) >> 2 & 15u] = lane[(first + j) >> 2 & 15u] + s[j];", "contexts"),
    ("merge-without-fma", ARITH, "Q35_FMAF(sb.l, c, st->l * a)", "sb.l * c + st->l * a",
     "contexts"),
    ("merge-maximum", ARITH, "sb.m > st->m ? sb.m : st->m", "sb.m", "contexts"),
    ("angle-in-single", ARITH, "(double)position * (double)inv_freq",
     "(double)((float)position * inv_freq)", "contexts"),
    ("no-tail-biting", FORMAT, "(r + 16u - back) % 16u", "(r < back ? 0 : r - back)", "decode"),
    ("nibbles-swapped", FORMAT, "(int)(b % 16u)", "(int)(b / 16u)", "decode"),
    ("one-row-up", FORMAT, "tile, r, j, 2)", "tile, r, j, 1)", "decode"),
    ("ring-of-one-column", FORMAT, "r < back ? (j + 63u) % 64u : j", "r < back ? j : j", "decode"),
    # Three weights a code.
    ("triple-one-nibble", FORMAT, "return (b / 16u ^ b) % 16u;", "return b % 16u;", "decode"),
    ("triple-first-table", FORMAT, "(int8_t)(t->a2[c] + Q35_B_STEP", "(int8_t)(t->a0[c] + Q35_B_STEP",
     "decode"),
    ("triple-last-tile-whole", OPS, "q35_tile_used(m->scheme, padded, k), q +", "tile_cols, q +",
     "products"),
    ("triple-tiles-rounded-down", FORMAT, "(q35_pad_cols(cols) + (width - 1)) / width",
     "q35_pad_cols(cols) / width", "products"),
    ("triple-refused", LAYER, "!(features & Q35_FEATURE_TRIPLE)", "1", "decode"),
    ("no-copy-on-write", PAGES, "p->refs[table[b]] > 1)", "p->refs[table[b]] > 1000)", "kv"),
    ("copy-too-little", KV, "page_data(kv, from), kv->page_bytes)",
     "page_data(kv, from), kv->page_bytes / 2)", "kv"),
    ("sequence-tag", KV, "uint32_t page = soft_pages_of(&kv->pages, t->sequence)",
     "uint32_t page = soft_pages_of(&kv->pages, soft_token(b, 0)->sequence)", "layers"),
    ("position-in-page", KV, "store_f16(k, v, heads, d, t->position % Q35_ATTN_BLOCK, to);",
     "store_f16(k, v, heads, d, i % Q35_ATTN_BLOCK, to);", "layers"),
    ("fork-whole-blocks", PAGES, "b < soft_pages_blocks(length); b++", "b < length / Q35_ATTN_BLOCK; b++",
     "kv"),
    ("truncate-keeps", PAGES, "page_unref(p, table[b]);\n        table[b] = SOFT_NO_PAGE;\n    }\n}\n\nenum",
     "table[b] = SOFT_NO_PAGE;\n    }\n}\n\nenum", "capacity"),
    ("truncate-keeps-length", PAGES, "        if (lengths[i] > length)\n            lengths[i] = length;\n",
     "", "invalid"),
    ("no-undo", PAGES, "        undo(p);\n", "", "capacity"),
    ("rewrite-keeps-length", PAGES, "if (lengths[l] > p->rows[p->active[i]].start)", "if (0)", None),
    ("gap-allowed", PAGES, "if (p->rows[s].start > held)", "if (0)", "invalid"),
    ("rotation-shared", EXEC, "a->rot_seed == b->rot_seed)", "1)", "layers"),
    ("logits-of-first", EXEC, "s->x + t * d, d *", "s->x + (n - 1) * d, d *", "layers"),
    ("no-embed-scale", EXEC, "x[i] * l->desc.embed_scale", "x[i]", "decode"),
    ("no-k-norm", EXEC, "if (k_norm)", "if (0)", "layers"),
    ("no-residual", EXEC, "o, s->att, h, Q35_SOFT_ADD, s->x", "o, s->att, h, Q35_SOFT_NOTHING, s->x",
     "layers"),
    ("hash-ignored", WEIGHTS, "t->hash != t->desc.hash", "0", "upload-errors"),
    ("gap-ignored", WEIGHTS, "!soft_extents_whole(&t->arrived, t->desc.bytes, &gap)", "0", None),
    ("o-bias-forgotten", WEIGHTS, "return vector(l, Q35_ROLE_O_BIAS);", "return NULL;", "layers"),
    ("k-takes-v-bias", WEIGHTS, "return vector(l, Q35_ROLE_K_BIAS);",
     "return vector(l, Q35_ROLE_V_BIAS);", "layers"),
    ("few-results", "soft_parts.h", "#define SOFT_RESULTS 64u", "#define SOFT_RESULTS 32u", "timeline"),
    ("cancel-reaches-next", TIME, "return value <= atomic_load", "return value <= 1 + atomic_load",
     "cancel"),
    ("any-signal", TIME, "if (value <= t->submitted)", "if (0)", "timeline"),
    ("output-4-short", RUN, "if (have < bytes)", "if (have + 4 < bytes)", "invalid"),
    ("token-id-limit", RUN, "(uint32_t)t->id >= first->desc.vocab",
     "(uint32_t)t->id > first->desc.vocab", "invalid"),
    ("kv-half-planned", RUN, "__builtin_mul_overflow(pages, page_bytes, &own.kv_bytes)",
     "__builtin_mul_overflow(pages / 2, page_bytes, &own.kv_bytes)", "plan"),
    # What only keys and values in int8 show, and what only greedy runs show.
    ("int8-position", KV, "store_int8(b->dev, k, v, heads, d, t->position % Q35_ATTN_BLOCK, to);",
     "store_int8(b->dev, k, v, heads, d, i % Q35_ATTN_BLOCK, to);", "int8-layers"),
    ("int8-value-scale", ARITH, "float p = s[j] * v_scales[j];", "float p = s[j] * v_scales[0];",
     "int8-layers"),
    ("int8-scale-after", ARITH, "Q35_FMAF(p, (float)v[j * stride + d], o[d])",
     "Q35_FMAF(s[j], (float)v[j * stride + d] * v_scales[j], o[d])", "int8-layers"),
    ("int8-score-order", ARITH, "((float)acc * (q_scale * k_scale)) * scale",
     "(((float)acc * q_scale) * k_scale) * scale", "int8-layers"),
    ("int8-scales-of-head-0", OPS, "scales + g * Q35_ATTN_BLOCK + first", "scales + first",
     "int8-layers"),
    ("int8-window-scales", OPS, "scales + g * Q35_ATTN_BLOCK + first",
     "scales + g * Q35_ATTN_BLOCK", "int8-contexts"),
    ("int8-query-not-quantized-again", OPS, "query.scale = q35_quantize(q, d, query.q8);",
     "query.scale = q35_quantize(a->q, d, query.q8);", "int8-layers"),
    ("int8-copy-without-scales", KV, "page_data(kv, from), kv->page_bytes)",
     "page_data(kv, from), kv->page_bytes - (kv->type ? 256 : 0))", "int8-kv"),
    ("int8-offset", WEIGHTS, "l->kv_offset[type] = w->page_bytes[type];",
     "l->kv_offset[type] = w->page_bytes[type] / 64 * (type ? 60 : 64);", "int8-layers"),
    ("int8-plan", LAYER, "kv_type == Q35_KV_INT8 ? q35_kv8_page_bytes(l->n_kv_heads, l->head_dim)",
     "kv_type == Q35_KV_INT8 ? soft_layer_kv_values(l)", "int8-kv"),
    ("any-kv-type", DEVICE, "(type == Q35_KV_INT8 && (dev", "(type >= Q35_KV_INT8 && (dev",
     "int8-kv"),
    ("greedy-last-of-equals", ARITH, "if (x[i] > x[best] ||", "if (x[i] >= x[best] ||", "greedy"),
    ("greedy-nan-stays", ARITH, "|| (x[best] != x[best] && x[i] == x[i]))", ")", "greedy"),
    ("greedy-signed-zeros", ARITH, "if (x[i] > x[best] ||",
     "if (x[i] > x[best] || (x[i] == x[best] && signbit(x[best]) && !signbit(x[i])) ||", "greedy"),
    ("greedy-first-rows", EXEC, "b->ids[at + i] =", "b->ids[i] =", "greedy"),
    ("greedy-of-first-token", EXEC, "b->s->logits + (uint64_t)i * l->desc.vocab",
     "b->s->logits", "greedy"),
    ("any-run-flag", RUN, "if (r->flags & ~(uint32_t)Q35_RUN_GREEDY)", "if (0)", "greedy"),
    ("missing-tensors", LAYER, "roles[role].need == REQUIRED ||", "0 ||", "supports"),
]
# Changes that keep every rule: bytes that never came have no hash either, and a length that is too
# long only matters where a gap would be refused. They show that the kit does not cry wolf.
HARMLESS = [m for m in MUTANTS if not m[4]]
SOURCES = ["ops.c", "soft_device.c", "soft_timeline.c", "soft_layer.c", "soft_weights.c", "soft_kv.c",
           "soft_exec.c", "soft_run.c", "soft_lend.c", "soft_pages.c", "soft_parts.c", "plugin.c"]


class Tree:
    """A copy of the backend and of the public headers."""

    def __init__(self, root, cc, folder):
        self.cc, self.folder = cc, folder
        shutil.copytree(os.path.join(root, "include", "q35"), os.path.join(folder, "include", "q35"))
        shutil.copytree(os.path.join(root, "backends", "reference"), os.path.join(folder, "src"))
        self.objects = {s: self.compile(s, "good") for s in SOURCES}

    def path(self, name):
        inside = ("include", "q35", name) if name in (ARITH, FORMAT) else ("src", name)
        return os.path.join(self.folder, *inside)

    def compile(self, source, kind):
        out = os.path.join(self.folder, kind + "-" + source + ".o")
        build([self.cc, "-std=gnu11", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off",
               "-D_GNU_SOURCE", "-w", "-I", os.path.join(self.folder, "include"), "-c",
               self.path(source), "-o", out])
        return out

    def link(self, name, objects):
        out = os.path.join(self.folder, name + ".so")
        build([self.cc, "-shared", "-o", out] + list(objects.values()) + ["-lm", "-lpthread"])
        return out

    def mutant(self, file, old, new):
        """The plugin with one text replaced."""
        objects = dict(self.objects)
        with changed(self.path(file), old, new):
            for source in [file] if file.endswith(".c") else SOURCES:
                objects[source] = self.compile(source, "mutant")
        return self.link("mutant", objects)


def outcome(q35, plugin, check):
    done = subprocess.run([q35, "verify-plugin", "--quick", "--check", check, plugin],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = done.stdout.splitlines()
    return done.returncode == 1, lines[2].strip() if done.returncode == 1 and len(lines) > 2 else ""


def main():
    q35, cc, root, only = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(root, cc, folder)
        good = tree.link("good", tree.objects)
        for check in sorted({m[4] for m in MUTANTS if m[4]}):
            if not only and outcome(q35, good, check)[0]:
                print("FAIL the unchanged backend, check", check)
                failures += 1
        failures += survey(MUTANTS, lambda file, old, new, check: outcome(
            q35, tree.mutant(file, old, new), check or "kv"), only)
    print(len(MUTANTS) - len(HARMLESS), "seeded bugs,", failures, "failures")
    return 1 if failures else 0


sys.exit(main())
