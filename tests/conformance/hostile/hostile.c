/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A good plugin, the software device, with one thing wrong: MODE. Each is its own shared object. */

#include <fenv.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "q35/measure.h"
#include "soft.h"

enum mode {
    NOTHING,           /* good, so that what the others break is only their own */
    CLOSE,             /* good, of class CLOSE, with the extension q35.measure */
    FILLS_CACHES,      /* good, and what it keeps is bounded: a cache that fills up */
    CLOSE_PRODUCT,     /* of class CLOSE, and its products too */
    CLOSE_FAR,         /* of class CLOSE, and not close */
    EXT_ANY,           /* answers every extension */
    EXT_NEGATIVE,      /* a run takes -1 seconds */
    EXT_WRITES,        /* seconds writes two values */
    OWN_STRIDE,        /* steps over tokens by the size that it knows */
    WRONG_MAJOR,       /* the descriptor is of another major */
    ANY_MAJOR,         /* query answers every major */
    CRASH_CONSTRUCTOR, /* dies while being loaded */
    HANG_CONSTRUCTOR,  /* never ends being loaded */
    EXIT_QUERY,        /* ends the process in query */
    THREAD_QUERY,      /* query starts a thread */
    NO_RUN,            /* a slot is missing */
    INFO_SIZE,         /* device_info fills more than the host's struct */
    BAD_INFO,          /* max_batch 0 */
    CRASH_RUN,         /* dies in a run */
    ABORT_ARGUMENT,    /* aborts on a bad argument */
    HANG_RUN,          /* a run never returns */
    NEVER_COMPLETES,   /* a submit that never completes */
    EXIT_CLOSE,        /* ends the process in close */
    LEAK_HEAP,         /* open keeps 100 bytes */
    LEAK_FD,           /* open keeps a descriptor */
    LEAK_THREAD,       /* open keeps a thread */
    PLAN_LIES,         /* plan claims a quarter of the KV */
    PLAN_TAKES_MORE,   /* kv_create takes 100 MiB that plan did not claim */
    PLAN_ALLOCATES,    /* plan keeps memory */
    WRITE_PAST,        /* writes one float behind the output */
    WRITE_BEFORE,      /* writes one float before the output */
    WRITE_INPUT,       /* writes to the tokens */
    KEEPS_POINTER,     /* reads data of a put after the call */
    KEEPS_RUN,         /* reads the struct of a run after the call */
    KEEPS_TOKENS,      /* reads tokens when their run is over */
    LEAK_CLOSE,        /* close forgets what belongs to a KV */
    LATE_RESULTS,      /* results of a submit come when it is waited for itself */
    SORTS_TOKENS,      /* results in the order of sequences, not of the batch */
    WAIT_ANY,          /* waiting for a value that no submit had is fine */
    WRONG_SHAPE,       /* one wrong bit, at one width only */
    BATCH_DEPENDENT,   /* class CLOSE, and the last place depends on the batch */
    DOUBLE_COMPLETION, /* every submit completes two values */
    FORGETS_RESULTS,   /* keeps the last result only */
    WAIT_IMPATIENT,    /* wait times out at once */
    CANCEL_STICKS,     /* a cancel reaches every later submit */
    COMMIT_BLIND,      /* commit succeeds without a check */
    CLOSES_HOST_FD,    /* close closes descriptors of the host */
    PRINTS,            /* open writes to stdout */
    TAKES_SIGNAL,      /* open installs a signal handler */
    ROUNDS_UP,         /* a run leaves another rounding mode */
    FORK_NOTHING,      /* kv_fork does nothing */
    TRUNCATE_NOTHING,  /* kv_truncate does nothing */
    SILENT_ERROR,      /* fails without a message */
    RESET_NOTHING,     /* reset fails */
    GREEDY_BEYOND,     /* greedy ids beyond the vocabulary */
    KV_TYPE_IGNORED    /* a KV asked for in int8 is binary16 */
};

/* The real device, and what the modes remember. */
static struct q35_plugin soft = {Q35_SOFT_SLOTS};
static uint64_t last_signal, sticky;
static struct {
    const uint8_t *data;
    struct q35_weights *w;
    const struct q35_run *run;
    const struct q35_token *tokens;
    void *of_kv;
} kept;
static struct {
    void *to, *from;
    uint64_t bytes, value;
} late[8]; /* results that are held back */

#define CLASS_CLOSE (MODE == CLOSE || MODE == CLOSE_PRODUCT || MODE == CLOSE_FAR)

