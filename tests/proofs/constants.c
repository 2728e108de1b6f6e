/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Prints the constants of the format and the shipped tables as JSON: what the proofs are about. */
#include <limits.h>
#include <stdio.h>

#include "backends/groq/mlir/tiling.h"
#include "core/quant/tables.h"

static void table(const char *name, const void *data, int is_signed)
{
    int i;
    printf("\"%s\": [", name);
    for (i = 0; i < 128; i++)
        printf("%s%d", i ? ", " : "",
               is_signed ? ((const int8_t *)data)[i] : ((const uint8_t *)data)[i]);
    printf("]");
}

int main(void)
{
    uint32_t i;
    printf("{\n");
    printf("\"max_cols\": %u,\n", Q35_MAX_COLS);
    printf("\"w_max\": %d,\n", Q35_W_MAX);
    printf("\"int32_max\": %d,\n", INT32_MAX);
    printf("\"code_bits\": %u,\n", Q35_CODE_BITS);
    printf("\"tile_codes\": %u,\n", Q35_TILE_CODES);
    printf("\"tile_rows\": %u,\n", Q35_TILE_ROWS);
    printf("\"row_bytes\": %u,\n", Q35_ROW_BYTES);
    printf("\"tile_bytes\": %u,\n", Q35_TILE_BYTES);
    printf("\"table_len\": %u,\n", Q35_TABLE_LEN);
    printf("\"col_align\": %u,\n", Q35_COL_ALIGN);
    printf("\"b_step\": %d,\n", Q35_B_STEP);
    printf("\"blob_tables\": %u,\n", Q35_BLOB_TABLES);
    printf("\"lpu_tile_bytes\": %u,\n", GROQ_TILE_BYTES);
    printf("\"lpu_act_bytes\": %u,\n", GROQ_ACT_BYTES);
    printf("\"lpu_tokens\": %u,\n", GROQ_TILE_TOKENS);
    printf("\"schemes\": [\n");
    for (i = 0; i < q35_shipped_tables_count; i++) {
        const struct q35_shipped_tables *s = &q35_shipped_tables_all[i];
        printf("%s{\"id\": %u, \"weights\": %u, ", i ? ",\n" : "", s->scheme & 255u,
               Q35_SCHEME_WEIGHTS(s->scheme));
        table("a0", s->tables.a0, 1);
        printf(", ");
        table("a1", s->tables.a1, 1);
        printf(", ");
        table("b", s->tables.b, 0);
        printf(", ");
        table("a2", s->tables.a2, 1);
        printf("}");
    }
    printf("]\n}\n");
    return 0;
}
