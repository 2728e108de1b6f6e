/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_STATUS_H
#define Q35_STATUS_H

/* Status codes and the error record that every call of q35 and of its plugins uses.
 *
 * Rule: whoever detects a failure writes the specifics once into a caller-owned q35_error (which
 * file, line, field, tensor, layer); everybody above only passes the status on. */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, value, text). Values never change and are never reused. Of a plugin's calls: INVALID for
 * arguments that break a rule, NOT_FOUND for what is not there, UNSUPPORTED for what it does not
 * do, CAPACITY for what does not fit on the device, NOMEM for the host's memory, HASH, TIMEOUT and
 * CANCELLED where backend.h says so, DEVICE_LOST if all that was on the device is gone, INTERNAL
 * for the rest. */
#define Q35_STATUS_MAP(X)                                                                          \
    X(OK, 0, "ok")                                                                                 \
    X(E_INVALID, 1, "invalid argument")                                                            \
    X(E_NOMEM, 2, "out of memory")                                                                 \
    X(E_IO, 3, "input/output error")                                                               \
    X(E_FORMAT, 4, "malformed data")                                                               \
    X(E_UNSUPPORTED, 5, "not supported")                                                           \
    X(E_NOT_FOUND, 6, "not found")                                                                 \
    X(E_VERSION, 7, "incompatible version")                                                        \
    X(E_TIMEOUT, 8, "timed out")                                                                   \
    X(E_CANCELLED, 9, "cancelled")                                                                 \
    X(E_BUSY, 10, "busy")                                                                          \
    X(E_CAPACITY, 11, "does not fit")                                                              \
    X(E_HASH, 12, "hash mismatch")                                                                 \
    X(E_DEVICE_LOST, 13, "device lost")                                                            \
    X(E_PLUGIN, 14, "plugin failed")                                                               \
    X(E_CONFIG, 15, "bad configuration")                                                           \
    X(E_INTERNAL, 16, "internal error")

enum q35_status {
#define Q35_STATUS_ENUM(name, value, text) Q35_##name = value,
    Q35_STATUS_MAP(Q35_STATUS_ENUM)
#undef Q35_STATUS_ENUM
};

/* How far a failure reaches. */
enum q35_radius {
    Q35_RADIUS_REQUEST = 0,     /* this call alone; the same device can be used at once */
    Q35_RADIUS_KV = 1,          /* the KV object of the call has lost its contents */
    Q35_RADIUS_DEVICE_LOST = 2, /* everything on this device is gone (with status DEVICE_LOST);
                                   reset() or close() it */
    Q35_RADIUS_PLUGIN = 3       /* the whole plugin is unusable */
};

#define Q35_NO_LAYER (-1)

/* Caller-owned, no pointers: may cross a process boundary as it is. Looked at after a failure (and
 * when enumerate finds nothing): then every field but `size` has been written. */
struct q35_error {
    uint32_t size;       /* sizeof as the caller compiled it; stays as it is */
    int32_t status;      /* enum q35_status: what the call returns */
    int32_t radius;      /* enum q35_radius */
    int32_t layer;       /* q35_layer.index of the layer concerned or Q35_NO_LAYER */
    int64_t native_code; /* errno, CUresult, cl_int ... or 0 */
    char message[488];   /* UTF-8, zero-terminated, one line, no trailing full stop */
};

#define Q35_ERROR_INIT {(uint32_t)sizeof(struct q35_error), 0, 0, Q35_NO_LAYER, 0, {0}}

/* The short English text of a status; "unknown status" for values not listed above. */
static inline const char *q35_status_text(int status)
{
    switch (status) {
#define Q35_STATUS_CASE(name, value, text)                                                         \
    case value:                                                                                    \
        return text;
        Q35_STATUS_MAP(Q35_STATUS_CASE)
#undef Q35_STATUS_CASE
    default:
        return "unknown status";
    }
}

#ifdef __cplusplus
}
#endif
#endif
