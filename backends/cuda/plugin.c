/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* cuda.so: the descriptor, and what can be said of GPUs before one is opened. */

#include <stdio.h>

#include "impl.h"

static const struct q35_option_spec option_specs[] = {
    {"driver", "string", "NVIDIA's driver library: a name to search for or an absolute path",
     "libcuda.so.1"},
    {"graphs", "bool", "capture decoding steps once and replay them", "true"},
    {"prefill", "string",
     "products of more than 16 tokens: by the own kernel, by cublaslt, or auto: what is faster",
     "auto"},
    {"cublaslt", "string", "NVIDIA's cuBLASLt: a name to search for or an absolute path",
     "the newest"},
};

/* Open devices, so that device_info need not create a context to ask for free memory. */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static struct q35_device *open_list;

static const char *option(const struct q35_options *options, const char *key, const char *fallback)
{
    const char *value = q35_soft_option(options, key);
    return value ? value : fallback;
}

static enum q35_status find_driver(const struct q35_options *options, const struct cu **out,
                                   struct q35_error *err)
{
    enum q35_status st = cu_open(out, option(options, "driver", "libcuda.so.1"), err);
    if (!st && !cuda_has_kernels() && !(*out)->emulated) {
        *out = NULL;
        return q35_soft_fail(err, Q35_E_NOT_FOUND,
                             "there are GPUs, but cuda.so was built without a CUDA compiler");
    }
    return st;
}

/* The ordinal of the GPU `index` among those that are new enough for the kernels. False when there
 * are not so many; then *found is how many there are. */
static bool usable(const struct cu *cu, uint32_t index, cu_device *ordinal, uint32_t *found)
{
    int i, major = 0, minor = 0;
    *found = 0;
    for (i = 0; i < cu->device_count; i++) {
        if (cu->DeviceGet(ordinal, i) || cu->DeviceGetAttribute(&major, CU_ATTR_MAJOR, *ordinal) ||
            cu->DeviceGetAttribute(&minor, CU_ATTR_MINOR, *ordinal) ||
            10 * major + minor < CUDA_OLDEST)
            continue;
        if ((*found)++ == index)
            return true;
    }
    return false;
}

static enum q35_status enumerate(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err)
{
    const struct cu *cu;
    cu_device last;
    enum q35_status st = find_driver(options, &cu, err);
    (void)host;
    *count = 0;
    if (st == Q35_E_CONFIG)
        return st;
    if (!st && (usable(cu, UINT32_MAX, &last, count) || !*count))
        q35_soft_fail(err, Q35_E_NOT_FOUND, "none of %d GPUs has compute capability %d.%d or later",
                      cu->device_count, CUDA_OLDEST / 10, CUDA_OLDEST % 10);
    return Q35_OK; /* none, and err->message says what was looked for */
}

static enum q35_status find_device(const struct q35_options *options, uint32_t index,
                                   const struct cu **cu, cu_device *ordinal, struct q35_error *err)
{
    enum q35_status st = find_driver(options, cu, err);
    uint32_t found = 0;
    if (st || usable(*cu, index, ordinal, &found))
        return st;
    return q35_soft_fail(err, Q35_E_NOT_FOUND, "GPU %u of %u", index, found);
}

/* Free memory of a GPU, through the context of an open device or for a moment the GPU's own. */
static cu_result free_memory(const struct cu *cu, cu_device ordinal, size_t *bytes)
{
    struct q35_device *d;
    size_t total = 0;
    cu_result code;
    cu_ctx ctx = NULL;

    pthread_mutex_lock(&open_lock);
    for (d = open_list; d && (d->cu != cu || d->ordinal != ordinal); d = d->next_open)
        ;
    if (d) {
        cuda_enter(d);
        code = cu->MemGetInfo(bytes, &total);
        cuda_leave(d);
        pthread_mutex_unlock(&open_lock);
        return code;
    }
    code = cu->DevicePrimaryCtxRetain(&ctx, ordinal);
    if (!code) {
        code = cu->CtxPushCurrent(ctx);
        if (!code) {
            code = cu->MemGetInfo(bytes, &total);
            (void)cu->CtxPopCurrent(&ctx);
        }
        (void)cu->DevicePrimaryCtxRelease(ordinal);
    }
    pthread_mutex_unlock(&open_lock);
    return code;
}

