/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_TOOLS_H
#define Q35_GROQ_MLIR_TOOLS_H

/* The programs that turn MLIR into native code, and running them. */

#include "q35/backend.h"

enum groq_tool_id {
    GROQ_TOOL_MLIR_OPT,
    GROQ_TOOL_MLIR_TRANSLATE,
    GROQ_TOOL_OPT,
    GROQ_TOOL_LLC,
    GROQ_TOOL_LD,
    GROQ_TOOL_COUNT
};

struct groq_tools {
    char *path[GROQ_TOOL_COUNT]; /* absolute; release with groq_tools_free */
    char target[24];             /* for -mcpu; "" for the default */
};

/* Looks for every tool in `dirs` (absolute folders, colon between; NULL: PATH). UNSUPPORTED names
 * those that are missing, their packages and where they were looked for. The linker may always
 * come from PATH. cpu: -mcpu of LLVM, NULL: the level of this machine. [any] */
enum q35_status groq_tools_find(struct groq_tools *t, const char *dirs, const char *cpu,
                                struct q35_error *err);
void groq_tools_free(struct groq_tools *t);

/* The absolute path of an executable in `dirs` (NULL: PATH), NULL if there is none; free it. */
char *groq_tool_search(const char *name, const char *dirs);

/* Runs argv[0], an absolute path, without input. Its output and errors are kept for err->message
 * if it fails. TIMEOUT after `seconds`: it is killed. [any] */
enum q35_status groq_tool_run(char *const *argv, uint32_t seconds, struct q35_error *err);

#endif
