/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The module of kernels: loading it and launching from it. */

#include <stdio.h>

#include "impl.h"

#ifdef Q35_CUDA_IMAGE
extern const unsigned char q35_cuda_image[]; /* a fat binary, or PTX with its final zero */
static const void *const image = q35_cuda_image;
#ifdef Q35_CUDA_IMAGE80
extern const unsigned char q35_cuda_image80[]; /* PTX for 8.0 and later */
#endif
#else
static const void *const image = NULL;
#endif

bool cuda_has_kernels(void)
{
    return image != NULL;
}

enum q35_status cuda_kernels_create(struct q35_device *dev, struct q35_error *err)
{
    const struct cu *cu = dev->cu;
    const void *best = image;
    cu_result code;
    char what[80];
    uint32_t i;
#ifdef Q35_CUDA_IMAGE80
    if (dev->limits.cc >= 80)
        best = q35_cuda_image80;
#endif
    code = cu->ModuleLoadData(&dev->module, best);
    if (code) {
        dev->module = NULL;
        snprintf(what, sizeof(what), "loading the kernels for sm_%u by a driver of CUDA %d.%d",
                 dev->limits.cc, cu->version / 1000, cu->version % 1000 / 10);
        return cuda_check(dev, code, what, err);
    }
    for (i = 0; i < Q35_CU_KERNEL_COUNT; i++) {
        uint32_t shared = q35_cu_max_shared(i, &dev->limits);
        code = cu->ModuleGetFunction(&dev->kernels[i], dev->module, q35_cu_name(i));
        if (!code && shared)
            code = cu->FuncSetAttribute(dev->kernels[i], CU_FUNC_MAX_DYNAMIC_SHARED, (int)shared);
        if (code) {
            snprintf(what, sizeof(what), "kernel %s", q35_cu_name(i));
            return cuda_check(dev, code, what, err);
        }
    }
    return Q35_OK;
}

void cuda_kernels_destroy(struct q35_device *dev)
{
    if (dev->module)
        (void)dev->cu->ModuleUnload(dev->module);
    dev->module = NULL;
}

enum q35_status cuda_launch(struct q35_device *dev, const struct q35_cu_launch *l, const void *args,
                            struct q35_error *err)
{
    void *params[] = {(void *)(uintptr_t)args}; /* its size is known from the kernel's image */
    cu_result code =
        dev->cu->LaunchKernel(dev->kernels[l->kernel], l->grid[0], l->grid[1], l->grid[2], l->block,
                              1, 1, l->shared, dev->stream, params, NULL);
    return code ? cuda_check(dev, code, q35_cu_name(l->kernel), err) : Q35_OK;
}
