/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "soft_parts.h"

#include <stdlib.h>
#include <string.h>

#include "q35/format.h"
#include "soft.h"
#include "soft_layer.h"

/* ---- chunks of a tensor --------------------------------------------------------------------- */

static enum q35_status insert(struct soft_extents *e, uint32_t at, uint64_t lo, uint64_t hi,
                              struct q35_error *err)
{
    if (e->count == e->cap) {
        uint32_t cap = e->cap ? 2 * e->cap : 4;
        void *grown = realloc(e->list, cap * sizeof(*e->list));
        if (!grown)
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for an upload");
        e->list = grown;
        e->cap = cap;
    }
    memmove(e->list + at + 1, e->list + at, (e->count - at) * sizeof(*e->list));
    e->list[at] = (struct soft_extent){lo, hi};
    e->count++;
    return Q35_OK;
}

static enum q35_status add(struct soft_extents *e, const char *name, uint64_t lo, uint64_t hi,
                           struct q35_error *err)
{
    uint32_t i = e->count;
    bool joins_left, joins_right;

    while (i > 0 && e->list[i - 1].lo >= lo)
        i--; /* i: first extent at or after lo */
    if ((i < e->count && e->list[i].lo < hi) || (i > 0 && e->list[i - 1].hi > lo))
        return q35_soft_fail(err, Q35_E_INVALID, "tensor %s: bytes of %llu .. %llu were put before",
                             name, (unsigned long long)lo, (unsigned long long)hi);
    joins_left = i > 0 && e->list[i - 1].hi == lo;
    joins_right = i < e->count && e->list[i].lo == hi;
    if (!joins_left && !joins_right)
        return insert(e, i, lo, hi, err);
    if (joins_left && joins_right) {
        e->list[i - 1].hi = e->list[i].hi;
        e->count--;
        memmove(e->list + i, e->list + i + 1, (e->count - i) * sizeof(*e->list));
    } else if (joins_left) {
        e->list[i - 1].hi = hi;
    } else {
        e->list[i].lo = lo;
    }
    return Q35_OK;
}

enum q35_status soft_extents_put(struct soft_extents *e, const struct q35_tensor_desc *t,
                                 uint64_t offset, const void *data, uint64_t bytes,
                                 uint32_t lifetime, struct q35_error *err)
{
    const char *name = soft_role_name(t->role);
    if (offset > t->bytes || bytes > t->bytes - offset)
        return q35_soft_fail(err, Q35_E_INVALID, "tensor %s: bytes %llu + %llu of %llu", name,
                             (unsigned long long)offset, (unsigned long long)bytes,
                             (unsigned long long)t->bytes);
    if (offset % 8 || (bytes % 8 && offset + bytes != t->bytes))
        return q35_soft_fail(err, Q35_E_INVALID, "tensor %s: a chunk not at multiples of 8", name);
    if (lifetime == Q35_UNTIL_FREE && (bytes != t->bytes || (uintptr_t)data % Q35_BLOB_ALIGN))
        return q35_soft_fail(err, Q35_E_INVALID,
                             "tensor %s: kept data must be whole and 64-byte aligned", name);
    return bytes ? add(e, name, offset, offset + bytes, err) : Q35_OK;
}

bool soft_extents_whole(const struct soft_extents *e, uint64_t bytes, uint64_t *missing)
{
    *missing = e->count && !e->list[0].lo ? e->list[0].hi : 0;
    return *missing == bytes;
}

/* ---- results of submits --------------------------------------------------------------------- */

void soft_results_add(struct soft_results *r, uint64_t value, const struct q35_error *err)
{
    r->list[r->next] = (struct soft_result){value, *err};
    r->next = (r->next + 1) % SOFT_RESULTS;
}

enum q35_status soft_results_find(const struct soft_results *r, uint64_t value,
                                  struct q35_error *err)
{
    uint32_t i;
    for (i = 0; i < SOFT_RESULTS; i++) {
        const struct q35_error *e = &r->list[i].err;
        if (r->list[i].value != value || !value)
            continue;
        if (err && e->status) {
            uint32_t size = err->size; /* the host's struct may be shorter */
            memcpy(err, e, size < sizeof(*e) ? size : sizeof(*e));
            err->size = size;
        }
        return (enum q35_status)e->status;
    }
    return q35_soft_fail(err, Q35_E_NOT_FOUND, "no submit with value %llu, or too long ago",
                         (unsigned long long)value);
}
