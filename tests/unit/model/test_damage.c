/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <unistd.h>

#include "core/model/gguf.h"
#include "core/model/model.h"
#include "core/model/source.h"
#include "core/quant/convert.h"
#include "fixture.h"

/* Model files cut short and changed: each must be refused with a reason or read without harm; run
 * under ASan and UBSan this is what shows it. */

/* A packed model and how many bytes it has, 64-byte aligned; free() it. */
static uint8_t *packed_file(size_t *bytes)
{
    struct fixture f = fixture_llama();
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    struct q35_error err = Q35_ERROR_INIT;
    uint8_t *data;
    char *text;
    f.tokenizer = true;
    fixture_write_gguf(&f, fixture_path("in.gguf"));
    if (q35_convert(fixture_path("in.gguf"), fixture_path("out.q35.gguf"), &p, NULL, &err) !=
        Q35_OK)
        fail_msg("%s", err.message);
    assert_int_equal(q35_file_read(fixture_path("out.q35.gguf"), 1u << 24, &text, bytes, &err),
                     Q35_OK);
    data = aligned_alloc(64, (*bytes + 63) & ~(size_t)63);
    assert_non_null(data);
    memcpy(data, text, *bytes);
    free(text);
    return data;
}

static void expect(const uint8_t *data, size_t bytes, enum q35_status status, const char *text)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_model *m;
    enum q35_status st = q35_model_open_memory(&m, data, bytes, "damaged", &err);
    if (st != status || (text && !strstr(err.message, text)))
        fail_msg("status %d, '%s'; expected %d, '%s'", st, err.message, status, text);
    q35_model_close(m);
}

/* Where a key's value begins in the file. */
static uint8_t *value_of(uint8_t *data, size_t bytes, const char *key)
{
    uint8_t *at = memmem(data, bytes, key, strlen(key));
    assert_non_null(at);
    return at + strlen(key) + 4;
}

static void packed_damage_is_found(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf *g;
    struct q35_model *m;
    uint8_t *data, *blob, old;
    size_t bytes;
    float nan = NAN;
    (void)state;
    data = packed_file(&bytes);
    expect(data, bytes, Q35_OK, NULL);
    assert_int_equal(q35_gguf_open_memory(&g, data, bytes, "x", &err), Q35_OK);
    blob = (uint8_t *)(uintptr_t)q35_gguf_tensor_find(g, "blk.0.attn_k.weight")->data;

    old = blob[0], blob[0] = 127; /* A0 plus the largest B leaves the range */
    expect(data, bytes, Q35_E_FORMAT, "blk.0.attn_k.weight has tables whose sums leave");
    blob[0] = old;
    old = blob[128], blob[128] = 0x80; /* A1 = -128 */
    expect(data, bytes, Q35_E_FORMAT, "blk.0.attn_k.weight has tables whose sums leave");
    blob[128] = old;
    blob[384] = 1; /* C without a scheme for it */
    expect(data, bytes, Q35_E_FORMAT, "does not use");
    blob[384] = 0;
    memcpy(blob + 512 + 4 * 31, &nan, 4);
    expect(data, bytes, Q35_E_FORMAT, "the scale of row 31 is not finite");
    memset(blob + 512 + 4 * 31, 0, 4);
    expect(data, bytes, Q35_OK, NULL);

    /* A flipped code bit still opens; verifying finds it. */
    assert_int_equal(q35_model_open_memory(&m, data, bytes, "flipped", &err), Q35_OK);
    assert_int_equal(q35_model_verify(m, &err), Q35_E_HASH);
    q35_model_close(m);
    q35_gguf_close(g);

    value_of(data, bytes, "q35.version")[0] = 9;
    expect(data, bytes, Q35_E_VERSION, "version 9");
    value_of(data, bytes, "q35.version")[0] = 1;
    value_of(data, bytes, "llama.block_count")[0] = 3;
    expect(data, bytes, Q35_E_FORMAT, "3 layers are claimed");
    value_of(data, bytes, "llama.block_count")[0] = 1;
    expect(data, bytes, Q35_E_FORMAT, "9 of 21 tensors have no place in 1 layers");
    value_of(data, bytes, "llama.block_count")[2] = 0xff;
    expect(data, bytes, Q35_E_FORMAT, "number of layers");
    value_of(data, bytes, "llama.block_count")[2] = 0;
    value_of(data, bytes, "llama.block_count")[0] = 2;
    value_of(data, bytes, "llama.vocab_size")[0]++;
    expect(data, bytes, Q35_E_FORMAT, "has shape [288, 64], expected [289, 64]");
    value_of(data, bytes, "llama.vocab_size")[0]--;
    value_of(data, bytes, "q35.packed.rot_block")[12] = 64; /* item type, count, first item */
    expect(data, bytes, Q35_E_FORMAT, "rotation blocks of 64, not 128");
    value_of(data, bytes, "q35.packed.rot_block")[12] = 128;
    value_of(data, bytes, "q35.packed.scheme")[12] = 77;
    expect(data, bytes, Q35_E_UNSUPPORTED, "unknown scheme");
    value_of(data, bytes, "q35.packed.scheme")[12] = Q35_SCHEME_TRELLIS & 255;
    expect(data, bytes, Q35_E_UNSUPPORTED, "unknown scheme");
    value_of(data, bytes, "q35.packed.scheme")[12] = Q35_SCHEME_TRIPLE & 255;
    value_of(data, bytes, "q35.packed.scheme")[13] = 3;
    value_of(data, bytes, "q35.packed.scheme")[14] = 1;
    expect(data, bytes, Q35_E_FORMAT, "token_embd.weight is not 17856 bytes");
    value_of(data, bytes, "q35.packed.scheme")[12] = Q35_SCHEME_SINGLE & 255;
    value_of(data, bytes, "q35.packed.scheme")[13] = 1;
    value_of(data, bytes, "q35.packed.scheme")[14] = 0;
    value_of(data, bytes, "q35.rope_style")[0] = 5;
    expect(data, bytes, Q35_E_FORMAT, "rope_style");
    value_of(data, bytes, "q35.rope_style")[0] = 0;
    *(uint8_t *)memmem(data, bytes, "q35.hash.names", 14) = 'x';
    expect(data, bytes, Q35_E_NOT_FOUND, "q35.hash.names");
    free(data);
    assert_int_equal(q35_model_open(&m, fixture_path("in.gguf"), &err), Q35_E_FORMAT);
    assert_non_null(strstr(err.message, "not a packed model"));
}

