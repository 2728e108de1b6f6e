/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/search.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "core/plugin/paths.h"

#define WORKER "q35-worker"
#define MAX_PARENTS 6

/* Folder of the running program; empty if the system does not tell. */
static void exe_folder(char out[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = '\0';
    if (n > 0)
        *strrchr(out, '/') = '\0';
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

enum q35_status q35_file_trusted(const char *path, struct q35_error *err)
{
    struct stat st, dir, exe;
    char folder[PATH_MAX];
    bool own;
    if (stat(path, &st) != 0)
        return q35_fail_errno(err, Q35_E_NOT_FOUND, errno, "cannot read %s", path);
    if (!S_ISREG(st.st_mode))
        return q35_fail(err, Q35_E_PLUGIN, "%s is not a regular file", path);
    if (st.st_mode & S_IWOTH)
        return q35_fail(err, Q35_E_PLUGIN, "%s can be written by everybody", path);
    snprintf(folder, sizeof(folder), "%s", path);
    if (stat(dirname(folder), &dir) != 0)
        return q35_fail_errno(err, Q35_E_IO, errno, "cannot read the folder of %s", path);
    if ((dir.st_mode & S_IWOTH) && !(dir.st_mode & S_ISVTX))
        return q35_fail(err, Q35_E_PLUGIN, "the folder of %s can be written by everybody", path);
    own = st.st_uid == 0 || st.st_uid == geteuid() ||
          (stat("/proc/self/exe", &exe) == 0 && st.st_uid == exe.st_uid);
    if (!own)
        return q35_fail(err, Q35_E_PLUGIN, "%s belongs to another user (uid %u)", path,
                        (unsigned)st.st_uid);
    return Q35_OK;
}

/* Joins with '/', and remembers in *seen (may be NULL) what was tried. */
static bool try_file(char out[PATH_MAX], struct q35_str *seen, const char *format, ...)
    Q35_PRINTF(3, 4);
static bool try_file(char out[PATH_MAX], struct q35_str *seen, const char *format, ...)
{
    va_list ap;
    int n;
    va_start(ap, format);
    n = vsnprintf(out, PATH_MAX, format, ap);
    va_end(ap);
    if (n >= PATH_MAX)
        return false;
    if (is_file(out))
        return true;
    if (seen)
        q35_str_addf(seen, "%s%s", seen->len ? ", " : "", out);
    return false;
}

/* stem: the name without ".so". */
static bool find_in(char out[PATH_MAX], const char *folders, const char *stem, struct q35_str *seen)
{
    while (*folders) {
        int n = (int)strcspn(folders, ":");
        /* relative folders would mean the working directory */
        if (n && *folders == '/' &&
            (try_file(out, seen, "%.*s/%s.so", n, folders, stem) ||
             try_file(out, NULL, "%.*s/%s/%s.so", n, folders, stem, stem)))
            return true;
        folders += n;
        folders += *folders == ':';
    }
    return false;
}

static bool find_default(char out[PATH_MAX], const char *stem, struct q35_str *seen)
{
    char dir[PATH_MAX];
    exe_folder(dir);
    for (int i = 0; i < MAX_PARENTS && dir[0]; i++, *strrchr(dir, '/') = '\0')
        if (try_file(out, NULL, "%s/backends/%s/%s.so", dir, stem, stem) ||
            try_file(out, NULL, "%s/plugins/%s/%s.so", dir, stem, stem) ||
            try_file(out, NULL, "%s/" Q35_LIBDIR "/q35/%s.so", dir, stem))
            if (q35_file_trusted(out, NULL) == Q35_OK)
                return true;
    return try_file(out, seen, "%s/%s.so", Q35_PLUGIN_DIR, stem);
}

enum q35_status q35_plugin_find(char **out, const char *path, const char *plugin_dir,
                                struct q35_error *err)
{
    char found[PATH_MAX], stem[NAME_MAX + 1];
    struct q35_str seen = {0};
    const char *env = getenv("Q35_PLUGIN_PATH");
    size_t n = strlen(path);
    bool ok;
    *out = NULL;
    if (n == 0 || n > NAME_MAX - 4u) {
        if (!strchr(path, '/'))
            return q35_fail(err, Q35_E_INVALID, "'%.40s' is no name of a plugin", path);
    }
    if (strchr(path, '/')) {
        ok = try_file(found, &seen, "%s", path);
    } else {
        snprintf(stem, sizeof(stem), "%s", path);
        if (n > 3 && strcmp(stem + n - 3, ".so") == 0)
            stem[n - 3] = '\0';
        if (plugin_dir)
            ok = find_in(found, plugin_dir, stem, &seen);
        else if (env && *env)
            ok = find_in(found, env, stem, &seen);
        else
            ok = find_default(found, stem, &seen);
    }
    if (ok && !(*out = realpath(found, NULL)))
        q35_fail_errno(err, Q35_E_IO, errno, "cannot resolve %s", found);
    else if (!ok)
        q35_fail(err, Q35_E_NOT_FOUND, "no such file: %s",
                 seen.data ? seen.data : "plugin_dir names no absolute folder");
    q35_str_fini(&seen);
    return *out ? Q35_OK : ok ? Q35_E_IO : Q35_E_NOT_FOUND;
}

enum q35_status q35_file_sha256(const char *path, char hex[65], struct q35_error *err)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    struct q35_file f;
    enum q35_status st = q35_file_map(&f, path, err);
    int ok;
    if (st != Q35_OK)
        return st;
    ok = EVP_Digest(f.data, (size_t)f.bytes, sum, NULL, EVP_sha256(), NULL);
    q35_file_unmap(&f);
    if (!ok)
        return q35_fail(err, Q35_E_INTERNAL, "SHA-256 of %s failed", path);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return Q35_OK;
}

enum q35_status q35_file_sha256_check(const char *path, const char *expected, struct q35_error *err)
{
    char hex[65];
    enum q35_status st = q35_file_sha256(path, hex, err);
    if (st != Q35_OK)
        return st;
    if (strcmp(hex, expected) != 0)
        return q35_fail(err, Q35_E_HASH, "%s has SHA-256 %s, the configuration wants %s", path, hex,
                        expected);
    return Q35_OK;
}

char *q35_worker_find(void)
{
    char dir[PATH_MAX], out[PATH_MAX];
    exe_folder(dir);
    if (dir[0] && try_file(out, NULL, "%s/" WORKER, dir) && q35_file_trusted(out, NULL) == Q35_OK)
        return strdup(out);
    for (int i = 0; i < MAX_PARENTS && dir[0]; i++, *strrchr(dir, '/') = '\0')
        if (try_file(out, NULL, "%s/tools/worker/" WORKER, dir) ||
            try_file(out, NULL, "%s/" Q35_LIBEXECDIR "/" WORKER, dir))
            if (q35_file_trusted(out, NULL) == Q35_OK)
                return strdup(out);
    return try_file(out, NULL, "%s/" WORKER, Q35_WORKER_DIR) ? strdup(out) : NULL;
}
