/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Every number that the generator writes matters: a program with one of them wrong computes
 * something else. Beside it, what holds of the text itself. argv: folder for compiled layers,
 * include folder of the source tree. */

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "backends/groq/mlir/compile.h"
#include "backends/groq/mlir/run.h"
#include "core/verify/model.h"
#include "tests/unit/test.h"

enum { TOKENS = GROQ_TILE_TOKENS, ROUNDS = 6, BLOCKS = 8192, WINDOW = 20, D = 32, HEAD = 16 };
enum { PAGE = 2 * Q35_ATTN_BLOCK * HEAD };

static struct groq_compiler compiler;
static const char *include_folder;

/* ---- which number is tried on which layer, and how it is wrong --------------------------- */

static uint32_t kind_of(uint32_t id)
{
    if (id == GROQ_N_QUANT_MAX || id == GROQ_N_QUANT_FLOOR)
        return Q35_LAYER_HEAD;
    return id >= GROQ_N_CODE_MASK ? Q35_LAYER_EMBED : Q35_LAYER_DECODER;
}

/* Terms that are small where they act need more than an eighth to reach the last bit. */
static const struct {
    uint32_t id;
    double factor;
} factors[] = {
    {GROQ_N_HALF_ROUND, 2.0},    {GROQ_N_EXP_P5, 4.0},   {GROQ_N_ANGLE_PI2_C, 0x1p33},
    {GROQ_N_SIN_5, 0x1p14},      {GROQ_N_SIN_4, 0x1p8},  {GROQ_N_SIN_3, 4.0},
    {GROQ_N_COS_5, 0x1p18},      {GROQ_N_COS_4, 0x1p10}, {GROQ_N_COS_3, 4.0},
    {GROQ_N_ANGLE_PI2_B, 0x1p4},
};
static const struct {
    uint32_t id;
    unsigned long long mask;
} masks[] = {
    {GROQ_N_HALF_OVERFLOW, 0x00800000}, /* what lies above is out of range in any case */
    {GROQ_N_HALF_NORMAL, 0x00800000},
    {GROQ_N_HALF_ADD, 0x1000},
};

static void make_wrong(struct groq_number *n, uint32_t id)
{
    double factor = 1.125;
    unsigned long long mask = 1;
    size_t i;
    for (i = 0; i < sizeof(factors) / sizeof(*factors); i++)
        if (factors[i].id == id)
            factor = factors[i].factor;
    for (i = 0; i < sizeof(masks) / sizeof(*masks); i++)
        if (masks[i].id == id)
            mask = masks[i].mask;
    if (n->kind == 'F')
        n->is.f *= (float)factor;
    else if (n->kind == 'D')
        n->is.d *= factor;
    else
        n->is.u ^= mask;
}

/* ---- a layer of each kind, with inputs that reach every branch ---------------------------- */

struct bench {
    struct vfy_model *m;
    struct groq_layer layer;
    struct groq_program text; /* with the true numbers */
    struct q35_soft_layer_call call;
    float x[ROUNDS][TOKENS][D];
    uint32_t positions[ROUNDS][TOKENS];
    const uint16_t *pages[TOKENS][BLOCKS];
    const uint16_t *const *rows[TOKENS];
    uint16_t pool[TOKENS][2][PAGE], fresh[TOKENS][2][PAGE];
    struct q35_token tokens[TOKENS];
};

static float *scales_of(struct bench *b, uint32_t role)
{
    return (float *)(void *)(b->m->tensors[role].data + Q35_BLOB_TABLES);
}

/* Row scales such that SwiGLU leaves the range of exp, and V reaches all of binary16. */
static void stretch(struct bench *b)
{
    static const float v_scale[] = {1.0f, 3e4f, 1e5f, 2e-5f, 6e-5f, 1e-6f, 3e-7f, 100.0f};
    uint32_t i;
    for (i = 0; i < D; i++)
        scales_of(b, Q35_ROLE_GATE)[i] *= 60.0f;
    for (i = 0; i < HEAD; i++)
        scales_of(b, Q35_ROLE_V)[i] *= v_scale[i % 8];
}

