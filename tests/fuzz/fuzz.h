/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_FUZZ_H
#define Q35_TESTS_FUZZ_H

/* What libFuzzer targets share. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void check(bool ok)
{
    if (!ok)
        abort();
}

/* A file in a folder of this process; made anew, because rewriting one may wait for the disk. */
static inline void fuzz_write(const char *path, const void *data, size_t size)
{
    FILE *f;
    unlink(path);
    f = fopen(path, "wb");
    check(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

/* The folder, and at the end it is removed with these files. */
static const char *const fuzz_files[8];
static char fuzz_dir[64];

static inline void fuzz_remove(void)
{
    char path[128];
    for (size_t i = 0; i < 8 && fuzz_files[i]; i++) {
        snprintf(path, sizeof(path), "%s/%s", fuzz_dir, fuzz_files[i]);
        unlink(path);
    }
    rmdir(fuzz_dir);
}

static inline const char *fuzz_folder(void)
{
    if (!fuzz_dir[0]) {
        snprintf(fuzz_dir, sizeof(fuzz_dir), "/tmp/q35-fuzz-XXXXXX");
        check(mkdtemp(fuzz_dir) != NULL && atexit(fuzz_remove) == 0);
    }
    return fuzz_dir;
}

/* path[128]: of a file there. */
static inline const char *fuzz_path(char *path, const char *name)
{
    snprintf(path, 128, "%s/%s", fuzz_folder(), name);
    return path;
}

/* For programs that write seeds: into which directory; a seed is its first byte and the rest. */
static const char *fuzz_seed_dir;

static inline void fuzz_seeds_to(const char *dir)
{
    fuzz_seed_dir = dir;
}

static inline void fuzz_seed(const char *name, char kind, const void *data, size_t size)
{
    char path[512], *all = malloc(size + 1);
    check(all != NULL);
    all[0] = kind;
    memcpy(all + 1, data, size);
    snprintf(path, sizeof(path), "%s/%s", fuzz_seed_dir, name);
    fuzz_write(path, all, size + 1);
    free(all);
}

static inline void fuzz_seed_text(const char *name, char kind, const char *text)
{
    fuzz_seed(name, kind, text, strlen(text));
}

/* A tokenizer.json of six tokens. */
#define FUZZ_TOKENIZER                                                                             \
    "{\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":"     \
    "\"BPE\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1,\"b\":2,\"ab\":3,\" \":4},"            \
    "\"merges\":[\"a b\"]}}"

#endif
