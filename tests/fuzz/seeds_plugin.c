/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "core/plugin/isolate.h"

/* Writes what fuzz_plugin starts from into a directory. */

static const char *const fuzz_files[8];

int main(int argc, char **argv)
{
    static const char texts[] = "w\0001.0\0plugin\0MIT\0key\0int\0help\0001";
    static const char certificate[] =
        "{\"q35_certificate\":1,\"passed\":true,\"abi\":\"1.1\",\"class\":\"exact\",\"date\":\"d\","
        "\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}";
    struct {
        uint8_t length[2];
        uint8_t arena[256 + sizeof(struct q35_device_info)];
        struct iso_reply replies[14];
    } *s = calloc(1, sizeof(*s));
    struct q35_device_info info = {.size = (uint32_t)sizeof(info),
                                   .determinism = Q35_CLASS_EXACT,
                                   .name = "n",
                                   .id = "i",
                                   .max_batch = 8,
                                   .max_sequences = 8};
    check(s != NULL);
    if (argc != 2)
        return 2;
    fuzz_seeds_to(argv[1]);
    fuzz_seed_text("certificate", 'c', certificate);
    s->length[0] = sizeof(s->arena) % 256;
    s->length[1] = sizeof(s->arena) / 256;
    memcpy(s->arena, texts, sizeof(texts));
    memcpy(s->arena + 256, &info, sizeof(info));
    for (int i = 0; i < 14; i++)
        s->replies[i] = (struct iso_reply){.id = 1, .n = i < 2 ? 1 : 0, .x = 1};
    s->replies[0].x = sizeof(texts);
    fuzz_seed("worker", 'w', s, sizeof(*s));
    s->replies[4].status = Q35_E_DEVICE_LOST;
    snprintf(s->replies[4].err.message, 32, "lost");
    fuzz_seed("worker-lost", 'w', s, sizeof(*s) - 100);
    s->replies[0].status = Q35_E_PLUGIN; /* with an error that says OK */
    fuzz_seed("worker-refuses", 'w', s, sizeof(*s));
    free(s);
    return 0;
}