static void fill_inputs(struct bench *b)
{
    struct test_rng r = {7};
    uint32_t i, t, k;
    for (i = 0; i < ROUNDS; i++)
        for (t = 0; t < TOKENS; t++) {
            /* some in steps of 2% around the smallest magnitude that is quantized */
            float tiny = 1e-30f / 316.0f * powf(1.02f, (float)(16 * i + t) - 40.0f);
            for (k = 0; k < D; k++)
                b->x[i][t][k] = b->layer.desc.kind == Q35_LAYER_HEAD && i < ROUNDS - 1
                                    ? (k == 3 ? tiny : 0.0f)
                                    : test_rng_f32(&r) * (t % 4 ? 1.0f : 50.0f);
            b->positions[i][t] = (uint32_t)(test_rng_u64(&r) % (i < 2 ? 100 : BLOCKS * 64));
        }
    for (i = 0; i < sizeof(b->fresh) / 2; i++) { /* all finite halves, subnormal ones too */
        uint64_t v = test_rng_u64(&r);
        (&b->fresh[0][0][0])[i] = (uint16_t)((v & 0x83ff) | (v >> 20) % 18 << 10);
    }
    for (t = 0; t < TOKENS; t++) {
        for (i = 0; i < BLOCKS; i++)
            b->pages[t][i] = b->pool[t][i & 1];
        b->rows[t] = b->pages[t];
        b->tokens[t].id = (int32_t)(t * 3);
    }
}

static struct bench *bench_open(uint32_t kind)
{
    struct vfy_shape s = vfy_shape_small();
    struct bench *b = calloc(1, sizeof(*b));
    uint32_t role;
    assert_non_null(b);
    s.decoders = kind == Q35_LAYER_DECODER;
    s.embed = kind == Q35_LAYER_EMBED;
    s.head = kind == Q35_LAYER_HEAD;
    s.d_model = D;
    s.n_heads = 2;
    s.n_kv_heads = 1;
    s.head_dim = s.rope_dim = HEAD;
    s.d_ffn = D;
    s.vocab = 48;
    s.window = WINDOW;
    s.scheme = s.embed_scheme = Q35_SCHEME_TRELLIS2;
    b->m = vfy_model_create(&s, 11);
    assert_non_null(b->m);
    groq_layer_read(&b->m->layers[0], &b->layer);
    assert_true(groq_mlir_generate(&b->layer, NULL, &b->text));
    if (kind == Q35_LAYER_DECODER)
        stretch(b);
    fill_inputs(b);
    b->call = (struct q35_soft_layer_call){.layer = &b->layer.desc,
                                           .n_tokens = TOKENS,
                                           .token_stride = sizeof(struct q35_token),
                                           .tokens = b->tokens,
                                           .pages = b->rows};
    for (role = 0; role < Q35_ROLE_COUNT; role++)
        if (b->layer.tensors[role].bytes) {
            b->call.tensors[role] = &b->layer.tensors[role];
            b->call.data[role] = b->m->tensors[role].data;
        }
    return b;
}

static void bench_close(struct bench *b)
{
    groq_program_free(&b->text);
    vfy_model_destroy(b->m);
    free(b);
}

/* Everything that a program leaves behind: hidden states, logits, pages and its scratch. */
static uint64_t run_all(struct bench *b, const struct groq_object *o, uint64_t arena_bytes)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct groq_runner r = {0};
    float x[TOKENS][D], logits[TOKENS][48] = {{0}};
    uint64_t hash = 0;
    uint32_t i;
    for (i = 0; i < ROUNDS; i++) {
        groq_runner_fini(&r);
        assert_int_equal(groq_runner_grow(&r, arena_bytes, &err), Q35_OK);
        memcpy(x, b->x[i], sizeof(x));
        memcpy(b->pool, b->fresh, sizeof(b->pool));
        b->call.x = x[0];
        b->call.logits = logits[0];
        b->call.positions = b->positions[i];
        assert_int_equal(groq_run_layer(&r, o->entry, &b->call, &err), Q35_OK);
        hash = q35_mix64(hash + q35_hash_chunk((uint8_t *)x, sizeof(x), 0));
        hash = q35_mix64(hash + q35_hash_chunk((uint8_t *)logits, sizeof(logits), 0));
        hash = q35_mix64(hash + q35_hash_chunk((uint8_t *)b->pool, sizeof(b->pool), 0));
        hash = q35_mix64(hash + q35_hash_chunk(r.arena, r.arena_bytes, 0));
    }
    groq_runner_fini(&r);
    return hash;
}

