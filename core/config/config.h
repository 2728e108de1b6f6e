/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_CONFIG_H
#define Q35_CORE_CONFIG_H

/* The INI file. Sections [q35d], [model], [backend NAME] (one or more), [schedule]. Unknown
 * sections and keys, bad values and duplicates are errors that name file and line.
 * configs/reference.ini shows every key with its default. Relative paths (of models, key files,
 * plugin folders, and of plugins when they contain a slash) are relative to the INI's folder, never
 * to the working directory. */

#include "core/base/base.h"
#include "q35/backend.h"

#define Q35_DRAFT_MAX 16u /* most of draft_tokens */

struct q35_config_backend {
    char *name;    /* NAME of the section; unique */
    char *path;    /* "cpu_simd.so" (looked up in plugin_dir) or an absolute path; required */
    int line;      /* of the section, for messages */
    bool required; /* default false: a backend that fails to load is reported and left out */
    bool isolate;  /* isolate = process | none */
    uint32_t hang_seconds; /* with isolate = process: a call may take so long */
    bool require_certificate;
    char *sha256; /* NULL: not checked */
    /* Every other key, passed to the plugin and checked against its option specs after loading. */
    struct q35_kv_pair *options;
    int *option_lines;
    uint32_t option_count;
};

/* [schedule] layers.NAME = 0-39 or layers.NAME:1 = 40-79 (decoder layers of device 0, 1 of NAME;
 * the embedding goes with layer 0, the head with the last). */
struct q35_config_range {
    char *backend;
    uint32_t device;
    uint32_t first, last; /* decoder layers, inclusive */
    int line;
};

struct q35_config {
    char *path; /* as given; "<default>" for a configuration without a file */
    /* [q35d] */
    char *host;               /* "127.0.0.1" */
    uint32_t port;            /* 8035 */
    char *api_key_file;       /* NULL: no keys */
    char *tls_cert, *tls_key; /* PEM; NULL: plain HTTP */
    char *cors_origins;       /* NULL: none */
    uint32_t max_queue, drain_seconds, header_seconds;
    uint32_t body_seconds, idle_seconds, stall_seconds; /* limits on slow clients */
    uint32_t max_connections, max_body_kib;
    char *log_level;
    /* [model] */
    char *model_path; /* relative to the INI's folder */
    char *model_name; /* as /v1/models shows it; default: from the file */
    uint32_t context; /* 0: the model's */
    /* [schedule] */
    char *plugin_dir;   /* folders with ':' between; NULL: see core/plugin/search.h */
    char *objective;    /* "latency" | "throughput" */
    uint32_t max_batch; /* tokens in one run */
    /* A batch on several devices runs in parts of at least so many tokens, so that the devices
     * overlap; 0: one device after the other. */
    uint32_t micro_batch;
    uint32_t max_sequences;
    uint32_t kv_tokens; /* 0: context * max_sequences, but at most 32768 or context if more */
    char *kv_type;      /* "f16" | "int8"; see q35_config_kv_type */
    char *draft;        /* "none" | "lookup"; see q35_config_drafts */
    uint32_t draft_tokens;
    uint32_t probe_seconds;
    struct q35_config_range *ranges;
    uint32_t range_count;
    struct q35_config_backend *backends; /* file order */
    uint32_t backend_count;
};

/* CONFIG with "file:line: ..." in err; NOT_FOUND or IO if the file cannot be read. name: of the
 * text, for messages and relative paths. *out: free with q35_config_free; NULL on failure. */
enum q35_status q35_config_load(struct q35_config **out, const char *path, struct q35_error *err);
enum q35_status q35_config_parse(struct q35_config **out, const char *text, const char *name,
                                 struct q35_error *err);
void q35_config_free(struct q35_config *c);
/* A configuration with one backend, for commands run without -c. backend: a name ("cpu_simd") or
 * the path of a plugin, which contains a slash and is relative to the working directory. */
enum q35_status q35_config_default(struct q35_config **out, const char *backend,
                                   struct q35_error *err);
/* Of the KV caches: enum q35_kv_type. */
static inline uint32_t q35_config_kv_type(const struct q35_config *c)
{
    return c->kv_type && c->kv_type[0] == 'i' ? Q35_KV_INT8 : Q35_KV_F16;
}
/* Tokens guessed ahead in one run at most; 0: none. */
static inline uint32_t q35_config_drafts(const struct q35_config *c)
{
    return c->draft && c->draft[0] == 'l' ? c->draft_tokens : 0;
}
/* A key of [schedule] from elsewhere than the file: CONFIG if the value will not do. */
enum q35_status q35_config_set(struct q35_config *c, const char *key, const char *value,
                               struct q35_error *err);
/* The [backend] section of that name, or NULL. */
const struct q35_config_backend *q35_config_find(const struct q35_config *c, const char *name);
/* Line of an option of a backend, else of its section: for messages. */
int q35_config_option_line(const struct q35_config_backend *b, const char *key);

#endif
