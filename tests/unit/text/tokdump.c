/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* tokdump MODEL FLAGS: for comparison with other tokenizers. Reads texts as lines of hexadecimal
 * bytes; prints the ids of each on a line, then the hexadecimal bytes they decode to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/gguf.h"
#include "core/text/tokenizer.h"

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t unhex(char *line)
{
    size_t n = 0;
    while (digit(line[2 * n]) >= 0 && digit(line[2 * n + 1]) >= 0) {
        line[n] = (char)(digit(line[2 * n]) << 4 | digit(line[2 * n + 1]));
        n++;
    }
    return n;
}

static int dump(const struct q35_tokenizer *t, uint32_t flags, const char *text, size_t len)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_detok d = {{0}, 0, false};
    struct q35_str out = {0};
    int32_t *ids;
    size_t n, i;
    if (q35_tokenizer_encode(t, text, len, flags, &ids, &n, &err)) {
        fprintf(stderr, "tokdump: %s\n", err.message);
        return 1;
    }
    for (i = 0; i < n; i++) {
        printf(i ? " %d" : "%d", ids[i]);
        q35_detok_push(&d, t, ids[i], &out);
    }
    q35_detok_finish(&d, &out);
    printf("\n");
    for (i = 0; i < out.len; i++)
        printf("%02x", (unsigned char)out.data[i]);
    printf("\n");
    q35_str_fini(&out);
    free(ids);
    return 0;
}

int main(int argc, char **argv)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t = NULL;
    struct q35_gguf *g = NULL;
    char *line = NULL;
    size_t cap = 0;
    enum q35_status s;
    int rc = 0;
    if (argc != 3)
        return 2;
    if (strlen(argv[1]) > 5 && strcmp(argv[1] + strlen(argv[1]) - 5, ".gguf") == 0) {
        s = q35_gguf_open(&g, argv[1], &err);
        if (!s)
            s = q35_tokenizer_from_gguf(&t, g, &err);
    } else {
        s = q35_tokenizer_from_dir(&t, argv[1], &err);
    }
    q35_gguf_close(g);
    if (s) {
        fprintf(stderr, "tokdump: %s\n", err.message);
        return 1;
    }
    while (!rc && getline(&line, &cap, stdin) >= 0)
        rc = dump(t, (uint32_t)atoi(argv[2]), line, unhex(line));
    free(line);
    q35_tokenizer_destroy(t);
    return rc;
}
