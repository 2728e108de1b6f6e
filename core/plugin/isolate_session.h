/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_ISOLATE_SESSION_H
#define Q35_CORE_ISOLATE_SESSION_H

/* The host's end of one worker process. */

#include "core/plugin/isolate.h"

#include <pthread.h>
#include <sys/types.h>

struct iso_plugin;

/* A piece of the arena in use; kept in order of offset. */
struct iso_slot {
    uint64_t offset, bytes;
    struct iso_slot *next;
};

/* A submit that has not been seen to complete. */
struct iso_pending {
    uint64_t signal;
    uint64_t since_ns;
    void *out; /* the host's, NULL: nothing to copy */
    uint64_t out_offset, out_bytes;
    uint64_t slot;
    struct iso_pending *next;
};

/* How a submit ended that was complete when run_layers returned. */
struct iso_done {
    uint64_t signal; /* 0: none */
    enum q35_status status;
    struct q35_error err;
};
#define ISO_DONE 64 /* as many as backend.h promises to keep */

/* A file that the worker has mapped. */
struct iso_map {
    uint64_t dev, ino, offset, bytes; /* offset and bytes: of the host's mapping */
    uint64_t id;
    struct iso_map *next;
};

/* This is what a proxied device handle points to. */
struct iso_session {
    struct iso_plugin *plugin;
    uint32_t index;
    uint32_t generation; /* of the worker: objects of earlier ones are dead */
    pid_t pid;           /* 0: not running */
    int life, channels[ISO_CHANNELS], arena_fd;
    uint8_t *arena;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t freed;
    bool busy[ISO_CHANNELS];
    bool lost;
    char message[400]; /* why it is lost */
    struct iso_slot *slots;
    struct iso_pending *pending;
    struct iso_map *maps;
    struct iso_done done[ISO_DONE]; /* signal s at s mod ISO_DONE */
};

/* One for each isolated plugin; q35_plugin_entry's `worker`. */
struct iso_plugin {
    struct q35_plugin_entry *entry;
    char *program; /* q35-worker */
    uint64_t hang_ns;
    char *texts; /* of the descriptor */
    struct q35_option_spec *specs;
    struct q35_device_info *infos;
    uint32_t info_count;
    char note[488];
};

enum q35_status iso_session_create(struct iso_session **out, struct iso_plugin *plugin,
                                   uint32_t index, struct q35_error *err);
/* Starts the worker process; with all of the last one's slots and maps forgotten. */
enum q35_status iso_session_start(struct iso_session *s, struct q35_error *err);
/* Ends the worker, by asking first. */
void iso_session_stop(struct iso_session *s);
void iso_session_destroy(struct iso_session *s);

/* Sends a request and waits for the answer, which is returned as the plugin's status with its
 * message in *err; DEVICE_LOST if the worker is gone or takes longer than hang_seconds. fd: to pass
 * along, or -1. [any] */
enum q35_status iso_call(struct iso_session *s, const struct iso_request *request,
                         struct iso_reply *reply, int fd, struct q35_error *err);
/* Kills the worker; later calls say why. Fills err and returns DEVICE_LOST. */
enum q35_status iso_lose(struct iso_session *s, struct q35_error *err, const char *format, ...)
    Q35_PRINTF(3, 4);

/* Takes a piece of the arena, 64-byte aligned. CAPACITY if there is none. [any] */
enum q35_status iso_take(struct iso_session *s, uint64_t bytes, uint64_t *offset,
                         struct q35_error *err);
void iso_give(struct iso_session *s, uint64_t offset);

/* Submits up to `value` have completed: their results are copied to the host's memory. [any] */
void iso_complete(struct iso_session *s, uint64_t value);
/* Age of the oldest submit up to `value`; 0 if there is none. */
uint64_t iso_oldest_ns(struct iso_session *s, uint64_t value);

/* If [data, data + bytes) is part of a shared file mapping: the file, open for reading, and the
 * mapping's place in it. Otherwise -1. */
int iso_mapped_file(const void *data, uint64_t bytes, struct iso_map *map, uint64_t *delta);

/* What buffers, weights and KV handles point to. */
struct iso_object {
    struct iso_session *s;
    uint32_t generation;
    uint64_t id;
};

static inline struct iso_session *session_of(struct q35_device *dev)
{
    return (struct iso_session *)(void *)dev;
}

static inline struct iso_object *object_of(void *handle)
{
    return handle;
}

/* Id of an object if its worker still lives, else 0. */
static inline uint64_t live_id(const struct iso_object *o)
{
    return o && o->generation == o->s->generation ? o->id : 0;
}

/* iso_call for those who need no reply but the status. */
enum q35_status iso_simple_call(struct iso_session *s, const struct iso_request *request,
                                struct q35_error *err);

/* Puts layers into the arena: iso_give(s, request->offset) when the call is done. `more` bytes
 * follow the layers. */
enum q35_status iso_send_layers(struct iso_session *s, const struct q35_layer *layers,
                                uint32_t count, uint32_t stride, uint64_t more,
                                struct iso_request *request, struct q35_error *err);

/* isolate_proxy.c: sets every slot of a device. */
void iso_proxy_fill(struct q35_plugin *api);

/* isolate_measure.c: get_extension for a plugin whose "q35.measure" has these functions, a set of
 * enum iso_measure. */
const void *(*iso_proxy_extension(uint32_t has))(const char *id, uint32_t version);

/* isolate_run.c: those of running. */
enum q35_status iso_proxy_run_layers(struct q35_device *dev, const struct q35_run *run,
                                     struct q35_error *err);
enum q35_status iso_proxy_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                               struct q35_error *err);
enum q35_status iso_proxy_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err);
enum q35_status iso_proxy_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err);

#endif
