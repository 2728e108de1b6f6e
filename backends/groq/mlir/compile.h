/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_COMPILE_H
#define Q35_GROQ_MLIR_COMPILE_H

/* From MLIR to a loaded function, through a cache of shared objects.
 *
 * An object's name is a hash of the MLIR, of the passes, of the target and of the tools (path, size
 * and time of change). Objects are written elsewhere and renamed into place, so any number of
 * processes may share a cache. The folder and the objects must belong to this user (or root) and
 * be writable by nobody else. */

#include "gen.h"
#include "tools.h"

struct groq_compiler {
    struct groq_tools tools;
    char *cache;      /* folder */
    uint32_t seconds; /* a tool may take */
};

/* options: mlir_tools, mlir_cache, mlir_cpu, mlir_timeout. UNSUPPORTED without the tools, CONFIG or
 * IO without a usable cache. */
enum q35_status groq_compiler_init(struct groq_compiler *c, const struct q35_options *options,
                                   struct q35_error *err);
void groq_compiler_fini(struct groq_compiler *c);

struct groq_object {
    void *handle;
    void *entry; /* the C interface of @q35_layer */
};

/* Compiles unless it is in the cache, and loads. [any] */
enum q35_status groq_compile(const struct groq_compiler *c, const struct groq_program *p,
                             struct groq_object *out, struct q35_error *err);
void groq_object_close(struct groq_object *o);

/* Writes the program to DIR/NAME.mlir and, optimised but not lowered, to DIR/NAME.opt.mlir. */
enum q35_status groq_mlir_dump(const struct groq_compiler *c, const struct groq_program *p,
                               const char *dir, const char *name, struct q35_error *err);

/* Writes text to a file that did not exist before or is replaced as a whole. */
enum q35_status groq_write_file(const char *path, const char *text, uint64_t length,
                                struct q35_error *err);

#endif