/* Cut at every byte of its metadata and at some of its data, it never opens and never reads beyond
 * the end; with any byte of the metadata changed it opens or fails. */
static void packed_truncation_and_mutation(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf *g;
    struct q35_model *m;
    uint8_t *data, *cut;
    size_t bytes, meta, n;
    (void)state;
    data = packed_file(&bytes);
    assert_int_equal(q35_gguf_open_memory(&g, data, bytes, "x", &err), Q35_OK);
    meta = (size_t)(q35_gguf_tensor_at(g, 0)->data - data);
    q35_gguf_close(g);
    for (n = 0; n < bytes; n += n < meta ? 1 : 997) {
        cut = aligned_alloc(64, n ? (n + 63) & ~(size_t)63 : 64);
        memcpy(cut, data, n);
        assert_int_not_equal(q35_model_open_memory(&m, cut, n, "cut", &err), Q35_OK);
        assert_null(m);
        free(cut);
    }
    for (n = 0; n < meta; n += 1) {
        uint8_t old = data[n];
        data[n] = (uint8_t)(old ^ (1u << (n % 8)));
        if (q35_model_open_memory(&m, data, bytes, "mutant", &err) == Q35_OK)
            q35_model_close(m);
        data[n] = old;
    }
    expect(data, bytes, Q35_OK, NULL);
    free(data);
}

/* One layer of four values: every byte can be tried. */
static struct fixture tiny(void)
{
    struct fixture f = fixture_llama();
    f.layers = f.heads = f.kv_heads = 1;
    f.d = f.head_dim = f.vocab = 4;
    f.ffn = 2;
    return f;
}

/* ---- damaged sources ---------------------------------------------------------------------- */

/* A new file each time: some file systems wait for the disk when one is cut and written again. */
static void write_cut(const char *path, const char *data, size_t size)
{
    FILE *f;
    unlink(path);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* Rewrites file `path` with its first n bytes, for every n that cuts something off, and opens
 * `model` each time. */
static void cut_file(const char *model, const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_source *s;
    char *text;
    size_t bytes, end, n;
    assert_int_equal(q35_file_read(path, 1u << 24, &text, &bytes, &err), Q35_OK);
    end = bytes - (strstr(path, ".json") ? 1 : 0); /* a JSON text may lack its last newline */
    for (n = 0; n < end; n++) {
        enum q35_status st;
        write_cut(path, text, n);
        st = q35_source_open(&s, model, &err);
        if (st != Q35_E_FORMAT || s)
            fail_msg("%s cut to %zu bytes gives status %d", path, n, st);
    }
    write_cut(path, text, bytes);
    assert_int_equal(q35_source_open(&s, model, &err), Q35_OK);
    q35_source_close(s);
    free(text);
}

static void sources_cut_at_every_byte(void **state)
{
    struct fixture f = tiny();
    char path[320];
    (void)state;
    f.shards = 2;
    fixture_write_gguf(&f, fixture_path("cut.gguf"));
    cut_file(fixture_path("cut.gguf"), fixture_path("cut.gguf"));
    fixture_write_hf(&f, fixture_path("cut"));
    snprintf(path, sizeof(path), "%s/config.json", fixture_path("cut"));
    cut_file(fixture_path("cut"), path);
    snprintf(path, sizeof(path), "%s/model.safetensors.index.json", fixture_path("cut"));
    cut_file(fixture_path("cut"), path);
    snprintf(path, sizeof(path), "%s/model-00001-of-00002.safetensors", fixture_path("cut"));
    cut_file(fixture_path("cut"), path);
}

/* Every byte of a source's metadata changed in one bit: opens or fails, nothing else. */
static void sources_with_flipped_bits(void **state)
{
    struct fixture f = tiny();
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_source *s;
    char *text;
    size_t bytes, n;
    (void)state;
    fixture_write_gguf(&f, fixture_path("flip.gguf"));
    assert_int_equal(q35_file_read(fixture_path("flip.gguf"), 1u << 24, &text, &bytes, &err),
                     Q35_OK);
    for (n = 0; n < 1400; n++) {
        text[n] = (char)(text[n] ^ (1 << (n % 8)));
        write_cut(fixture_path("flip.gguf"), text, bytes);
        if (q35_source_open(&s, fixture_path("flip.gguf"), &err) == Q35_OK)
            q35_source_close(s);
        else
            assert_true(err.message[0] != '\0');
        text[n] = (char)(text[n] ^ (1 << (n % 8)));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_damage_is_found),
        cmocka_unit_test(packed_truncation_and_mutation),
        cmocka_unit_test(sources_cut_at_every_byte),
        cmocka_unit_test(sources_with_flipped_bits),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