/* A norm that is a little off, and a product whose sums are. */
static enum q35_status close_norm(void *user, uint32_t n_tokens, uint32_t d, const float *x,
                                  const float *w, float eps, float *y, struct q35_error *err)
{
    enum q35_status st = q35_reference_ops.rms_norm(user, n_tokens, d, x, w, eps, y, err);
    uint64_t i;
    for (i = 0; i < (uint64_t)n_tokens * d; i++)
        y[i] *= MODE == CLOSE_FAR ? 1.2f : 1.0000004f;
    return st;
}

static enum q35_status close_product(void *user, const struct q35_matmul_args *a,
                                     struct q35_error *err)
{
    enum q35_status st = q35_reference_ops.matmul(user, a, err);
    uint64_t t;
    for (t = 0; t < a->n_tokens && MODE == CLOSE_PRODUCT; t++)
        a->y[0][t * a->y_stride[0]] *= 1.0001f;
    return st;
}

static const struct q35_ops close_ops = {
    .size = sizeof(close_ops), .rms_norm = close_norm, .matmul = close_product};

static void *sleeper(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void start_thread(void)
{
    pthread_t t;
    pthread_create(&t, NULL, sleeper, NULL);
}

__attribute__((constructor)) static void constructor(void)
{
    if (MODE == CRASH_CONSTRUCTOR)
        raise(SIGSEGV);
    while (MODE == HANG_CONSTRUCTOR)
        pause();
}

static enum q35_status enumerate(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err)
{
    (void)host;
    (void)options;
    (void)err;
    *count = 1;
    return Q35_OK;
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    struct q35_device_info own = {.size = info->size,
                                  .determinism = Q35_CLASS_EXACT,
                                  .name = "hostile",
                                  .id = "hostile0",
                                  .memory_total = 1u << 30,
                                  .memory_free = 1u << 30,
                                  .max_batch = MODE == BAD_INFO ? 0 : 128,
                                  .max_sequences = 16,
                                  .buffer_alignment = 64,
                                  .features = Q35_FEATURE_GREEDY | Q35_FEATURE_KV_INT8};
    (void)host;
    (void)options;
    if (index)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "device %u of 1", index);
    if (MODE == BATCH_DEPENDENT || CLASS_CLOSE)
        own.determinism = Q35_CLASS_CLOSE;
    memcpy(info, &own, MODE != INFO_SIZE && info->size < sizeof(own) ? info->size : sizeof(own));
    return Q35_OK;
}

static void on_signal(int sig)
{
    (void)sig;
}

/* Some of the first lives of a device keep something, as an allocator's caches do. */
static bool fill_cache(void)
{
    static uint32_t life;
    uint32_t r = life++ * 2654435761u >> 24;
    return life > 250 || r % 3 == 0 || malloc(100 + r) != NULL;
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    const struct q35_soft_config config = {
        .ops = CLASS_CLOSE ? &close_ops : NULL, .max_batch = 128, .max_sequences = 16};
    (void)host;
    (void)options;
    *out = NULL;
    if (index && MODE == SILENT_ERROR)
        return Q35_E_NOT_FOUND;
    if (index)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "device %u of 1", index);
    if (MODE == LEAK_HEAP && !malloc(100))
        return Q35_E_NOMEM;
    if (MODE == FILLS_CACHES && !fill_cache())
        return Q35_E_NOMEM;
    if (MODE == LEAK_FD && open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
        return q35_soft_fail(err, Q35_E_IO, "no /dev/null");
    if (MODE == LEAK_THREAD)
        start_thread();
    if (MODE == PRINTS) {
        printf("hello from the plugin\n");
        fflush(stdout);
    }
    if (MODE == TAKES_SIGNAL)
        signal(SIGUSR2, on_signal);
    sticky = last_signal = 0;
    return q35_soft_open(&config, out, err);
}

static void close_device(struct q35_device *dev)
{
    int fd;
    if (MODE == EXIT_CLOSE)
        exit(0);
    for (fd = 3; MODE == CLOSES_HOST_FD && fd < 64; fd++)
        close(fd);
    soft.close(dev);
}

static enum q35_status plan(struct q35_device *dev, const struct q35_plan_request *request,
                            struct q35_plan_result *result, struct q35_error *err)
{
    enum q35_status st = soft.plan(dev, request, result, err);
    if (!st && MODE == PLAN_LIES)
        result->kv_bytes /= 4;
    if (MODE == PLAN_ALLOCATES && !malloc(4096))
        return Q35_E_NOMEM;
    return st;
}

static enum q35_status weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                   uint64_t offset, const void *data, uint64_t bytes,
                                   uint32_t lifetime, struct q35_error *err)
{
    if (MODE == KEEPS_POINTER && lifetime == Q35_DURING_CALL) {
        kept.data = data;
        kept.w = w;
    }
    return soft.weights_put(w, layer, role, offset, data, bytes, lifetime, err);
}

