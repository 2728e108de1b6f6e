/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "template_files.h" /* made from plugins/template: template_files[] */
#include "tools/q35/cli.h"

static const char word[] = "template";

static bool name_ok(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n < 32 && s[0] >= 'a' && s[0] <= 'z' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* The text with every `template` replaced by name. */
static void rename_in(struct q35_str *out, const char *text, const char *name)
{
    const char *at;
    while ((at = strstr(text, word))) {
        q35_str_add(out, text, (size_t)(at - text));
        q35_str_addz(out, name);
        text = at + strlen(word);
    }
    q35_str_addz(out, text);
}

static enum q35_status write_file(const char *dir, const char *name, const char *file,
                                  const char *const *lines, struct q35_error *err)
{
    struct q35_str path = {0}, body = {0};
    enum q35_status st = Q35_OK;
    FILE *f;

    q35_str_addf(&path, "%s/", dir);
    rename_in(&path, file, name);
    for (; *lines; lines++)
        rename_in(&body, *lines, name);
    if (path.failed || body.failed) {
        st = q35_fail(err, Q35_E_NOMEM, "no memory for %s", file);
    } else {
        f = fopen(path.data, "wxe"); /* never over an existing file */
        if (!f || fwrite(body.data, 1, body.len, f) != body.len)
            st = q35_fail_errno(err, Q35_E_IO, errno, "%s", path.data);
        if (f && fclose(f) && !st)
            st = q35_fail_errno(err, Q35_E_IO, errno, "%s", path.data);
    }
    q35_str_fini(&path);
    q35_str_fini(&body);
    return st;
}

static int run(struct cli *cli)
{
    const char *name = cli_arg(cli, 0), *dir = cli_arg(cli, 1);
    struct q35_error err = Q35_ERROR_INIT;
    size_t i;

    if (!name_ok(name))
        return cli_usage(cli, "a plugin's name is 1 to 31 of a-z, 0-9 and _, a letter first: '%s'",
                         name);
    if (mkdir(dir, 0777) && errno != EEXIST)
        return cli_failf(cli, "%s: %s", dir, strerror(errno));
    for (i = 0; i < Q35_COUNT(template_files); i++)
        if (write_file(dir, name, template_files[i].name, template_files[i].lines, &err))
            return cli_error(cli, &err);
    printf("%s/%s.c is a complete backend. Next:\n"
           "    cd %s\n"
           "    make\n"
           "    q35 verify-plugin ./%s.so\n",
           dir, name, dir, name);
    return CLI_OK;
}

const struct cli_command cmd_new_plugin = {
    .name = "new-plugin",
    .synopsis = "NAME DIR",
    .summary = "start a backend plugin from the template",
    .details = "Writes NAME.c, a Makefile and a meson.build to DIR, which is made if it is not "
               "there. Existing files are never overwritten.",
    .examples = "q35 new-plugin mine mine && make -C mine",
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
