/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/load.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "backends/reference/soft.h"
#include "core/plugin/isolate.h"

/* dlerror repeats the path, which messages name already. */
static const char *why(const char *path)
{
    const char *text = dlerror();
    size_t n = strlen(path);
    if (!text)
        return "unknown reason";
    if (strncmp(text, path, n) == 0 && strncmp(text + n, ": ", 2) == 0)
        return text + n + 2;
    return text;
}

static void drop(struct q35_plugin_entry *p)
{
    q35_soft_unlend(&p->host);
    if (p->handle)
        dlclose(p->handle);
    p->handle = NULL;
    memset(&p->api, 0, sizeof(p->api));
}

static enum q35_status load_and_adopt(struct q35_plugin_entry *p, const char *path,
                                      struct q35_error *err)
{
    q35_plugin_query_fn query;
    void *symbol;
    p->options.size = (uint32_t)sizeof(p->options);
    p->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!p->handle)
        return q35_fail(err, Q35_E_PLUGIN, "cannot be loaded: %s", why(path));
    symbol = dlsym(p->handle, Q35_PLUGIN_SYMBOL);
    if (!symbol)
        return q35_fail(err, Q35_E_PLUGIN, "does not export " Q35_PLUGIN_SYMBOL);
    memcpy(&query, &symbol, sizeof(query)); /* ISO C has no cast for this */
    return q35_plugin_adopt(p, query, err);
}

enum q35_status q35_plugin_load(struct q35_plugin_entry *p, const char *path, struct q35_error *err)
{
    bool had_path = p->path != NULL;
    if (!had_path && !(p->path = strdup(path)))
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    p->status = load_and_adopt(p, path, err);
    if (p->status == Q35_OK)
        return Q35_OK;
    drop(p);
    if (!had_path) {
        free(p->path);
        p->path = NULL;
    }
    return p->status;
}

void q35_plugin_unload(struct q35_plugin_entry *p)
{
    q35_isolate_unload(p);
    drop(p);
    free(p->path);
    p->path = NULL;
}
