/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "core/serve/auth.h"

#define KEY_FILE_BYTES (1u << 20)
#define KEY_BYTES_MAX 512

static bool digest(const char *key, size_t len, uint8_t out[Q35_KEY_DIGEST])
{
    return EVP_Digest(key, len, out, NULL, EVP_sha256(), NULL) == 1;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool printable(const char *p, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (p[i] < 0x21 || p[i] > 0x7e)
            return false;
    return true;
}

static enum q35_status add_key(struct q35_settings *s, const char *key, size_t len,
                               struct q35_error *err)
{
    uint8_t(*grown)[Q35_KEY_DIGEST] = realloc(s->keys, (s->key_count + 1) * sizeof(*s->keys));
    if (!grown)
        return q35_fail(err, Q35_E_NOMEM, "no memory for API keys");
    s->keys = grown;
    if (!digest(key, len, s->keys[s->key_count]))
        return q35_fail(err, Q35_E_INTERNAL, "SHA-256 is not available");
    s->key_count++;
    return Q35_OK;
}

static enum q35_status add_line(struct q35_settings *s, const char *p, const char *end,
                                const char *path, int line, struct q35_error *err)
{
    while (p < end && is_space(*p))
        p++;
    while (p < end && is_space(end[-1]))
        end--;
    if (p == end || *p == '#')
        return Q35_OK;
    if (end - p > KEY_BYTES_MAX || !printable(p, (size_t)(end - p)))
        return q35_fail(err, Q35_E_CONFIG,
                        "%s:%d: an API key is one word of at most %d printable ASCII characters",
                        path, line, KEY_BYTES_MAX);
    return add_key(s, p, (size_t)(end - p), err);
}

enum q35_status q35_auth_load(struct q35_settings *s, const char *path, struct q35_error *err)
{
    enum q35_status st;
    char *text, *p, *end;
    size_t bytes;
    struct stat info;
    int line = 1;
    st = q35_file_read(path, KEY_FILE_BYTES, &text, &bytes, err);
    if (st != Q35_OK)
        return st;
    if (stat(path, &info) == 0 && (info.st_mode & S_IROTH))
        q35_log(Q35_LOG_WARN, "%s can be read by everybody on this machine", path);
    for (p = text; st == Q35_OK && p < text + bytes; p = end + 1, line++) {
        end = memchr(p, '\n', (size_t)(text + bytes - p));
        if (!end)
            end = text + bytes;
        st = add_line(s, p, end, path, line, err);
    }
    OPENSSL_cleanse(text, bytes);
    free(text);
    if (st == Q35_OK && s->key_count == 0)
        st = q35_fail(err, Q35_E_CONFIG, "%s holds no API key", path);
    return st;
}

static bool key_known(const struct q35_settings *s, const char *key, size_t len)
{
    uint8_t d[Q35_KEY_DIGEST];
    unsigned hits = 0;
    size_t i;
    if (len == 0 || len > KEY_BYTES_MAX || !digest(key, len, d))
        return false;
    for (i = 0; i < s->key_count; i++) /* all of them: the time tells nothing */
        hits += CRYPTO_memcmp(d, s->keys[i], sizeof(d)) == 0;
    return hits != 0;
}

/* "Basic base64(user:key)": the key is the password. */
static bool basic_known(const struct q35_settings *s, const char *text)
{
    unsigned char plain[KEY_BYTES_MAX + 64];
    size_t len = strlen(text);
    int n;
    char *colon;
    bool ok;
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof(plain))
        return false;
    n = EVP_DecodeBlock(plain, (const unsigned char *)text, (int)len);
    if (n < 0)
        return false;
    n -= text[len - 1] == '='; /* DecodeBlock counts the padding as bytes */
    n -= text[len - 2] == '=';
    colon = n > 0 ? memchr(plain, ':', (size_t)n) : NULL;
    ok = colon && key_known(s, colon + 1, (size_t)((char *)plain + n - colon - 1));
    OPENSSL_cleanse(plain, sizeof(plain));
    return ok;
}

bool q35_settings_authorized(const struct q35_settings *s, const char *authorization)
{
    const char *p = authorization;
    if (s->key_count == 0)
        return true;
    if (!p)
        return false;
    if (strncasecmp(p, "Bearer ", 7) == 0) {
        for (p += 7; *p == ' '; p++)
            ;
        return key_known(s, p, strlen(p));
    }
    if (strncasecmp(p, "Basic ", 6) == 0) {
        for (p += 6; *p == ' '; p++)
            ;
        return basic_known(s, p);
    }
    return false;
}