/* ---- the tests ----------------------------------------------------------------------------- */

static struct bench *benches[Q35_LAYER_HEAD + 1];

struct variant {
    struct groq_object object;
    enum q35_status status;
    struct q35_error err;
};

struct work {
    struct variant all[GROQ_NUMBER_COUNT];
    _Atomic uint32_t next;
};

static void *compile_variants(void *p)
{
    struct work *w = p;
    uint32_t id;
    while ((id = atomic_fetch_add(&w->next, 1)) < GROQ_NUMBER_COUNT) {
        struct groq_number numbers[GROQ_NUMBER_COUNT];
        struct variant *v = &w->all[id];
        struct groq_program text;
        memcpy(numbers, groq_numbers, sizeof(numbers));
        make_wrong(&numbers[id], id);
        v->err = (struct q35_error)Q35_ERROR_INIT;
        v->status = Q35_E_NOMEM;
        if (groq_mlir_generate(&benches[kind_of(id)]->layer, numbers, &text))
            v->status = groq_compile(&compiler, &text, &v->object, &v->err);
        groq_program_free(&text);
    }
    return NULL;
}

static void test_wrong_numbers(void **state)
{
    static struct work w;
    uint64_t right[Q35_LAYER_HEAD + 1] = {0};
    uint32_t kind, id, missed = 0;
    pthread_t other;
    (void)state;
    assert_int_equal(pthread_create(&other, NULL, compile_variants, &w), 0);
    compile_variants(&w);
    pthread_join(other, NULL);
    for (kind = Q35_LAYER_EMBED; kind <= Q35_LAYER_HEAD; kind++) {
        struct bench *b = benches[kind];
        struct q35_error err = Q35_ERROR_INIT;
        struct groq_object o;
        if (groq_compile(&compiler, &b->text, &o, &err))
            fail_msg("%s", err.message);
        right[kind] = run_all(b, &o, b->text.arena_bytes);
        assert_true(run_all(b, &o, b->text.arena_bytes) == right[kind]);
        groq_object_close(&o);
    }
    for (id = 0; id < GROQ_NUMBER_COUNT; id++) {
        struct bench *b = benches[kind_of(id)];
        struct variant *v = &w.all[id];
        if (v->status)
            fail_msg("%s: %s", groq_numbers[id].name, v->err.message);
        if (run_all(b, &v->object, b->text.arena_bytes) == right[kind_of(id)]) {
            print_error("a wrong %s changes nothing\n", groq_numbers[id].name);
            missed++;
        }
        groq_object_close(&v->object);
    }
    assert_int_equal(missed, 0);
}

/* Layers that differ in index, seeds, window and contents are one program; in shape, another. */
static void test_text(void **state)
{
    uint32_t kind, i;
    (void)state;
    for (kind = Q35_LAYER_EMBED; kind <= Q35_LAYER_HEAD; kind++) {
        struct groq_layer l = benches[kind]->layer;
        struct groq_program p;
        l.desc.index += 5;
        l.desc.window = 0;
        for (i = 0; i < Q35_ROLE_COUNT; i++) {
            l.tensors[i].rot_seed += l.tensors[i].bytes ? 3 : 0;
            l.tensors[i].hash++;
        }
        assert_true(groq_mlir_generate(&l, NULL, &p));
        assert_string_equal(p.text, benches[kind]->text.text);
        assert_int_equal(strlen(p.text), p.length);
        groq_program_free(&p);
        l.tensors[kind == Q35_LAYER_HEAD    ? Q35_ROLE_HEAD
                  : kind == Q35_LAYER_EMBED ? Q35_ROLE_TOKEN_EMBED
                                            : Q35_ROLE_Q]
            .scheme = Q35_SCHEME_VQ2;
        assert_true(groq_mlir_generate(&l, NULL, &p));
        assert_string_not_equal(p.text, benches[kind]->text.text);
        groq_program_free(&p);
    }
}

