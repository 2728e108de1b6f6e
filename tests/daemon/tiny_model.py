# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Writes a small LLaMA of random weights as GGUF: bytes for a vocabulary, a chat template."""
import array
import random
import struct

LAYERS, D, FFN, HEADS, KV_HEADS, CONTEXT = 8, 64, 128, 4, 2, 512
TEMPLATE = ("{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
            "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")
TOKENS = (['<unk>', '<s>', '</s>'] + ['<0x%02X>' % i for i in range(256)]
          + ['<|system|>', '<|user|>', '<|assistant|>', '\u2581'] + [chr(c) for c in range(0x21, 0x7f)])
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def kind(token):
    if token == '<unk>':
        return UNKNOWN
    if token.startswith('<0x'):
        return BYTE
    return CONTROL if len(token) > 1 else NORMAL


def text(s):
    data = s.encode()
    return struct.pack('<Q', len(data)) + data


def value(v):
    """A metadata value with its type."""
    if isinstance(v, str):
        return struct.pack('<I', 8) + text(v)
    if isinstance(v, bool):
        return struct.pack('<IB', 7, v)
    if isinstance(v, int):
        return struct.pack('<II', 4, v)
    if isinstance(v, float):
        return struct.pack('<If', 6, v)
    if isinstance(v[0], str):
        return struct.pack('<IIQ', 9, 8, len(v)) + b''.join(map(text, v))
    code, letter = (6, 'f') if isinstance(v[0], float) else (5, 'i')
    return struct.pack('<IIQ', 9, code, len(v)) + struct.pack('<%d%s' % (len(v), letter), *v)


def tensors():
    """(name, rows or 0, columns)"""
    kv = D // HEADS * KV_HEADS
    yield 'token_embd.weight', len(TOKENS), D
    for i in range(LAYERS):
        for name, rows, cols in [('attn_norm', 0, D), ('attn_q', D, D), ('attn_k', kv, D),
                                 ('attn_v', kv, D), ('attn_output', D, D), ('ffn_norm', 0, D),
                                 ('ffn_gate', FFN, D), ('ffn_up', FFN, D), ('ffn_down', D, FFN)]:
            yield 'blk.%d.%s.weight' % (i, name), rows, cols
    yield 'output_norm.weight', 0, D
    yield 'output.weight', len(TOKENS), D


def write(path, seed=1, template=TEMPLATE):
    r = random.Random(seed)
    metadata = {
        'general.architecture': 'llama', 'general.name': 'tiny', 'llama.context_length': CONTEXT,
        'llama.embedding_length': D, 'llama.block_count': LAYERS, 'llama.feed_forward_length': FFN,
        'llama.attention.head_count': HEADS, 'llama.attention.head_count_kv': KV_HEADS,
        'llama.attention.layer_norm_rms_epsilon': 1e-5, 'llama.rope.dimension_count': D // HEADS,
        'llama.rope.freq_base': 10000.0, 'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.tokens': TOKENS, 'tokenizer.ggml.scores': [-float(i) for i in range(len(TOKENS))],
        'tokenizer.ggml.token_type': [kind(t) for t in TOKENS], 'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2, 'tokenizer.ggml.unknown_token_id': 0,
        'tokenizer.ggml.add_bos_token': True,
    }
    if template:
        metadata['tokenizer.chat_template'] = template
    infos, data = b'', b''
    for name, rows, cols in tensors():
        dims = [cols, rows] if rows else [cols]
        infos += text(name) + struct.pack('<I', len(dims)) + struct.pack('<%dQ' % len(dims), *dims)
        infos += struct.pack('<IQ', 0, len(data))
        scale = cols ** -0.5
        weights = [r.gauss(0, 1.5 * scale) for _ in range(rows * cols)] if rows else \
            [1 + 0.1 * r.random() for _ in range(cols)]
        data += array.array('f', weights).tobytes()
        data += bytes(-len(data) % 32)
    head = b'GGUF' + struct.pack('<IQQ', 3, len(list(tensors())), len(metadata))
    head += b''.join(text(k) + value(v) for k, v in metadata.items()) + infos
    with open(path, 'wb') as out:
        out.write(head + bytes(-len(head) % 32) + data)
