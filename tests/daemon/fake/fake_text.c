/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/tokenizer.h"
#include "tests/daemon/fake/fake.h"

/* A tokenizer for tests: a token is a byte, so every multi-byte character spans tokens. */

uint32_t q35_tokenizer_vocab(const struct q35_tokenizer *t)
{
    (void)t;
    return FAKE_VOCAB;
}

enum q35_status q35_tokenizer_encode(const struct q35_tokenizer *t, const char *text, size_t len,
                                     uint32_t flags, int32_t **ids, size_t *count,
                                     struct q35_error *err)
{
    size_t i, n = 0;
    (void)t;
    *ids = malloc((len + 1) * sizeof(**ids));
    if (!*ids)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    if (flags & Q35_ENCODE_BOS)
        (*ids)[n++] = FAKE_BOS;
    for (i = 0; i < len; i++)
        (*ids)[n++] = (unsigned char)text[i];
    *count = n;
    return Q35_OK;
}

struct q35_piece q35_tokenizer_piece(const struct q35_tokenizer *t, int32_t id, bool special)
{
    static const char *const names[] = {"<bos>", "<end>", "<user>", "<assistant>"};
    static char bytes[256];
    struct q35_piece p = {"", 0};
    (void)t;
    if (id >= 0 && id < 256) {
        bytes[id] = (char)id;
        p.data = &bytes[id];
        p.len = 1;
    } else if (special && id >= 256 && id < FAKE_VOCAB) {
        p.data = names[id - 256];
        p.len = strlen(p.data);
    }
    return p;
}

bool q35_tokenizer_is_control(const struct q35_tokenizer *t, int32_t id)
{
    (void)t;
    return id >= 256;
}

bool q35_tokenizer_is_end(const struct q35_tokenizer *t, int32_t id)
{
    (void)t;
    return id == FAKE_END;
}

static size_t char_len(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

void q35_detok_push(struct q35_detok *d, const struct q35_tokenizer *t, int32_t id,
                    struct q35_str *out)
{
    struct q35_piece p = q35_tokenizer_piece(t, id, false);
    if (p.len == 0)
        return;
    d->pending[d->pending_len++] = p.data[0];
    if (d->pending_len < char_len((unsigned char)d->pending[0]))
        return;
    q35_str_add(out, d->pending, d->pending_len);
    d->pending_len = 0;
}

void q35_detok_finish(struct q35_detok *d, struct q35_str *out)
{
    if (d->pending_len)
        q35_str_addz(out, "\xef\xbf\xbd");
    d->pending_len = 0;
}

enum q35_status q35_chat_encode(const struct q35_chat *c, const struct q35_tokenizer *t,
                                const struct q35_chat_message *messages, size_t count,
                                bool add_generation_prompt, int32_t **ids, size_t *n_ids,
                                struct q35_error *err)
{
    size_t i, k, n = 0, total = 2;
    (void)c;
    (void)t;
    for (i = 0; i < count; i++)
        total += messages[i].content_len + 1;
    if (strcmp(messages[0].role, "assistant") == 0)
        return q35_fail(err, Q35_E_INVALID, "the template says: assistant must not be first");
    *ids = malloc(total * sizeof(**ids));
    if (!*ids)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    (*ids)[n++] = FAKE_BOS;
    for (i = 0; i < count; i++) {
        (*ids)[n++] = FAKE_USER;
        for (k = 0; k < messages[i].content_len; k++)
            (*ids)[n++] = (unsigned char)messages[i].content[k];
    }
    if (add_generation_prompt)
        (*ids)[n++] = FAKE_ASSISTANT;
    *n_ids = n;
    return Q35_OK;
}
