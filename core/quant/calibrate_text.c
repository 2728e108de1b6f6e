/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/quant/calibrate_internal.h"
#include "core/text/tokenizer.h"

enum { MAX_TEXT = 1 << 30, WINDOW = 512 };

static enum q35_status tokenizer_of(struct q35_tokenizer **t, const struct q35_source *s,
                                    struct q35_error *err)
{
    return q35_source_gguf(s) ? q35_tokenizer_from_gguf(t, q35_source_gguf(s), err)
                              : q35_tokenizer_from_dir(t, q35_source_path(s), err);
}

/* ids[n] as sequences of `window` tokens, each with BOS before it where `bos` is not negative. */
static enum q35_status cut(const int32_t *ids, size_t n, int32_t bos, uint32_t window,
                           struct q35_calib_text *text, struct q35_error *err)
{
    uint32_t room = window - (bos >= 0);
    size_t count = (n + room - 1) / room, i, at;
    text->ids = malloc(sizeof(*text->ids) * count * window);
    text->lengths = malloc(sizeof(*text->lengths) * count);
    if (!text->ids || !text->lengths)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %zu tokens", n);
    text->count = (uint32_t)count;
    text->window = window;
    for (i = at = 0; i < count; i++, at += room) {
        uint32_t some = n - at < room ? (uint32_t)(n - at) : room;
        int32_t *to = text->ids + i * window;
        if (bos >= 0)
            *to++ = bos;
        memcpy(to, ids + at, some * sizeof(*to));
        text->lengths[i] = some + (bos >= 0);
        text->tokens += text->lengths[i];
    }
    return Q35_OK;
}

enum q35_status q35_calib_text_load(struct q35_calib_text *text, const struct q35_source *s,
                                    const char *path, uint32_t most, struct q35_error *err)
{
    uint32_t trained = q35_source_params(s)->context;
    uint32_t window = trained > 1 && trained < WINDOW ? trained : WINDOW;
    struct q35_tokenizer *t = NULL;
    int32_t *ids = NULL, *bos_ids = NULL, bos = -1;
    size_t len, n = 0, bos_n = 0;
    char *data = NULL;
    enum q35_status st = q35_file_read(path, MAX_TEXT, &data, &len, err);
    memset(text, 0, sizeof(*text));
    if (!st)
        st = tokenizer_of(&t, s, err);
    if (!st)
        st = q35_tokenizer_encode(t, data, len, 0, &ids, &n, err);
    if (!st) /* whether the model begins texts with BOS */
        st = q35_tokenizer_encode(t, "", 0, Q35_ENCODE_BOS, &bos_ids, &bos_n, err);
    if (!st && n < 2)
        st = q35_fail(err, Q35_E_INVALID, "%s has too few tokens to calibrate: %zu", path, n);
    if (!st && bos_n && bos_ids[0] == q35_tokenizer_bos(t))
        bos = bos_ids[0];
    if (!st)
        st = cut(ids, most && n > most ? most : n, bos, window, text, err);
    free(data);
    free(ids);
    free(bos_ids);
    q35_tokenizer_destroy(t);
    return st;
}

void q35_calib_text_free(struct q35_calib_text *text)
{
    free(text->ids);
    free(text->lengths);
    memset(text, 0, sizeof(*text));
}
