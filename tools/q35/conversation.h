/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_CONVERSATION_H
#define Q35_TOOLS_CONVERSATION_H

/* A conversation on the terminal, for q35 run --chat without a prompt. */

#include "tools/q35/cli.h"
#include "tools/q35/generate.h"

/* The ids of a conversation by the model's own template. UNSUPPORTED if it has none. */
enum q35_status conversation_encode(const struct session *s,
                                    const struct q35_chat_message *messages, size_t count,
                                    int32_t **ids, size_t *n, struct q35_error *err);

/* Reads messages from standard input, one a line, until its end; the answers go to standard output.
 * o->tokens 0: as many as the context holds. Returns the exit status. */
int conversation_run(struct cli *cli, struct session *s, const char *system,
                     const struct generate_options *o);

#endif
