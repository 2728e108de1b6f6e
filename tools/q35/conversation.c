/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/conversation.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_bool interrupted;
static int wake[2] = {-1, -1}; /* a pipe: what is written there ends the wait for a line */

static void on_interrupt(int number)
{
    int saved = errno;
    (void)number;
    atomic_store(&interrupted, true);
    if (write(wake[1], "", 1) < 0) /* full: the wait ends anyway */
        errno = saved;
}

static bool catch_interrupts(void)
{
    struct sigaction a = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    return pipe2(wake, O_CLOEXEC | O_NONBLOCK) == 0 && sigaction(SIGINT, &a, NULL) == 0;
}

enum q35_status conversation_encode(const struct session *s,
                                    const struct q35_chat_message *messages, size_t count,
                                    int32_t **ids, size_t *n, struct q35_error *err)
{
    const char *template_text = q35_tokenizer_chat_template(s->tokenizer);
    struct q35_chat *chat = NULL;
    enum q35_status st;
    if (!template_text)
        return q35_fail(err, Q35_E_UNSUPPORTED, "the model has no chat template");
    st = q35_chat_create(&chat, template_text, err);
    if (st == Q35_OK)
        st = q35_chat_encode(chat, s->tokenizer, messages, count, true, ids, n, err);
    q35_chat_destroy(chat);
    return st;
}

struct conversation {
    struct cli *cli;
    struct session *session;
    const struct generate_options *options;
    struct q35_chat_message *messages; /* contents are malloc'd, but for a system message */
    size_t count, kept;                /* kept: the system message */
    bool terminal;
};

static bool add(struct conversation *c, const char *role, char *text)
{
    struct q35_chat_message *m = realloc(c->messages, (c->count + 1) * sizeof(*m));
    if (!m || !text) {
        free(text);
        return false;
    }
    c->messages = m;
    m[c->count++] = (struct q35_chat_message){role, text, strlen(text)};
    return true;
}

static void drop_last(struct conversation *c)
{
    free((char *)(uintptr_t)c->messages[--c->count].content);
}

/* Its last message is the user's. The answer is added, however it ended. */
static enum q35_status answer(struct conversation *c, struct q35_error *err)
{
    struct generate_options o = *c->options;
    uint32_t context = q35_engine_context(c->session->config, c->session->model);
    struct answer a = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    enum q35_status st = conversation_encode(c->session, c->messages, c->count, &ids, &n, err);
    if (st == Q35_OK && n >= context)
        st = q35_fail(err, Q35_E_CAPACITY,
                      "the conversation has %zu tokens, the context %u; /clear begins another", n,
                      context);
    if (st == Q35_OK && (!o.tokens || o.tokens > context - n))
        o.tokens = context - (uint32_t)n;
    if (st == Q35_OK)
        st = generate(c->session, ids, n, &o, &a, err);
    if (st == Q35_OK) {
        printf(a.finish == Q35_FINISH_CANCELLED ? " ...\n" : "\n");
        fflush(stdout);
        if (cli_flag(c->cli, "verbose"))
            answer_tell(&a, stderr);
        if (!add(c, "assistant", strdup(a.text.data ? a.text.data : "")))
            st = q35_fail(err, Q35_E_NOMEM, "no memory for the conversation");
    }
    answer_fini(&a);
    free(ids);
    return st;
}

/* Waits until a line can be read. False if the user interrupted that. */
static bool line_comes(void)
{
    struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {wake[0], POLLIN, 0}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    return !(fds[1].revents & POLLIN);
}

/* The next line without its end; NULL at the end of the input. At an interrupt the line is empty.
 */
static char *read_line(const struct conversation *c)
{
    char *line = NULL;
    size_t size = 0;
    char old[64];
    while (read(wake[0], old, sizeof(old)) > 0) /* interrupts of the answer before */
        ;
    if (c->terminal) {
        fputs("> ", stdout);
        fflush(stdout);
    }
    /* A terminal hands out whole lines, so that nothing waits in stdin's buffer. */
    if (isatty(STDIN_FILENO) && !line_comes()) {
        fputs("\n(Ctrl-D ends the conversation)\n", stderr);
        return strdup("");
    }
    if (getline(&line, &size, stdin) < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

/* False at the end of the conversation. */
static bool turn(struct conversation *c, int *rc)
{
    struct q35_error err = Q35_ERROR_INIT;
    char *line = read_line(c);
    bool ends = !line || strcmp(line, "/exit") == 0;
    bool clear = line && strcmp(line, "/clear") == 0;
    while (clear && c->count > c->kept)
        drop_last(c);
    if (ends || clear || !*line) {
        free(line);
        return !ends;
    }
    if (!add(c, "user", line)) {
        *rc = cli_failf(c->cli, "no memory for the conversation");
        return false;
    }
    atomic_store(&interrupted, false);
    if (answer(c, &err) != Q35_OK) {
        *rc = cli_error(c->cli, &err);
        drop_last(c);
        return c->terminal; /* nobody is there to try something else */
    }
    return !ferror(stdout);
}

int conversation_run(struct cli *cli, struct session *s, const char *system,
                     const struct generate_options *options)
{
    struct generate_options o = *options;
    struct conversation c = {.cli = cli, .session = s, .options = &o};
    int rc = CLI_OK;
    if (!catch_interrupts())
        return cli_failf(cli, "cannot catch interrupts: %s", strerror(errno));
    o.stop = &interrupted;
    c.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (system && !add(&c, "system", strdup(system)))
        return cli_failf(cli, "no memory for the conversation");
    c.kept = c.count;
    if (c.terminal)
        fputs("Ctrl-C stops an answer, Ctrl-D or /exit ends the conversation, /clear begins "
              "another.\n",
              stderr);
    while (turn(&c, &rc))
        ;
    if (c.terminal)
        putchar('\n');
    while (c.count)
        drop_last(&c);
    free(c.messages);
    close(wake[0]);
    close(wake[1]);
    return c.terminal ? CLI_OK : rc;
}
