/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/isolate_session.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum q35_status iso_take(struct iso_session *s, uint64_t bytes, uint64_t *offset,
                         struct q35_error *err)
{
    struct iso_slot *slot = calloc(1, sizeof(*slot)), **at;
    uint64_t end = 0; /* of the slot before */
    enum q35_status st = Q35_OK;
    if (!slot)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a message to the worker");
    if (bytes > ISO_ARENA_BYTES)
        bytes = ISO_ARENA_BYTES + 1;
    slot->bytes = (bytes + 63) / 64 * 64;
    pthread_mutex_lock(&s->mutex);
    for (at = &s->slots; *at && (*at)->offset - end < slot->bytes; at = &(*at)->next)
        end = (*at)->offset + (*at)->bytes;
    if (ISO_ARENA_BYTES - end < slot->bytes) {
        st = q35_fail(err, Q35_E_CAPACITY, "%llu bytes do not fit into the worker's arena",
                      (unsigned long long)bytes);
        free(slot);
    } else {
        slot->offset = *offset = end;
        slot->next = *at;
        *at = slot;
    }
    pthread_mutex_unlock(&s->mutex);
    return st;
}

static void give_locked(struct iso_session *s, uint64_t offset)
{
    for (struct iso_slot **at = &s->slots; *at; at = &(*at)->next)
        if ((*at)->offset == offset) {
            struct iso_slot *slot = *at;
            *at = slot->next;
            free(slot);
            return;
        }
}

void iso_give(struct iso_session *s, uint64_t offset)
{
    pthread_mutex_lock(&s->mutex);
    give_locked(s, offset);
    pthread_mutex_unlock(&s->mutex);
}

void iso_complete(struct iso_session *s, uint64_t value)
{
    pthread_mutex_lock(&s->mutex);
    for (struct iso_pending **at = &s->pending; *at;) {
        struct iso_pending *p = *at;
        if (p->signal > value) {
            at = &p->next;
            continue;
        }
        if (p->out)
            memcpy(p->out, s->arena + p->out_offset, (size_t)p->out_bytes);
        give_locked(s, p->slot);
        *at = p->next;
        free(p);
    }
    pthread_mutex_unlock(&s->mutex);
}

uint64_t iso_oldest_ns(struct iso_session *s, uint64_t value)
{
    uint64_t now = q35_now_ns(), oldest = 0;
    pthread_mutex_lock(&s->mutex);
    for (const struct iso_pending *p = s->pending; p; p = p->next)
        if (p->signal <= value && now - p->since_ns > oldest)
            oldest = now - p->since_ns;
    pthread_mutex_unlock(&s->mutex);
    return oldest;
}

/* One line of /proc/self/maps: "start-end perms offset major:minor inode   path". The inode's file
 * is opened again by name, and taken only if it is still the same one. */
static int open_mapping(const char *line, uintptr_t data, uint64_t bytes, struct iso_map *map,
                        uint64_t *delta)
{
    unsigned long long start, end, offset, inode;
    char perms[8];
    struct stat st;
    int path = 0, fd;
    if (sscanf(line, "%llx-%llx %7s %llx %*x:%*x %llu %n", &start, &end, perms, &offset, &inode,
               &path) < 5 ||
        data < start || data >= end || bytes > end - data)
        return -1;
    if (perms[0] != 'r' || perms[3] != 's' || !inode || line[path] != '/')
        return -1;
    fd = open(line + path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    /* overlay file systems show another device here; the hash of each tensor is checked anyway */
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_ino != inode ||
        (uint64_t)st.st_size < offset + (data - start) + bytes) {
        close(fd);
        return -1;
    }
    *map = (struct iso_map){.dev = st.st_dev, .ino = inode, .offset = offset, .bytes = end - start};
    *delta = data - start;
    return fd;
}

int iso_mapped_file(const void *data, uint64_t bytes, struct iso_map *map, uint64_t *delta)
{
    FILE *f = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int fd = -1;
    while (f && fd < 0 && (n = getline(&line, &room, f)) > 0) {
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        fd = open_mapping(line, (uintptr_t)data, bytes, map, delta);
    }
    free(line);
    if (f)
        fclose(f);
    return fd;
}