/* Every tile fits, has work to do, and is as large as it may be. */
static void test_tiling(void **state)
{
    struct test_rng r = {3};
    uint32_t i;
    (void)state;
    for (i = 0; i < 200000; i++) {
        uint32_t cols = i & 1 ? 64 : 128;
        uint32_t rows = 16 * (1 + (uint32_t)(test_rng_u64(&r) % (i % 7 ? 256 : Q35_MAX_ROWS / 16)));
        uint32_t most = (Q35_MAX_COLS + 127) / 128 * 128 / cols;
        uint32_t tiles = 1 + (uint32_t)(test_rng_u64(&r) % (i % 5 ? 64 : most));
        struct groq_tile t = groq_tile_choose(rows, tiles, cols), more;
        assert_true(t.rows >= 16 && t.rows % 16 == 0 && t.rows <= rows);
        assert_true(t.k_tiles >= 1 && t.k_tiles <= tiles);
        assert_true(groq_tile_bytes(cols, t) <= GROQ_TILE_BYTES);
        more = t;
        more.rows += 16;
        assert_true(t.rows == rows || groq_tile_bytes(cols, more) > GROQ_TILE_BYTES);
    }
    assert_true(groq_attn_bytes(Q35_SOFT_MAX_HEAD_DIM) <= GROQ_TILE_BYTES);
}

/* True if the literal stands in the text as a token of its own. */
static bool has_token(const char *text, const char *token)
{
    size_t n = strlen(token);
    const char *at = text;
    while ((at = strstr(at, token)) != NULL) {
        unsigned char next = (unsigned char)at[n];
        unsigned char before = at == text ? ' ' : (unsigned char)at[-1];
        if (!isalnum(next) && next != '.' && !isalnum(before) && before != '.')
            return true;
        at++;
    }
    return false;
}

static void append(char **text, const char *name)
{
    char path[4096];
    size_t length = *text ? strlen(*text) : 0;
    FILE *f;
    snprintf(path, sizeof(path), "%s/%s", include_folder, name);
    f = fopen(path, "r");
    assert_non_null(f);
    *text = realloc(*text, length + 200000);
    assert_non_null(*text);
    (*text)[length + fread(*text + length, 1, 199999, f)] = '\0';
    fclose(f);
}

/* The contract's headers have the very same literals, to the last digit and with their signs. Short
 * integers are left to the runs. */
static void test_literals(void **state)
{
    static const struct {
        const char *name, *kind, *text;
    } rows[] = {
#define ROW(name, kind, value) {#name, #kind, #value},
        GROQ_NUMBER_MAP(ROW)
#undef ROW
    };
    char *text = NULL, literal[64];
    uint32_t i, missing = 0;
    (void)state;
    append(&text, "q35/arith.h");
    append(&text, "q35/format.h");
    for (i = 0; i < GROQ_NUMBER_COUNT; i++) {
        bool integer = rows[i].kind[0] == 'U';
        if (integer && strncmp(rows[i].text, "0x", 2) != 0)
            continue;
        snprintf(literal, sizeof(literal), "%s%s", rows[i].text, integer ? "u" : "");
        if (!has_token(text, literal)) {
            print_error("%s: the contract has no %s\n", rows[i].name, literal);
            missing++;
        }
    }
    free(text);
    assert_int_equal(missing, 0);
}

