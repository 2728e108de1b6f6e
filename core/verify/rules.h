/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_VERIFY_RULES_H
#define Q35_CORE_VERIFY_RULES_H

/* X(symbol, name, words of backend.h or arith.h). */
#define VFY_RULE_MAP(X)                                                                            \
    X(LOAD, "load", "A plugin is a shared object that exports one function, q35_plugin_query")     \
    X(QUERY_PURE, "query-pure",                                                                    \
      "The call is pure and cheap: it touches no device, starts no thread, allocates nothing")     \
    X(QUERY_MAJOR, "query-major", "Majors must match: NULL if it cannot serve that major")         \
    X(QUERY_MINOR, "query-minor", "Host and plugin both keep to the smaller minor")                \
    X(DESCRIPTOR, "descriptor", "The descriptor is constant and complete")                         \
    X(STRUCT_SIZE, "struct-size",                                                                  \
      "A field is used only if it lies inside size; a longer struct is never an error")            \
    X(OWNERSHIP, "ownership", "Whoever creates destroys")                                          \
    X(LIFETIME, "lifetime",                                                                        \
      "A host pointer is valid during the call unless its field says otherwise")                   \
    X(BOUNDS, "bounds", "A plugin touches only the memory it was given")                           \
    X(READ_ONLY, "read-only", "Memory that is input is not written")                               \
    X(ERROR_FILLED, "error-filled",                                                                \
      "On failure the plugin fills *err: message, radius, native code, layer")                     \
    X(NO_ABORT, "no-abort", "A plugin never aborts, exits or throws")                              \
    X(SIDE_EFFECTS, "side-effects",                                                                \
      "A plugin never writes to stdout, or changes signal handlers, the locale, the rounding "     \
      "mode or the working directory")                                                             \
    X(RETURNS, "returns", "Every call returns, and every submit completes")                        \
    X(THREADS, "threads", "[any] may be called from any thread at any time")                       \
    X(ENUMERATE, "enumerate", "Counts devices; finding none is OK with count 0 and says why")      \
    X(DEVICE_INFO, "device-info", "Fills *info, its size set by the caller")                       \
    X(OPEN, "open", "Opens device index; *out: NULL on failure")                                   \
    X(CLOSE, "close", "Frees everything the device still holds. NULL is fine")                     \
    X(SUPPORTS, "supports", "OK, or UNSUPPORTED and why")                                          \
    X(PLAN, "plan", "What alloc, weights and kv_create will take: exact or above, never below")    \
    X(PLAN_PURE, "plan-pure", "plan allocates nothing")                                            \
    X(BUFFERS, "buffers", "Device memory for hidden states that stay on the device")               \
    X(UPLOAD, "upload", "begin -> put (any order, any chunks at multiples of 8 bytes) -> commit")  \
    X(UPLOAD_COMPLETE, "upload-complete", "commit checks completeness: every byte once")           \
    X(UPLOAD_HASH, "upload-hash", "commit checks every tensor's hash; HASH names layer and role")  \
    X(UNCOMMITTED, "uncommitted", "Before commit succeeds weights cannot be run")                  \
    X(DECODE, "decode", "Decoding of format.h is exact for every class")                           \
    X(PRODUCT, "product", "Matrix products are exact: int32 sums in any order, rescaled once")     \
    X(CLASS, "class", "EXACT is bit-identical to arith.h; CLOSE stays within the bound")           \
    X(BATCH, "batch", "A token's result never depends on the rest of its batch")                   \
    X(REPEAT, "repeat", "The same run gives the same bits")                                        \
    X(KV, "kv", "The plugin owns the storage, the host the sequence ids and their lengths")        \
    X(KV_TRUNCATE, "kv-truncate", "Keeps positions 0 .. length-1 of a sequence; 0 forgets it")     \
    X(KV_FORK, "kv-fork", "dst becomes a copy of src's first positions")                           \
    X(KV_REWRITE, "kv-rewrite",                                                                    \
      "Writing position p discards what was held from p on: a run is retried by submitting again") \
    X(KV_CAPACITY, "kv-capacity", "CAPACITY if the KV is full: then nothing has changed")          \
    X(FEATURES, "features",                                                                        \
      "A device that is asked for what it does not declare answers UNSUPPORTED")                   \
    X(GREEDY, "greedy",                                                                            \
      "Q35_RUN_GREEDY: the id of the greatest logit, the lowest among equals, never of a NaN")     \
    X(INVALID, "invalid-arguments", "What is wrong with the arguments is refused with a status")   \
    X(TIME_ASCENDING, "timeline-ascending", "Submits carry strictly ascending values")             \
    X(TIME_ONCE, "timeline-once",                                                                  \
      "Every submit that returned OK completes exactly once, in submission order")                 \
    X(TIME_ERROR, "timeline-error", "A submit that returned an error never completes")             \
    X(TIME_KEEP, "timeline-keep", "Results of the last 64 submits are kept")                       \
    X(WAIT, "wait", "Waits until value has completed, or TIMEOUT after timeout_ns")                \
    X(CANCEL, "cancel", "Submits end early, with CANCELLED; they still complete")                  \
    X(RESET, "reset", "Makes the device usable again, its handles still to be freed")              \
    X(EXTENSION, "extension",                                                                      \
      "get_extension: a constant table of functions, or NULL; seconds: how long one run takes")    \
    X(LEAK, "leak", "What was created is gone when it was freed: memory, threads, descriptors")

enum vfy_rule {
#define VFY_RULE_ENUM(symbol, name, text) VFY_##symbol,
    VFY_RULE_MAP(VFY_RULE_ENUM)
#undef VFY_RULE_ENUM
        VFY_RULE_COUNT
};

#endif
