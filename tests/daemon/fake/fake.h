/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_FAKE_H
#define Q35_TESTS_FAKE_H

/* A daemon without a model: the real server over an engine that does what the prompt says, so that
 * tests can make it slow, fail or hang at will. The prompt is bytes; its script begins after the
 * last "do:" and is one word, then a colon, then text:
 *
 *     do:say:TEXT     TEXT, then the end token
 *     do:slow:TEXT    the same, 20 ms between tokens
 *     do:hang:TEXT    TEXT, then nothing until cancelled
 *     do:fail:TEXT    TEXT, then FINISH_ERROR
 *     do:lost:TEXT    TEXT, then FINISH_ERROR with DEVICE_LOST
 *     do:stuck:TEXT   TEXT, then the engine's thread never comes back
 *
 * Without a script it is letters drawn from prompt and seed, without end. Environment:
 *     Q35_FAKE_LOAD    loading waits until this file exists; "fail" in it makes loading fail
 *     Q35_FAKE_LOST    while this file exists no device can serve
 *     Q35_FAKE_NO_CHAT the model has no chat template */

enum { FAKE_BOS = 256, FAKE_END = 257, FAKE_USER = 258, FAKE_ASSISTANT = 259, FAKE_VOCAB = 260 };

#endif
