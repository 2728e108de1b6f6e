/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/model/model.h"

/* The file: magic and key, then for each record its bytes, their hash, and they themselves. */
static const char magic[8] = "q35work";

struct head {
    char magic[8];
    uint64_t key;
};
struct record {
    uint64_t bytes, hash;
};

struct q35_journal {
    char *path;
    int fd;
    uint64_t at, size; /* behind the last record read or appended; of the file */
    uint64_t count;
};

static bool read_at(const struct q35_journal *j, void *to, uint64_t bytes, uint64_t at)
{
    while (bytes) {
        ssize_t n = pread(j->fd, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* the size said there was more */
        if (n <= 0)
            return false;
        to = (char *)to + n;
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return true;
}

static bool write_at(const struct q35_journal *j, const void *from, uint64_t bytes, uint64_t at)
{
    while (bytes) {
        ssize_t n = pwrite(j->fd, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        from = (const char *)from + n;
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return true;
}

static enum q35_status failed(const struct q35_journal *j, const char *what, struct q35_error *err)
{
    return q35_fail_errno(err, Q35_E_IO, errno, "cannot %s %s", what, j->path);
}

static enum q35_status begin(struct q35_journal *j, uint64_t key, struct q35_error *err)
{
    struct head h = {.key = key}, have;
    struct stat s;
    memcpy(h.magic, magic, sizeof(magic));
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0)
        return q35_fail(err, Q35_E_BUSY, "%s is in use by another process", j->path);
    if (fstat(j->fd, &s) != 0)
        return failed(j, "read", err);
    j->size = (uint64_t)s.st_size;
    j->at = sizeof(h);
    if (j->size == 0) {
        j->size = sizeof(h);
        return write_at(j, &h, sizeof(h), 0) ? Q35_OK : failed(j, "write", err);
    }
    if (!S_ISREG(s.st_mode) || j->size < sizeof(h) || !read_at(j, &have, sizeof(have), 0) ||
        memcmp(have.magic, magic, sizeof(magic)) != 0)
        return q35_fail(err, Q35_E_INVALID, "%s is not what an earlier start left", j->path);
    if (have.key != key)
        return q35_fail(err, Q35_E_INVALID,
                        "%s was left by a start with another model, text or options; repeat those, "
                        "or delete it to begin anew",
                        j->path);
    return Q35_OK;
}

enum q35_status q35_journal_open(struct q35_journal **out, const char *path, uint64_t key,
                                 struct q35_error *err)
{
    struct q35_journal *j = calloc(1, sizeof(*j));
    enum q35_status st;
    *out = NULL;
    if (!j || !(j->path = strdup(path))) {
        free(j);
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", path);
    }
    j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    st = j->fd < 0 ? failed(j, "open", err) : begin(j, key, err);
    if (st) {
        q35_journal_close(j);
        return st;
    }
    *out = j;
    return Q35_OK;
}

void q35_journal_close(struct q35_journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    free(j->path);
    free(j);
}

void q35_journal_remove(struct q35_journal *j)
{
    if (j)
        unlink(j->path);
    q35_journal_close(j);
}

enum q35_status q35_journal_read(struct q35_journal *j, uint8_t **data, uint64_t *bytes,
                                 struct q35_error *err)
{
    struct record r;
    *data = NULL;
    *bytes = 0;
    if (j->size - j->at < sizeof(r))
        return Q35_OK;
    if (!read_at(j, &r, sizeof(r), j->at))
        return failed(j, "read", err);
    if (r.bytes > j->size - j->at - sizeof(r))
        return Q35_OK;
    *data = malloc(r.bytes ? r.bytes : 1);
    if (!*data)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %llu bytes of %s",
                        (unsigned long long)r.bytes, j->path);
    if (!read_at(j, *data, r.bytes, j->at + sizeof(r))) {
        free(*data);
        *data = NULL;
        return failed(j, "read", err);
    }
    if (q35_hash_data(*data, r.bytes) != r.hash) {
        free(*data);
        *data = NULL;
        return Q35_OK; /* torn: whatever follows was never finished either */
    }
    j->at += sizeof(r) + r.bytes;
    j->count++;
    *bytes = r.bytes;
    return Q35_OK;
}

enum q35_status q35_journal_append(struct q35_journal *j, const void *data, uint64_t bytes,
                                   struct q35_error *err)
{
    struct record r = {bytes, q35_hash_data(data, bytes)};
    if (ftruncate(j->fd, (off_t)j->at) != 0 || !write_at(j, &r, sizeof(r), j->at) ||
        !write_at(j, data, bytes, j->at + sizeof(r)) || fdatasync(j->fd) != 0)
        return failed(j, "write", err);
    j->at += sizeof(r) + bytes;
    j->size = j->at;
    j->count++;
    return Q35_OK;
}

uint64_t q35_journal_count(const struct q35_journal *j)
{
    return j->count;
}

const char *q35_journal_path(const struct q35_journal *j)
{
    return j->path;
}
