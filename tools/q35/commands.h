/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_COMMANDS_H
#define Q35_TOOLS_COMMANDS_H

/* Every subcommand, in the order of --help. To add one: a line here and its file in meson.build. */

#define Q35_COMMANDS(X)                                                                            \
    X(run)                                                                                         \
    X(convert)                                                                                     \
    X(inspect)                                                                                     \
    X(perplexity)                                                                                  \
    X(plan)                                                                                        \
    X(verify_plugin)                                                                               \
    X(new_plugin)                                                                                  \
    X(devices)                                                                                     \
    X(bench_speed)                                                                                 \
    X(bench_ladder)                                                                                \
    X(bench_accuracy)                                                                              \
    X(completion)

#endif