/* What is left when the driver has put graphs there and cuBLASLt its kernels. Not 0, which would
 * mean that nobody knows. */
static uint64_t for_us(uint64_t total, uint64_t available)
{
    uint64_t theirs = total / 64 < CUDA_THEIRS ? total / 64 : CUDA_THEIRS;
    return available > theirs ? available - theirs : 1;
}

static void say_unusable(const struct q35_host *host, const struct cu *cu, uint32_t index,
                         cu_result code)
{
    struct q35_error own = Q35_ERROR_INIT;
    char what[40];
    snprintf(what, sizeof(what), "cuda: GPU %u cannot be used", index);
    (void)cu_fail(cu, &own, code, what);
    if (host && host->log)
        host->log(host->ctx, Q35_LOG_WARN, own.message);
}

static void format_uuid(char *out, size_t room, const uint8_t u[16])
{
    size_t n = (size_t)snprintf(out, room, "GPU-");
    int i;
    for (i = 0; i < 16; i++)
        n += (size_t)snprintf(out + n, room - n,
                              i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", u[i]);
}

/* Two transfers per clock on every memory a GPU has had since GDDR; 0 if the driver does not say.
 */
static uint64_t bandwidth(const struct cu *cu, cu_device dev)
{
    int khz = 0, bits = 0;
    if (cu->DeviceGetAttribute(&khz, CU_ATTR_MEMORY_CLOCK_KHZ, dev) ||
        cu->DeviceGetAttribute(&bits, CU_ATTR_BUS_WIDTH_BITS, dev) || khz < 0 || bits < 0)
        return 0;
    return 2u * 1000u * (uint64_t)khz * ((uint64_t)bits / 8u);
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    struct q35_device_info own = {.determinism = Q35_CLASS_EXACT,
                                  .max_batch = CUDA_MAX_BATCH,
                                  .max_sequences = CUDA_MAX_SEQUENCES,
                                  .buffer_alignment = CUDA_ALIGNMENT,
                                  .features = CUDA_FEATURES};
    const struct cu *cu;
    cu_device dev = 0;
    size_t total = 0, available = 0;
    uint8_t uuid[16] = {0};
    int major = 0, minor = 0;
    char name[48] = "";
    enum q35_status st = find_device(options, index, &cu, &dev, err);
    cu_result code;
    if (st)
        return st;
    code = cu->DeviceGetName(name, (int)sizeof(name), dev);
    if (!code)
        code = cu->DeviceGetUuid(uuid, dev);
    if (!code)
        code = cu->DeviceTotalMem(&total, dev);
    if (!code)
        code = cu->DeviceGetAttribute(&major, CU_ATTR_MAJOR, dev);
    if (!code)
        code = cu->DeviceGetAttribute(&minor, CU_ATTR_MINOR, dev);
    if (code)
        return cu_fail(cu, err, code, "asking about a GPU");
    code = free_memory(cu, dev, &available);
    if (code) /* busy, full or broken: it has no memory for us, but others may */
        say_unusable(host, cu, index, code);
    name[sizeof(name) - 1] = '\0';
    snprintf(own.name, sizeof(own.name), "%s (sm_%d%d)", name, major, minor);
    format_uuid(own.id, sizeof(own.id), uuid);
    own.memory_total = total;
    own.memory_free = code ? 1 : for_us(total, available < total ? available : total);
    own.memory_bandwidth = bandwidth(cu, dev);
    own.simulated = cu->emulated != 0;
    own.size = info->size;
    memcpy(info, &own, info->size < sizeof(own) ? info->size : sizeof(own));
    return Q35_OK;
}

static enum q35_status read_bool(const struct q35_options *options, const char *key, bool *out,
                                 struct q35_error *err)
{
    const char *text = q35_soft_option(options, key);
    if (!text)
        return Q35_OK;
    if (!strcmp(text, "true") || !strcmp(text, "yes") || !strcmp(text, "on") || !strcmp(text, "1"))
        *out = true;
    else if (!strcmp(text, "false") || !strcmp(text, "no") || !strcmp(text, "off") ||
             !strcmp(text, "0"))
        *out = false;
    else
        return q35_soft_fail(err, Q35_E_CONFIG, "%s = %s: neither true nor false", key, text);
    return Q35_OK;
}

static enum q35_status read_prefill(const struct q35_options *options, struct cuda_config *config,
                                    struct q35_error *err)
{
    const char *text = option(options, "prefill", "auto");
    config->cublaslt = q35_soft_option(options, "cublaslt");
    if (!strcmp(text, "auto"))
        config->prefill = CUDA_PREFILL_AUTO;
    else if (!strcmp(text, "kernel"))
        config->prefill = CUDA_PREFILL_KERNEL;
    else if (!strcmp(text, "cublaslt"))
        config->prefill = CUDA_PREFILL_CUBLASLT;
    else
        return q35_soft_fail(err, Q35_E_CONFIG, "prefill = %s: not auto, kernel or cublaslt", text);
    if (config->cublaslt && strchr(config->cublaslt, '/') && config->cublaslt[0] != '/')
        return q35_soft_fail(err, Q35_E_CONFIG, "cublaslt = %s: not an absolute path",
                             config->cublaslt);
    return Q35_OK;
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct cuda_config config = {.host = host, .graphs = true};
    enum q35_status st;
    *out = NULL;
    st = find_device(options, index, &config.cu, &config.ordinal, err);
    if (!st)
        st = read_bool(options, "graphs", &config.graphs, err);
    if (!st)
        st = read_prefill(options, &config, err);
    if (!st)
        st = cuda_device_open(&config, out, err);
    if (st)
        return st;
    pthread_mutex_lock(&open_lock);
    (*out)->next_open = open_list;
    open_list = *out;
    pthread_mutex_unlock(&open_lock);
    return Q35_OK;
}

static void open_list_remove(const struct q35_device *dev)
{
    struct q35_device **at;
    pthread_mutex_lock(&open_lock);
    for (at = &open_list; *at && *at != dev; at = &(*at)->next_open)
        ;
    if (*at)
        *at = dev->next_open;
    pthread_mutex_unlock(&open_lock);
}

static void close_device(struct q35_device *dev)
{
    if (!dev)
        return;
    open_list_remove(dev);
    cuda_close(dev);
}

/* Off the list meanwhile: its context comes and goes. */
static enum q35_status reset_device(struct q35_device *dev, struct q35_error *err)
{
    enum q35_status st;
    open_list_remove(dev);
    st = cuda_reset(dev, err);
    if (st)
        return st;
    pthread_mutex_lock(&open_lock);
    dev->next_open = open_list;
    open_list = dev;
    pthread_mutex_unlock(&open_lock);
    return Q35_OK;
}

static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .name = "cuda",
    .version = "1.0.0",
    .description = "NVIDIA GPUs, through the driver found at run time",
    .licence = "MIT",
    .options = option_specs,
    .option_count = sizeof option_specs / sizeof *option_specs,
    .option_stride = sizeof *option_specs,
    .enumerate = enumerate,
    .device_info = device_info,
    .open = open_device,
    .close = close_device,
    .supports = cuda_supports,
    .plan = cuda_plan,
    .buffer_alloc = cuda_buffer_alloc,
    .buffer_free = cuda_buffer_free,
    .buffer_write = cuda_buffer_write,
    .buffer_read = cuda_buffer_read,
    .weights_begin = cuda_weights_begin,
    .weights_put = cuda_weights_put,
    .weights_commit = cuda_weights_commit,
    .weights_free = cuda_weights_free,
    .kv_create = cuda_kv_create,
    .kv_free = cuda_kv_free,
    .kv_truncate = cuda_kv_truncate,
    .kv_fork = cuda_kv_fork,
    .run_layers = cuda_run_layers,
    .wait = cuda_wait,
    .poll = cuda_poll,
    .cancel = cuda_cancel,
    .reset = reset_device,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor);

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor)
{
    (void)host_minor;
    return host_major == Q35_ABI_MAJOR ? &plugin : NULL;
}