/* A product cut in both directions, of more tokens than a call takes, against the kit's oracle. */
static void cut_product(uint32_t scheme)
{
    enum { N = 21, WIDE = 4736, ROWS = 362, PADDED = 368 };
    struct vfy_shape s = vfy_shape_small();
    struct q35_error err = Q35_ERROR_INIT;
    struct groq_runner r = {0};
    struct groq_object object;
    struct groq_program p;
    struct groq_layer l;
    struct q35_soft_layer_call call = {.layer = &l.desc, .n_tokens = N};
    struct q35_token tokens[N] = {{0}};
    float *x = malloc(N * WIDE * sizeof(*x)), *want = malloc(N * ROWS * sizeof(*want));
    float *got = malloc(N * ROWS * sizeof(*got));
    struct vfy_oracle *o;
    struct vfy_model *m;
    struct groq_tile t;
    struct vfy_rng rng = {5};
    uint32_t i;

    s.decoders = 0;
    s.embed = false;
    s.d_model = WIDE;
    s.vocab = ROWS;
    s.embed_scheme = scheme;
    m = vfy_model_create(&s, 21);
    o = vfy_oracle_create(m, 1);
    groq_layer_read(&m->layers[0], &l);
    t = groq_tile_choose(PADDED, q35_tiles_per_row(scheme, WIDE), q35_tile_cols(scheme));
    assert_true(t.rows < ROWS && PADDED % t.rows && t.k_tiles < q35_tiles_per_row(scheme, WIDE));
    assert_true(groq_mlir_generate(&l, NULL, &p));
    assert_true(p.tile_bytes == groq_tile_bytes(q35_tile_cols(scheme), t));
    if (groq_compile(&compiler, &p, &object, &err))
        fail_msg("%s", err.message);
    for (i = 0; i < N; i++)
        tokens[i] = (struct q35_token){.position = i, .flags = Q35_TOKEN_LOGITS};
    for (i = 0; i < N * WIDE; i++)
        x[i] = vfy_f32(&rng);
    for (i = 0; i < Q35_ROLE_COUNT; i++)
        if (l.tensors[i].bytes) {
            call.tensors[i] = &l.tensors[i];
            call.data[i] = m->tensors[i].data;
        }
    call.x = x;
    call.logits = got;
    assert_true(vfy_oracle_run(o, 0, 1, tokens, N, x, want));
    assert_int_equal(groq_runner_grow(&r, p.arena_bytes, &err), Q35_OK);
    assert_int_equal(groq_run_layer(&r, object.entry, &call, &err), Q35_OK);
    assert_memory_equal(got, want, N * ROWS * sizeof(*got));
    groq_object_close(&object);
    groq_program_free(&p);
    groq_runner_fini(&r);
    vfy_oracle_destroy(o);
    vfy_model_destroy(m);
    free(x);
    free(got);
    free(want);
}

/* Bounds in the text of a HEAD or an EMBED of 128 columns. */
static uint32_t bounds(bool head, uint32_t scheme)
{
    struct vfy_shape s = vfy_shape_small();
    struct groq_program p;
    struct vfy_model *m;
    struct groq_layer l;
    const char *at;
    uint32_t n = 0;
    s.decoders = 0;
    s.head = head;
    s.embed = !head;
    s.embed_scheme = scheme;
    m = vfy_model_create(&s, 1);
    groq_layer_read(&m->layers[0], &l);
    assert_true(groq_mlir_generate(&l, NULL, &p));
    for (at = p.text; (at = strstr(at, "arith.minui")) != NULL; at++)
        n++;
    groq_program_free(&p);
    vfy_model_destroy(m);
    return n;
}

/* Vectorised reads beyond a row give zeros, so results do not show a loop over the last tile of
 * triples that leaves the padded columns; the text does. */
static void test_last_tile(void **state)
{
    (void)state;
    assert_int_equal(bounds(true, Q35_SCHEME_TRIPLE), bounds(true, Q35_SCHEME_TRELLIS) + 1);
    assert_int_equal(bounds(false, Q35_SCHEME_TRIPLE), 1);
}

static void test_cut(void **state)
{
    (void)state;
    cut_product(Q35_SCHEME_TRELLIS2);
    cut_product(Q35_SCHEME_SINGLE);
    cut_product(Q35_SCHEME_TRIPLE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiling),    cmocka_unit_test(test_text),
        cmocka_unit_test(test_literals),  cmocka_unit_test(test_cut),
        cmocka_unit_test(test_last_tile), cmocka_unit_test(test_wrong_numbers)};
    struct q35_kv_pair cache = {"mlir_cache", argc > 1 ? argv[1] : NULL};
    struct q35_options options = {sizeof(options), argc > 1, &cache};
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st;
    uint32_t kind;
    int failed;
    include_folder = argc > 2 ? argv[2] : "include";
    st = groq_compiler_init(&compiler, &options, &err);
    if (st) {
        fprintf(stderr, "%s\n", err.message);
        return st == Q35_E_UNSUPPORTED ? 77 : 1;
    }
    for (kind = Q35_LAYER_EMBED; kind <= Q35_LAYER_HEAD; kind++)
        benches[kind] = bench_open(kind);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (kind = Q35_LAYER_EMBED; kind <= Q35_LAYER_HEAD; kind++)
        bench_close(benches[kind]);
    groq_compiler_fini(&compiler);
    return failed;
}
