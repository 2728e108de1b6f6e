/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_GEN_H
#define Q35_GROQ_MLIR_GEN_H

/* A layer as MLIR: one module of the func, memref, affine, scf, arith, math and vector dialects
 * with one public function @q35_layer that computes what backend.h says, bit for bit as arith.h.
 *
 * The text depends on shapes, schemes and flags of the layer but not on its index, its seeds or its
 * window, so equal layers of a model are one program.
 *
 * @q35_layer, with T the tokens of one call, at most GROQ_TILE_TOKENS:
 *   EMBED    (ids: memref<Txi32>, arena, numbers, TOKEN_EMBED, out: memref<Txd_model xf32>)
 *   DECODER  (x: memref<Txd_model xf32> in place, positions: memref<Txi32>,
 *             pages: memref<TxBxi64>, pool: memref<?xi16>, arena, numbers,
 *             then every role of a decoder layer in the order of enum q35_role)
 *   HEAD     (x: memref<Txd_model xf32>, arena, numbers, OUT_NORM, HEAD, logits: memref<Txvocab
 *             xf32>)
 * pages[t][b] is where in pool, in values, the page of positions 64b .. 64b+63 of token t begins; a
 * page is as in struct q35_attn_args. arena: memref<arena_bytes xi8>, 64-byte aligned, zero at
 * first. numbers: memref<20xi64>, the rotation seeds by role and the window. Packed tensors are
 * their blobs, memref<bytes xi8>; vectors memref<n xf32>; absent ones memref<0xf32>.
 * The function has llvm.emit_c_interface. */

#include <stdbool.h>

#include "numbers.h"
#include "q35/arith.h"
#include "q35/backend.h"
#include "tiling.h"

#define GROQ_MLIR_ENTRY "q35_layer"
#define GROQ_MLIR_NUMBERS (Q35_ROLE_COUNT + 1) /* length of `numbers` */

/* A layer's descriptor, its tensors by role; bytes 0 if absent. */
struct groq_layer {
    struct q35_layer desc;
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
};

struct groq_program {
    char *text; /* zero-terminated; release with groq_program_free */
    uint64_t length;
    uint64_t arena_bytes;
    uint64_t tile_bytes; /* the largest working set of a tile, at most GROQ_TILE_BYTES */
};

/* numbers: [GROQ_NUMBER_COUNT], NULL for the true ones. False without memory. The layer must have
 * been checked (q35_soft_supports). [any] */
bool groq_mlir_generate(const struct groq_layer *layer, const struct groq_number *numbers,
                        struct groq_program *out);
void groq_program_free(struct groq_program *p);

/* Fills *out from a descriptor of the ABI. */
void groq_layer_read(const struct q35_layer *layer, struct groq_layer *out);

/* Makes equal what a program does not depend on: layers with the same bytes are one program. */
void groq_layer_key(struct groq_layer *l);

/* The kind of layer a role belongs to; "embedding", "decoder" or "head". */
uint32_t groq_role_kind(uint32_t role);
const char *groq_kind_name(uint32_t kind);

#endif
