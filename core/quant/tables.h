/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_TABLES_H
#define Q35_CORE_QUANT_TABLES_H

/* The tables shipped for each scheme, trained for Gaussian weights by tools/tables/train_tables.c,
 * which writes tables.c. */

#include "q35/format.h"

struct q35_shipped_tables {
    uint32_t scheme; /* enum q35_scheme */
    float unit;      /* table units per standard deviation: a row's scale is about sigma / unit */
    struct q35_tables tables;
};

extern const struct q35_shipped_tables q35_shipped_tables_all[];
extern const uint32_t q35_shipped_tables_count;

#endif
