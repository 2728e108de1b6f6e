/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_NUMBERS_H
#define Q35_GROQ_MLIR_NUMBERS_H

/* Every number of the arithmetic contract and of the packed format that the generator writes into
 * MLIR, in one table, so that a test can change each and see that the result changes.
 * X(name, kind, value): F is binary32, D binary64, U an integer. */
#define GROQ_NUMBER_MAP(X)                                                                         \
    X(EXP_LOW, F, -87.0f)                                                                          \
    X(EXP_HIGH, F, 88.0f)                                                                          \
    X(EXP_LOG2E, F, 1.44269504088896341f)                                                          \
    X(EXP_LN2_A, F, -0.693359375f)                                                                 \
    X(EXP_LN2_B, F, 2.12194440e-4f)                                                                \
    X(EXP_P5, F, 1.9875691500e-4f)                                                                 \
    X(EXP_P4, F, 1.3981999507e-3f)                                                                 \
    X(EXP_P3, F, 8.3334519073e-3f)                                                                 \
    X(EXP_P2, F, 4.1665795894e-2f)                                                                 \
    X(EXP_P1, F, 1.6666665459e-1f)                                                                 \
    X(EXP_P0, F, 5.0000001201e-1f)                                                                 \
    X(EXP_BIAS, U, 127)                                                                            \
    X(QUANT_MAX, F, 127.0f)                                                                        \
    X(QUANT_FLOOR, F, 1e-30f)                                                                      \
    X(ANGLE_2_PI, D, 6.36619772367581382433e-01)                                                   \
    X(ANGLE_PI2_A, D, -1.57079632673412561417e+00)                                                 \
    X(ANGLE_PI2_B, D, -6.07710050630396597660e-11)                                                 \
    X(ANGLE_PI2_C, D, -2.02226624879595063154e-21)                                                 \
    X(SIN_5, D, 1.58969099521155010221e-10)                                                        \
    X(SIN_4, D, -2.50507602534068634195e-08)                                                       \
    X(SIN_3, D, 2.75573137070700676789e-06)                                                        \
    X(SIN_2, D, -1.98412698298579493134e-04)                                                       \
    X(SIN_1, D, 8.33333333332248946124e-03)                                                        \
    X(SIN_0, D, -1.66666666666666324348e-01)                                                       \
    X(COS_5, D, -1.13596475577881948265e-11)                                                       \
    X(COS_4, D, 2.08757232129817482790e-09)                                                        \
    X(COS_3, D, -2.75573143513906633035e-07)                                                       \
    X(COS_2, D, 2.48015872894767294178e-05)                                                        \
    X(COS_1, D, -1.38888888888741095749e-03)                                                       \
    X(COS_0, D, 4.16666666666666019037e-02)                                                        \
    X(COS_HALF, D, -0.5)                                                                           \
    X(HALF_SUBNORMAL, F, 5.9604644775390625e-08f)                                                  \
    X(HALF_REBIAS, U, 112)                                                                         \
    X(HALF_OVERFLOW, U, 0x477ff000)                                                                \
    X(HALF_NORMAL, U, 0x38800000)                                                                  \
    X(HALF_ROUND, F, 0.5f)                                                                         \
    X(HALF_ADD, U, 0xc8000fff)                                                                     \
    X(CODE_MASK, U, 127)                                                                           \
    X(CODE_STEP, U, 7)                                                                             \
    X(B_STEP, U, 8)                                                                                \
    X(BACK_ONE, U, 1)                                                                              \
    X(BACK_TWO, U, 2)                                                                              \
    X(RING_TURN, U, 63)                                                                            \
    X(SIGN_GOLDEN, U, 0x9e3779b97f4a7c15)                                                          \
    X(SIGN_MUL_1, U, 0xbf58476d1ce4e5b9)                                                           \
    X(SIGN_MUL_2, U, 0x94d049bb133111eb)                                                           \
    X(SIGN_SHIFT, U, 30)

enum groq_number_id {
#define GROQ_NUMBER_ENUM(name, kind, value) GROQ_N_##name,
    GROQ_NUMBER_MAP(GROQ_NUMBER_ENUM)
#undef GROQ_NUMBER_ENUM
        GROQ_NUMBER_COUNT
};

struct groq_number {
    const char *name;
    char kind; /* 'F', 'D', 'U' */
    union {
        float f;
        double d;
        unsigned long long u;
    } is;
};

extern const struct groq_number groq_numbers[GROQ_NUMBER_COUNT];

#endif
