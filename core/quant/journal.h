/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_JOURNAL_H
#define Q35_CORE_QUANT_JOURNAL_H

/* A file of records that is only ever appended to, for work that takes hours: what was done before
 * an interruption is read back, then more is added. Each record is on the disk, with its hash,
 * before append returns; a torn one at the end is dropped. */

#include "core/base/base.h"

struct q35_journal;

/* Opens `path` or creates it. key: a hash of all that the records depend on. BUSY if another
 * process has it open; INVALID if it is something else or has another key, and it is left alone. */
enum q35_status q35_journal_open(struct q35_journal **out, const char *path, uint64_t key,
                                 struct q35_error *err);
/* The file stays. NULL is fine. */
void q35_journal_close(struct q35_journal *j);
/* Deletes the file, then closes. */
void q35_journal_remove(struct q35_journal *j);

/* The next record, free() it; *data is NULL when there is none. */
enum q35_status q35_journal_read(struct q35_journal *j, uint8_t **data, uint64_t *bytes,
                                 struct q35_error *err);
/* Only once all records have been read. */
enum q35_status q35_journal_append(struct q35_journal *j, const void *data, uint64_t bytes,
                                   struct q35_error *err);
/* Records read or appended. */
uint64_t q35_journal_count(const struct q35_journal *j);
const char *q35_journal_path(const struct q35_journal *j);

#endif
