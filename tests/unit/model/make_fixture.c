/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/model/gguf.h"
#include "fixture.h"

/* make_fixture SIZE FAULT FILE: a GGUF model for the tests of the command line. SIZE is small or
 * large; FAULT none, nan (in the first row of a matrix) or late-nan (in the second of the head).
 */
int main(int argc, char **argv)
{
    struct fixture f = fixture_llama();
    if (argc != 4)
        return 2;
    f.tokenizer = true;
    if (strcmp(argv[1], "large") == 0) {
        f.d = 512;
        f.ffn = 1408;
        f.heads = 8;
        f.kv_heads = 4;
        f.head_dim = 64;
        f.layers = 4;
        f.type = Q35_GGML_BF16;
    }
    if (strcmp(argv[2], "nan") == 0)
        f.bad_value = "blk.1.attn_q.weight";
    if (strcmp(argv[2], "late-nan") == 0) {
        f.bad_value = "output.weight";
        f.bad_at = f.d + 5;
    }
    fixture_write_gguf(&f, argv[3]);
    return 0;
}
