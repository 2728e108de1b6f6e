/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/graph/float_matmul.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 64, ROWS = 16, LANES = 16, SMALL = 1 << 19 };

/* ---- threads ---- */

struct q35_float_pool {
    pthread_t threads[MAX_THREADS];
    uint32_t count;   /* with the caller */
    uint32_t started; /* without it */
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    uint64_t round;
    uint32_t inside; /* workers in the round; the caller waits for these only */
    bool open;       /* work is left: who wakes late stays out */
    bool quit;
    q35_float_work work;
    void *user;
    uint32_t items;
    atomic_uint next;
};

struct start {
    struct q35_float_pool *pool;
    uint32_t index;
};

static void drain(struct q35_float_pool *p, uint32_t thread)
{
    for (;;) {
        uint32_t item = atomic_fetch_add(&p->next, 1);
        if (item >= p->items)
            return;
        p->work(p->user, thread, item);
    }
}

static void *worker(void *arg)
{
    struct start s = *(struct start *)arg;
    struct q35_float_pool *p = s.pool;
    uint64_t seen = 0;
    free(arg);
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (p->round == seen && !p->quit)
            pthread_cond_wait(&p->wake, &p->mutex);
        if (p->quit)
            break;
        seen = p->round;
        if (!p->open)
            continue;
        p->inside++;
        pthread_mutex_unlock(&p->mutex);
        drain(p, s.index);
        pthread_mutex_lock(&p->mutex);
        if (--p->inside == 0)
            pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

enum q35_status q35_float_pool_create(struct q35_float_pool **out, uint32_t threads,
                                      struct q35_error *err)
{
    struct q35_float_pool *p = calloc(1, sizeof(*p));
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    *out = NULL;
    if (!p)
        return q35_fail(err, Q35_E_NOMEM, "no memory for threads");
    p->count = threads ? threads : cpus > 0 ? (uint32_t)cpus : 1;
    p->count = p->count > MAX_THREADS ? MAX_THREADS : p->count;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    while (p->started + 1 < p->count) {
        struct start *s = malloc(sizeof(*s));
        if (s) {
            s->pool = p;
            s->index = p->started + 1;
        }
        if (!s || pthread_create(&p->threads[p->started], NULL, worker, s) != 0) {
            free(s);
            q35_float_pool_destroy(p);
            return q35_fail(err, Q35_E_NOMEM, "cannot start a thread");
        }
        p->started++;
    }
    *out = p;
    return Q35_OK;
}

void q35_float_pool_destroy(struct q35_float_pool *p)
{
    uint32_t i;
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->quit = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (i = 0; i < p->started; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

uint32_t q35_float_pool_threads(const struct q35_float_pool *p)
{
    return p->count;
}

void q35_float_pool_run(struct q35_float_pool *p, uint32_t count, q35_float_work work, void *user)
{
    pthread_mutex_lock(&p->mutex);
    p->work = work;
    p->user = user;
    p->items = count;
    atomic_store(&p->next, 0);
    p->open = true;
    p->round++;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    drain(p, 0);
    pthread_mutex_lock(&p->mutex);
    p->open = false;
    while (p->inside)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

/* ---- the product of a few rows ---- */

/* Any alignment; the compiler splits it where registers are shorter. */
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

static inline __attribute__((always_inline)) float sum_lanes(const lanes *v)
{
    float s[LANES];
    int h, i;
    memcpy(s, v, sizeof(s));
    for (h = LANES / 2; h; h /= 2)
        for (i = 0; i < h; i++)
            s[i] += s[i + h];
    return s[0];
}

static inline __attribute__((always_inline)) float tail(const float *w, const float *x,
                                                        uint32_t from, uint32_t cols)
{
    float s = 0.0f;
    for (; from < cols; from++)
        s += w[from] * x[from];
    return s;
}

/* y[t * stride] for 4 tokens from x[4][cols] and one row */
static inline __attribute__((always_inline)) void four(const float *w, const float *x,
                                                       uint32_t cols, float *y, uint32_t stride)
{
    lanes a[4] = {{0}, {0}, {0}, {0}};
    uint32_t k, t;
    for (k = 0; k + LANES <= cols; k += LANES) {
        lanes wk = *(const lanes *)(w + k);
        for (t = 0; t < 4; t++)
            a[t] += wk * *(const lanes *)(x + (size_t)t * cols + k);
    }
    for (t = 0; t < 4; t++)
        y[(size_t)t * stride] = sum_lanes(&a[t]) + tail(w, x + (size_t)t * cols, k, cols);
}

static inline __attribute__((always_inline)) float one(const float *w, const float *x,
                                                       uint32_t cols)
{
    lanes a = {0};
    uint32_t k;
    for (k = 0; k + LANES <= cols; k += LANES)
        a += *(const lanes *)(w + k) * *(const lanes *)(x + k);
    return sum_lanes(&a) + tail(w, x, k, cols);
}

/* w[rows][cols], x[n][cols], y[n][stride] */
static inline __attribute__((always_inline)) void product(const float *w, uint32_t rows,
                                                          uint32_t cols, const float *x, uint32_t n,
                                                          float *y, uint32_t stride)
{
    uint32_t t = 0, r;
    for (; t + 4 <= n; t += 4)
        for (r = 0; r < rows; r++)
            four(w + (size_t)r * cols, x + (size_t)t * cols, cols, y + (size_t)t * stride + r,
                 stride);
    for (; t < n; t++)
        for (r = 0; r < rows; r++)
            y[(size_t)t * stride + r] = one(w + (size_t)r * cols, x + (size_t)t * cols, cols);
}

typedef void (*product_fn)(const float *w, uint32_t rows, uint32_t cols, const float *x, uint32_t n,
                           float *y, uint32_t stride);

static void product_any(const float *w, uint32_t rows, uint32_t cols, const float *x, uint32_t n,
                        float *y, uint32_t stride)
{
    product(w, rows, cols, x, n, y, stride);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void product_avx2(const float *w, uint32_t rows,
                                                         uint32_t cols, const float *x, uint32_t n,
                                                         float *y, uint32_t stride)
{
    product(w, rows, cols, x, n, y, stride);
}

__attribute__((target("avx512f"))) static void product_avx512(const float *w, uint32_t rows,
                                                              uint32_t cols, const float *x,
                                                              uint32_t n, float *y, uint32_t stride)
{
    product(w, rows, cols, x, n, y, stride);
}
#endif

static product_fn best_product(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return product_avx512;
    if (__builtin_cpu_supports("avx2"))
        return product_avx2;
#endif
    return product_any;
}

/* ---- the whole ---- */

struct job {
    const struct q35_source_tensor *w;
    const float *bias, *x;
    float *y, *rows; /* rows[threads][ROWS][cols] */
    uint32_t n;
    product_fn product;
    pthread_mutex_t mutex; /* of what follows */
    enum q35_status status;
    struct q35_error *err;
};

static void some_rows(void *user, uint32_t thread, uint32_t item)
{
    struct job *j = user;
    uint32_t first = item * ROWS, cols = j->w->cols, t, r;
    uint32_t count = j->w->rows - first < ROWS ? j->w->rows - first : ROWS;
    float *rows = j->rows + (size_t)thread * ROWS * cols;
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status s = q35_source_rows(j->w, first, count, rows, &err);
    if (s) {
        pthread_mutex_lock(&j->mutex);
        if (!j->status && j->err)
            *j->err = err;
        j->status = s;
        pthread_mutex_unlock(&j->mutex);
        return;
    }
    j->product(rows, count, cols, j->x, j->n, j->y + first, j->w->rows);
    for (t = 0; t < j->n && j->bias; t++)
        for (r = first; r < first + count; r++)
            j->y[(size_t)t * j->w->rows + r] += j->bias[r];
}

enum q35_status q35_float_matmul(struct q35_float_pool *p, const struct q35_source_tensor *w,
                                 const float *bias, uint32_t n, const float *x, float *y,
                                 struct q35_error *err)
{
    struct job j = {
        .w = w, .bias = bias, .x = x, .y = y, .n = n, .err = err, .product = best_product()};
    uint32_t blocks = (w->rows + ROWS - 1) / ROWS, i;
    j.rows = malloc((size_t)p->count * ROWS * w->cols * sizeof(float));
    if (!j.rows)
        return q35_fail(err, Q35_E_NOMEM, "no memory for rows of %s", w->name);
    pthread_mutex_init(&j.mutex, NULL);
    /* Not worth waking anybody for. */
    if ((uint64_t)w->rows * w->cols * n < SMALL)
        for (i = 0; i < blocks; i++)
            some_rows(&j, 0, i);
    else
        q35_float_pool_run(p, blocks, some_rows, &j);
    pthread_mutex_destroy(&j.mutex);
    free(j.rows);
    return j.status;
}
