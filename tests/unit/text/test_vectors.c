/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Token ids of published vocabularies: ggml-vocab-*.gguf with .inp (texts) and .out (ids). */
#include <dirent.h>

#include "vocabs.h"

static const char *const separator = "\n__ggml_vocab_test__\n";

static int check_line(const struct q35_tokenizer *t, const char *text, size_t len,
                      const char *expected, const char *file)
{
    struct q35_error err = Q35_ERROR_INIT;
    int32_t *ids;
    size_t n, i;
    int bad = 0;
    if (q35_tokenizer_encode(t, text, len, Q35_ENCODE_SPECIAL, &ids, &n, &err)) {
        print_error("%s: %s\n", file, err.message);
        return 1;
    }
    for (i = 0; i < n && !bad; i++) {
        char *end;
        bad = strtol(expected, &end, 10) != ids[i] || end == expected;
        expected = end;
    }
    bad = bad || *expected;
    if (bad)
        print_error("%s: other tokens for \"%.*s\"\n", file, (int)len, text);
    free(ids);
    return bad;
}

static int check_model(const char *dir, const char *name)
{
    struct q35_error err = Q35_ERROR_INIT;
    char path[2048], *texts = NULL, *lines = NULL, *text, *line;
    struct q35_tokenizer *t = NULL;
    size_t n;
    int bad = 1;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (load_gguf(&t, path, &err))
        goto done;
    snprintf(path, sizeof(path), "%s/%s.inp", dir, name);
    if (q35_file_read(path, 1 << 24, &texts, &n, &err))
        goto done;
    snprintf(path, sizeof(path), "%s/%s.out", dir, name);
    if (q35_file_read(path, 1 << 24, &lines, &n, &err))
        goto done;
    bad = 0;
    for (text = texts, line = lines; text && line;) {
        char *end = strstr(text, separator), *next = strchr(line, '\n');
        if (next)
            *next = '\0';
        bad += check_line(t, text, end ? (size_t)(end - text) : strlen(text), line, name);
        text = end ? end + strlen(separator) : NULL;
        line = next ? next + 1 : NULL;
    }
done:
    if (bad && err.message[0])
        print_error("%s\n", err.message);
    q35_tokenizer_destroy(t);
    free(texts);
    free(lines);
    return bad;
}

int main(void)
{
    const char *shared = getenv("Q35_SHARED");
    char dir[1024];
    struct dirent *e;
    int bad = 0, models = 0;
    DIR *d;
    snprintf(dir, sizeof(dir), "%s/models/tokenizers", shared ? shared : "../shared");
    d = opendir(dir);
    while (d && (e = readdir(d))) {
        size_t n = strlen(e->d_name);
        if (n > 5 && strcmp(e->d_name + n - 5, ".gguf") == 0) {
            bad += check_model(dir, e->d_name);
            models++;
        }
    }
    if (d)
        closedir(d);
    if (models == 0) {
        printf("skipped: no vocabularies in %s (set Q35_SHARED)\n", dir);
        return 77;
    }
    printf("%d vocabularies, %d differences\n", models, bad);
    return bad != 0;
}
