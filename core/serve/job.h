/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_JOB_H
#define Q35_SERVE_JOB_H

/* A generation request from its body to its answer. A job outlives its connection until the engine
 * has sent the last event of every choice. Loop's thread only, but for job_parse in job.c. */

#include <uv.h>

#include "core/serve/api_params.h"
#include "core/serve/conn.h"
#include "core/serve/events.h"

/* A token whose text may not be wholly shown yet; with logprobs only. */
struct q35_token_note {
    size_t text_start, text_end; /* bytes in the choice's text */
    uint64_t char_start;         /* characters before it */
    struct q35_logprob logprob;
    uint32_t top_at, n_top; /* in the choice's tops */
};

enum q35_reason { Q35_REASON_NONE, Q35_REASON_STOP, Q35_REASON_LENGTH, Q35_REASON_ERROR };

/* One of the job's generations. */
struct q35_choice {
    struct q35_job *job;
    uint32_t index, prompt;
    struct q35_request *request; /* the engine's; NULL before submit and after the last event */
    enum q35_reason reason;      /* != NONE: ended for the client */
    struct q35_detok detok;
    struct q35_str text; /* of the output, whole; echo excepted */
    size_t shown;        /* bytes that may be sent */
    size_t sent;         /* bytes a stream has sent */
    bool opened;         /* a stream has sent the role, or the echo */
    uint64_t chars;      /* characters of text */
    uint32_t tokens;
    uint32_t cached;
    uint32_t drafted, accepted; /* tokens guessed ahead; of these, came true */
    uint64_t last_ns;           /* of its last token */
    struct q35_token_note *notes;
    uint32_t note_count, note_cap, notes_sent;
    struct q35_logprob *tops;
    uint32_t top_count, top_cap;
};

struct q35_job {
    struct q35_server *server;
    struct q35_job *prev, *next;
    struct q35_conn *conn; /* NULL once answered or gone */
    uv_work_t work;
    bool in_work, held;
    struct q35_str body;
    struct q35_api_params params;
    struct q35_api_limits limits;
    struct q35_api_error error; /* of parsing, then of the first choice that failed */
    bool parsed;
    char id[48];
    int64_t created;
    uint64_t start_ns;
    struct q35_choice *choices;
    uint32_t choice_count;
    uint32_t open;          /* choices that have not ended for the client */
    uint32_t live;          /* choices whose last event is to come */
    uint64_t first_ns;      /* of its first token; 0: none yet */
    struct q35_str scratch; /* one chunk of a stream */
    struct q35_str reply;   /* the answer that is not streamed */
};

/* The client has gone, or does not matter any more. */
void q35_job_abandon(struct q35_job *j);
/* Takes the connection away from the job, for its last answer; NULL if it has gone. */
struct q35_conn *q35_job_detach(struct q35_job *j);
/* Ends every job with an error that says we are stopping. */
void q35_jobs_stop(struct q35_server *s);
/* Handles what the engine has queued. */
void q35_jobs_events(struct q35_server *s);
/* access.c: a generation has ended, or its client has left. */
void q35_access_job(const struct q35_job *j, bool left);
/* Frees all jobs; the engine must be gone. */
void q35_jobs_destroy(struct q35_server *s);

/* ---- choice.c: text, stop strings, notes ---- */

/* Takes a token in; may end the choice by a stop string. False without memory. */
bool q35_choice_token(struct q35_choice *c, const struct q35_tokenizer *t,
                      const struct q35_queued *ev);
/* No more tokens: whatever was held back may be shown. */
void q35_choice_flush(struct q35_choice *c);
/* Notes up to here have all their text shown. */
uint32_t q35_choice_notes_ready(const struct q35_choice *c);
void q35_choice_fini(struct q35_choice *c);

/* ---- answers ---- */

void q35_job_stream_begin(struct q35_job *j);                        /* stream.c */
void q35_job_stream_choice(struct q35_job *j, struct q35_choice *c); /* what is new */
void q35_job_stream_end(struct q35_job *j);                          /* usage, [DONE] */
void q35_job_reply(struct q35_job *j); /* reply.c: the whole answer, into j->reply; any thread */
/* Bytes it will have, roughly. */
size_t q35_job_reply_size(const struct q35_job *j);

/* reply.c, shared by both */
void q35_job_add_logprobs(const struct q35_job *j, const struct q35_choice *c, uint32_t from,
                          uint32_t to, struct q35_str *out);
struct q35_usage {
    uint64_t prompt, cached, output, drafted, accepted; /* tokens */
};
void q35_job_usage(const struct q35_job *j, struct q35_usage *u);
void q35_job_add_usage(const struct q35_job *j, struct q35_str *out);
void q35_job_add_fingerprint(const struct q35_job *j, struct q35_str *out);
void q35_job_add_reason(const struct q35_choice *c, struct q35_str *out);

#endif
