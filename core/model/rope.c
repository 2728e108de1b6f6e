/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "core/model/source_internal.h"

/* The scaling of Llama 3.1: low frequencies are divided by `factor`, high ones kept, those between
 * blended by where their wavelength lies (transformers, modeling_rope_utils.py). */
static double scale_llama3(const struct q35_rope_scaling *r, double freq)
{
    double wavelength = 2.0 * 3.14159265358979323846 / freq;
    double original = (double)r->original, factor = (double)r->factor;
    double low = (double)r->low, high = (double)r->high, smooth;
    if (wavelength > original / low)
        return freq / factor;
    if (wavelength < original / high)
        return freq;
    smooth = (original / wavelength - low) / (high - low);
    return (1.0 - smooth) * freq / factor + smooth * freq;
}

float *q35_rope_freqs(const struct q35_rope_scaling *r, uint32_t rope_dim)
{
    float *freqs = malloc((rope_dim / 2 ? rope_dim / 2 : 1) * sizeof(*freqs));
    uint32_t i;
    for (i = 0; freqs && i < rope_dim / 2; i++) {
        double f = pow((double)r->theta, -2.0 * (double)i / (double)rope_dim);
        freqs[i] = (float)(r->llama3 ? scale_llama3(r, f) : f / (double)r->factor);
    }
    return freqs;
}
