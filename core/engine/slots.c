/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/engine/internal.h"

#include <string.h>

/* A shared prefix shorter than this is not worth a fork. */
#define FORK_MIN 32u

static uint32_t pages_for(uint32_t tokens)
{
    return (tokens + Q35_PAGE - 1) / Q35_PAGE;
}

static uint32_t common_prefix(const struct slot *s, const struct q35_request *r)
{
    /* The last prompt token is always computed: its logits are needed. */
    uint32_t max = r->length - 1 < s->length ? r->length - 1 : s->length, n = 0;
    while (n < max && s->tokens[n] == r->tokens[n])
        n++;
    return n;
}

/* Drops the cache of a slot without request. */
static void evict(struct q35_engine *e, uint32_t i)
{
    struct q35_error ignored;
    struct slot *s = &e->slots[i];
    (void)q35_stages_truncate(&e->stages, i, 0, &ignored);
    e->pages_used -= s->pages;
    s->pages = 0;
    s->length = 0;
}

/* The free slot with the longest common prefix; among equals the least recently used. */
static uint32_t best_free(const struct q35_engine *e, const struct q35_request *r, uint32_t *prefix)
{
    uint32_t i, best = UINT32_MAX;
    *prefix = 0;
    for (i = 0; i < e->max_sequences; i++) {
        const struct slot *s = &e->slots[i];
        uint32_t n;
        if (s->request)
            continue;
        n = common_prefix(s, r);
        if (best == UINT32_MAX || n > *prefix ||
            (n == *prefix && s->used_at < e->slots[best].used_at)) {
            best = i;
            *prefix = n;
        }
    }
    return best;
}

static uint32_t best_source(const struct q35_engine *e, const struct q35_request *r,
                            uint32_t *prefix)
{
    uint32_t i, best = UINT32_MAX;
    for (i = 0; i < e->max_sequences; i++) {
        uint32_t n = common_prefix(&e->slots[i], r);
        if (n > *prefix) {
            best = i;
            *prefix = n;
        }
    }
    return best;
}

/* Makes room for `pages` more by dropping caches, oldest first, all but `keep`. */
static bool make_room(struct q35_engine *e, uint32_t pages, uint32_t keep)
{
    while (e->pages_used + pages > e->kv_pages) {
        uint32_t i, oldest = UINT32_MAX;
        for (i = 0; i < e->max_sequences; i++) {
            const struct slot *s = &e->slots[i];
            if (i != keep && !s->request && s->pages &&
                (oldest == UINT32_MAX || s->used_at < e->slots[oldest].used_at))
                oldest = i;
        }
        if (oldest == UINT32_MAX)
            return false;
        evict(e, oldest);
    }
    return true;
}

bool q35_slot_take(struct q35_engine *e, struct q35_request *r)
{
    uint32_t need = pages_for(r->limit), prefix, longer, source, i = best_free(e, r, &prefix);
    struct q35_error ignored;
    struct slot *s;
    if (i == UINT32_MAX)
        return false;
    s = &e->slots[i];
    longer = prefix;
    source = best_source(e, r, &longer);
    if (source != UINT32_MAX && source != i && longer >= prefix + FORK_MIN) {
        prefix = 0;
    } else {
        source = UINT32_MAX;
    }
    if (prefix == 0 && s->pages)
        evict(e, i);
    if (need > s->pages && !make_room(e, need - s->pages, i))
        return false;
    if (source != UINT32_MAX && common_prefix(&e->slots[source], r) >= longer &&
        q35_stages_fork(&e->stages, source, i, longer, &ignored) == Q35_OK) {
        memcpy(s->tokens, r->tokens, longer * sizeof(*s->tokens));
        prefix = longer;
    } else if (q35_stages_truncate(&e->stages, i, prefix, &ignored) != Q35_OK) {
        prefix = 0;
    }
    e->pages_used += need;
    e->pages_used -= s->pages;
    s->pages = need;
    s->length = prefix;
    s->request = r;
    r->slot = i;
    r->done = prefix;
    r->cached = prefix;
    /* A short prompt passes a long one, but only until that has waited for as much as it is longer.
     */
    r->due = e->prompt_done + r->length - prefix;
    return true;
}

void q35_slot_leave(struct q35_engine *e, struct q35_request *r)
{
    struct slot *s = &e->slots[r->slot];
    uint32_t pages = pages_for(s->length);
    struct q35_error ignored;
    if (r->drafted) /* wrong guesses may lie behind, on pages that are given back here */
        (void)q35_stages_truncate(&e->stages, r->slot, s->length, &ignored);
    s->request = NULL;
    s->used_at = q35_now_ns();
    e->pages_used -= s->pages - pages;
    s->pages = pages;
    if (s->length == 0)
        evict(e, r->slot);
}

void q35_slots_forget(struct q35_engine *e)
{
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct slot *s = &e->slots[i];
        s->length = 0;
        if (s->request) {
            s->request->done = 0;
        } else {
            e->pages_used -= s->pages;
            s->pages = 0;
        }
    }
}