static enum q35_status weights_commit(struct q35_weights *w, struct q35_error *err)
{
    enum q35_status st;
    if (MODE == KEEPS_POINTER && kept.w == w && *(volatile const uint8_t *)kept.data == 1)
        kept.w = NULL;
    st = soft.weights_commit(w, err);
    return MODE == COMMIT_BLIND ? Q35_OK : st;
}

static enum q35_status kv_create(struct q35_device *dev, struct q35_weights *w,
                                 const struct q35_kv_spec *spec, struct q35_kv **out,
                                 struct q35_error *err)
{
    const size_t extra = 100u << 20;
    if (MODE == PLAN_TAKES_MORE) {
        void *p = mmap(NULL, extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory");
        memset(p, 1, extra);
    }
    if (MODE == KV_TYPE_IGNORED && spec->type == Q35_KV_INT8) {
        struct q35_kv_spec f16 = *spec;
        f16.type = Q35_KV_F16;
        return soft.kv_create(dev, w, &f16, out, err);
    }
    if (MODE == LEAK_CLOSE)
        kept.of_kv = malloc(200);
    return soft.kv_create(dev, w, spec, out, err);
}

static void kv_free(struct q35_kv *kv)
{
    if (MODE == LEAK_CLOSE) {
        free(kept.of_kv);
        kept.of_kv = NULL;
    }
    soft.kv_free(kv);
}

static enum q35_status kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                   struct q35_error *err)
{
    return MODE == TRUNCATE_NOTHING && sequence < 16 ? Q35_OK
                                                     : soft.kv_truncate(kv, sequence, length, err);
}

static enum q35_status kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                               struct q35_error *err)
{
    return MODE == FORK_NOTHING ? Q35_OK : soft.kv_fork(kv, src, dst, length, err);
}

static void spoil_output(const struct q35_run *run)
{
    float *out = run->out.host;
    uint64_t n = run->out.bytes / sizeof(float);
    if (!out || !n)
        return;
    if (MODE == GREEDY_BEYOND && run->flags & Q35_RUN_GREEDY)
        memset(out, 0x7f, run->out.bytes);
    if (MODE == WRITE_PAST)
        out[n] = 1.0f;
    if (MODE == WRITE_BEFORE)
        out[-1] = 1.0f;
    if (MODE == WRONG_SHAPE && n % 33 == 0)
        out[n - 1] *= 1.0000001f;
    if (MODE == BATCH_DEPENDENT && run->n_tokens > 2)
        out[0] *= 1.000001f;
}

/* Tokens by sequence; those of one stay in their order. */
static void sort_tokens(struct q35_token *t, uint32_t n)
{
    uint32_t i, k;
    for (i = 1; i < n; i++)
        for (k = i; k > 0 && t[k - 1].sequence > t[k].sequence; k--) {
            struct q35_token swap = t[k];
            t[k] = t[k - 1];
            t[k - 1] = swap;
        }
}

/* Runs into memory of its own. */
static enum q35_status run_late(struct q35_device *dev, const struct q35_run *run,
                                struct q35_error *err)
{
    struct q35_run changed = *run;
    uint32_t i = run->signal % 8;
    enum q35_status st;
    free(late[i].from);
    late[i].from = changed.out.host = run->out.host ? malloc(run->out.bytes + 1) : NULL;
    late[i].to = run->out.host;
    late[i].bytes = run->out.bytes;
    late[i].value = run->signal;
    st = soft.run_layers(dev, &changed, err);
    if (st)
        late[i].to = NULL;
    return st;
}

static enum q35_status run_layers(struct q35_device *dev, const struct q35_run *run,
                                  struct q35_error *err)
{
    struct q35_error before = *err;
    struct q35_token own[128];
    struct q35_run changed = *run;
    enum q35_status st;

    if (MODE == CRASH_RUN && run->n_tokens > 4)
        raise(SIGBUS);
    while (MODE == HANG_RUN && run->n_tokens > 4)
        pause();
    if (MODE == NEVER_COMPLETES && run->n_tokens > 4)
        return Q35_OK;
    if (MODE == WRITE_INPUT && run->tokens)
        ((struct q35_token *)(uintptr_t)run->tokens)->id = 0;
    if (MODE == LATE_RESULTS)
        return run_late(dev, run, err);
    if (MODE == KEEPS_TOKENS && run->tokens && kept.tokens && kept.tokens != run->tokens)
        last_signal += ((volatile const struct q35_token *)kept.tokens)->position & 0u;
    kept.run = run;
    kept.tokens = run->tokens;
    if ((MODE == OWN_STRIDE || MODE == SORTS_TOKENS) && run->tokens && run->n_tokens <= 128) {
        memcpy(own, run->tokens, run->n_tokens * sizeof(own[0]));
        if (MODE == SORTS_TOKENS)
            sort_tokens(own, run->n_tokens);
        changed.tokens = own;
        changed.token_stride = sizeof(own[0]);
        run = &changed;
    }
    if (MODE == ROUNDS_UP)
        fesetround(FE_UPWARD);
    st = soft.run_layers(dev, run, err);
    if (st && MODE == ABORT_ARGUMENT)
        abort();
    if (st && MODE == SILENT_ERROR)
        *err = before;
    if (!st) {
        last_signal = run->signal;
        spoil_output(run);
    }
    return st;
}

