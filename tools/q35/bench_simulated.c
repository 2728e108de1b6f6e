/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/bench.h"

#include <stdlib.h>

#include <jansson.h>

#include "backends/reference/soft.h"
#include "q35/measure.h"
#include "tools/q35/cli.h"

#define REPORT_BYTES 65536u

static const struct q35_measure *measure_of(const struct bench_device *b)
{
    return b->device->plugin->api.get_extension(Q35_EXT_MEASURE, 1);
}

bool bench_has_report(const struct bench_device *b)
{
    const struct q35_measure *m = measure_of(b);
    return b->device->info.simulated && m && Q35_HAS(m, struct q35_measure, report) && m->report;
}

int bench_report(struct cli *cli, const struct bench_device *b, const struct q35_model *model,
                 uint32_t batch, uint32_t context, bool json)
{
    const struct q35_layer *layers = q35_model_layers(model);
    struct q35_error err = Q35_ERROR_INIT;
    char *text = calloc(1, REPORT_BYTES);
    enum q35_status st =
        text ? measure_of(b)->report(q35_soft_own(&b->device->plugin->api, b->device->dev), layers,
                                     q35_model_layer_count(model), sizeof(*layers), batch, context,
                                     json, text, REPORT_BYTES, &err)
             : q35_fail(&err, Q35_E_NOMEM, "no memory for a report");
    int rc = CLI_OK;
    if (st != Q35_OK) {
        rc = cli_error(cli, &err);
    } else if (json) {
        json_t *doc = json_loads(text, 0, NULL);
        if (doc) {
            json_object_set_new(doc, "model", json_string(q35_model_path(model)));
            json_object_set_new(doc, "device", json_string(b->device->info.name));
        }
        rc = doc ? cli_print_json(cli, doc) : cli_failf(cli, "the backend's report is not JSON");
    } else {
        printf("%s on %s\n\n%s", q35_model_path(model), b->device->info.name, text);
    }
    free(text);
    return rc;
}
