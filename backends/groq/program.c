/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "program.h"

const char *tsp_op_name(uint32_t op)
{
    static const char *const names[TSP_OP_COUNT] = {
        "?",   "read",  "gather", "write", "load",  "install", "dot",  "emit", "rotate", "and",
        "mul", "shift", "or",     "add",   "float", "fmul",    "fadd", "work", "send",   "receive"};
    return op < TSP_OP_COUNT ? names[op] : "?";
}

const char *tsp_unit_name(uint32_t kind)
{
    static const char *const names[TSP_U_COUNT] = {
        "?",      "memory read", "memory write", "plane load", "plane", "plane output",
        "switch", "ALU",         "link out",     "link in"};
    return kind < TSP_U_COUNT ? names[kind] : "?";
}