static enum q35_status wait_value(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                                  struct q35_error *err)
{
    uint32_t i = value % 8;
    if (MODE == DOUBLE_COMPLETION && value == last_signal + 1)
        return Q35_OK;
    if (MODE == KEEPS_RUN && kept.run &&
        ((volatile const struct q35_run *)kept.run)->signal > value)
        return q35_soft_fail(err, Q35_E_TIMEOUT, "not yet");
    if (MODE == LATE_RESULTS && late[i].to && late[i].value == value) {
        memcpy(late[i].to, late[i].from, late[i].bytes);
        late[i].to = NULL;
    }
    if (MODE == WAIT_ANY && value <= last_signal)
        return Q35_OK;
    if (MODE == FORGETS_RESULTS && value < last_signal)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "forgotten");
    if (MODE == CANCEL_STICKS && sticky && value > sticky && value <= last_signal)
        return q35_soft_fail(err, Q35_E_CANCELLED, "cancelled");
    return soft.wait(dev, value, MODE == WAIT_IMPATIENT ? 0 : timeout_ns, err);
}

static enum q35_status poll_value(struct q35_device *dev, uint64_t *value, struct q35_error *err)
{
    enum q35_status st = soft.poll(dev, value, err);
    if (MODE == DOUBLE_COMPLETION && *value)
        ++*value;
    return st;
}

static enum q35_status cancel_value(struct q35_device *dev, uint64_t value, struct q35_error *err)
{
    if (MODE == CANCEL_STICKS && value && !sticky)
        sticky = value;
    return soft.cancel(dev, value, err);
}

static enum q35_status reset_device(struct q35_device *dev, struct q35_error *err)
{
    if (MODE == RESET_NOTHING)
        return q35_soft_fail(err, Q35_E_BUSY, "not now");
    return soft.reset(dev, err);
}

static enum q35_status seconds(struct q35_device *dev, const struct q35_layer *layers,
                               uint32_t layer_count, uint32_t layer_stride, uint32_t n_tokens,
                               uint32_t context, double *out, struct q35_error *err)
{
    (void)dev;
    (void)layers;
    (void)layer_stride;
    (void)err;
    out[0] = MODE == EXT_NEGATIVE ? -1 : 1e-6 * layer_count * (n_tokens + context);
    if (MODE == EXT_WRITES)
        out[1] = out[0];
    return Q35_OK;
}

static const void *get_extension(const char *id, uint32_t version)
{
    static const struct q35_measure measure = {sizeof(measure), 0, seconds};
    return MODE == EXT_ANY || (version == 1 && !strcmp(id, Q35_EXT_MEASURE)) ? &measure : NULL;
}

static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = MODE == WRONG_MAJOR ? 99 : Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .name = "hostile",
    .version = "1.0.0",
    .description = "broken on purpose",
    .licence = "MIT",
    .enumerate = enumerate,
    .device_info = device_info,
    .open = open_device,
    .close = close_device,
    .supports = q35_soft_supports,
    .plan = plan,
    .buffer_alloc = q35_soft_buffer_alloc,
    .buffer_free = q35_soft_buffer_free,
    .buffer_write = q35_soft_buffer_write,
    .buffer_read = q35_soft_buffer_read,
    .weights_begin = q35_soft_weights_begin,
    .weights_put = weights_put,
    .weights_commit = weights_commit,
    .weights_free = q35_soft_weights_free,
    .kv_create = kv_create,
    .kv_free = kv_free,
    .kv_truncate = kv_truncate,
    .kv_fork = kv_fork,
    .run_layers = MODE == NO_RUN ? NULL : run_layers,
    .wait = wait_value,
    .poll = poll_value,
    .cancel = cancel_value,
    .reset = reset_device,
    .get_extension = get_extension,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor)
{
    (void)host_minor;
    if (MODE == EXIT_QUERY)
        exit(3);
    if (MODE == THREAD_QUERY)
        start_thread();
    return MODE == ANY_MAJOR || host_major == Q35_ABI_MAJOR ? &plugin : NULL;
}
