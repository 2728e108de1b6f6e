/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/config/keys.h"
#include "core/plugin/load.h"

#include <stdlib.h>
#include <string.h>

static bool is_int(const char *s)
{
    uint64_t v = 0;
    s += *s == '-' || *s == '+';
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
        if (v > INT64_MAX)
            return false;
    }
    return true;
}

/* 4096, 64K, 2M, 3G, 1T, also KiB ... */
static bool is_size(const char *s)
{
    size_t n = strspn(s, "0123456789");
    const char *unit = s + n;
    if (n == 0 || n > 19)
        return false;
    if (*unit && strchr("KMGT", *unit))
        unit++;
    return !*unit || strcmp(unit, "iB") == 0 || strcmp(unit, "B") == 0;
}

static enum q35_status check_value(const struct q35_option_spec *spec, const char *value,
                                   struct q35_error *err)
{
    bool unused;
    const char *wanted = NULL;
    if (strcmp(spec->type, "int") == 0)
        wanted = is_int(value) ? NULL : "a whole number";
    else if (strcmp(spec->type, "bool") == 0)
        wanted = q35_parse_bool(value, &unused) ? NULL : "true or false";
    else if (strcmp(spec->type, "size") == 0)
        wanted = is_size(value) ? NULL : "a size such as 4096, 64K or 2G";
    else if (strncmp(spec->type, "enum:", 5) == 0)
        wanted = q35_parse_choice(spec->type + 5, value) ? NULL : spec->type + 5;
    else if (strcmp(spec->type, "string") != 0)
        return q35_fail(err, Q35_E_PLUGIN, "its option %s has the unknown type '%s'", spec->key,
                        spec->type);
    if (!wanted)
        return Q35_OK;
    return q35_fail(err, Q35_E_CONFIG, "%s = %.120s: expected %s", spec->key, value, wanted);
}

static const struct q35_option_spec *spec_at(const struct q35_plugin *api, uint32_t i)
{
    const void *p = (const char *)api->options + (size_t)i * api->option_stride;
    return p;
}

static enum q35_status unknown_option(const struct q35_plugin *api, const char *key,
                                      struct q35_error *err)
{
    uint32_t fixed;
    const struct q35_key *keys = q35_config_backend_keys(&fixed);
    struct q35_nearest near = {0};
    struct q35_str known = {0};
    char hint[96];
    enum q35_status st;
    for (uint32_t i = 0; i < fixed; i++)
        q35_nearest_try(&near, key, keys[i].name);
    q35_nearest_try(&near, key, "isolate");
    for (uint32_t i = 0; i < api->option_count; i++) {
        q35_nearest_try(&near, key, spec_at(api, i)->key);
        q35_str_addf(&known, "%s%s", i ? ", " : "", spec_at(api, i)->key);
    }
    st = q35_fail(err, Q35_E_CONFIG, "unknown option '%s'%s plugin %s has %s", key,
                  near.best ? q35_nearest_text(&near, hint) : ";", api->name,
                  known.data ? known.data : "none");
    q35_str_fini(&known);
    return st;
}

enum q35_status q35_options_check(const struct q35_plugin *api,
                                  const struct q35_config_backend *config, const char *file,
                                  struct q35_error *err)
{
    for (uint32_t s = 0; s < api->option_count; s++)
        if (!spec_at(api, s)->key || !spec_at(api, s)->type)
            return q35_fail(err, Q35_E_PLUGIN, "its option %u has no key or type", s);
    for (uint32_t i = 0; i < config->option_count; i++) {
        const struct q35_kv_pair *o = &config->options[i];
        const struct q35_option_spec *spec = NULL;
        enum q35_status st;
        for (uint32_t s = 0; s < api->option_count && !spec; s++)
            if (strcmp(spec_at(api, s)->key, o->key) == 0)
                spec = spec_at(api, s);
        st = spec ? check_value(spec, o->value, err) : unknown_option(api, o->key, err);
        if (st == Q35_E_CONFIG)
            q35_error_prefix(err, "%s:%d: [backend %s]", file,
                             config->option_lines ? config->option_lines[i] : 0, config->name);
        if (st != Q35_OK)
            return st;
    }
    return Q35_OK;
}
