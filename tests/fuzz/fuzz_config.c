/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <sys/mman.h>

#include "core/config/config.h"

/* libFuzzer target for configurations: whatever the bytes, the file is read or refused with its
 * name and, but for what concerns the whole file, a line. */

static const char *const fuzz_files[8];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *c = NULL;
    char path[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (q35_config_load(&c, path, &err) == Q35_OK) {
        if (!c->backend_count || !c->backends[0].path || c->port > 65535 || !c->host)
            abort();
        for (uint32_t i = 0; i < c->range_count; i++)
            if (!q35_config_find(c, c->ranges[i].backend) || c->ranges[i].first > c->ranges[i].last)
                abort();
    } else if (c || err.status != Q35_E_CONFIG || !strstr(err.message, path)) {
        abort();
    }
    q35_config_free(c);
    close(fd);
    return 0;
}
