/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* chatdump MODEL TEMPLATE GENERATE [ROLE CONTENT]...: for comparison with other interpreters.
 * Prints the rendered text, or the error message to stderr with status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/gguf.h"
#include "core/text/tokenizer_impl.h"

int main(int argc, char **argv)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_chat_message messages[64];
    struct q35_str text = {0}, trusted = {0};
    struct q35_tokenizer *t = NULL;
    struct q35_gguf *g = NULL;
    struct q35_chat *c = NULL;
    char *source = NULL;
    size_t n = 0, len;
    enum q35_status s;
    int i;
    if (argc < 4)
        return 2;
    for (i = 4; i + 1 < argc && n < 64; i += 2, n++) {
        messages[n].role = argv[i];
        messages[n].content = argv[i + 1];
        messages[n].content_len = strlen(argv[i + 1]);
    }
    s = q35_gguf_open(&g, argv[1], &err);
    if (!s)
        s = q35_tokenizer_from_gguf(&t, g, &err);
    if (!s)
        s = q35_file_read(argv[2], 1 << 20, &source, &len, &err);
    if (!s)
        s = q35_chat_create(&c, source, &err);
    if (!s)
        s = q35_chat_render(c, t, messages, n, atoi(argv[3]), &text, &trusted, &err);
    if (s)
        fprintf(stderr, "%s\n", err.message);
    else
        fwrite(text.data ? text.data : "", 1, text.len, stdout);
    q35_str_fini(&text);
    q35_str_fini(&trusted);
    q35_chat_destroy(c);
    q35_tokenizer_destroy(t);
    q35_gguf_close(g);
    free(source);
    return s ? 1 : 0;
}
