/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* arith.h for Frama-C, with the C library's functions known by their contracts alone: nothing is
 * assumed of what rintf returns, NaN included. */
/*@ assigns \nothing; */
float any_rintf(float x);
/*@ assigns \nothing; */
float any_fabsf(float x);
/*@ assigns \nothing; */
float any_sqrtf(float x);
/*@ assigns \nothing; */
float any_fmaf(float a, float b, float c);
/*@ assigns \nothing; */
double any_rint(double x);
/*@ assigns \nothing; */
double any_fma(double a, double b, double c);

#define Q35_FMAF any_fmaf
#define Q35_FMA any_fma
#define Q35_RINTF any_rintf
#define Q35_RINT any_rint
#define Q35_SQRTF any_sqrtf
#define Q35_DIVF(a, b) ((a) / (b))
#define Q35_FABSF any_fabsf

#include "q35/arith.h"
