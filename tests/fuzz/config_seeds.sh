#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# usage: config_seeds.sh DIR. The example configurations, as they are and with their comments opened.
for f in "$(dirname "$0")"/../../configs/*.ini; do
    cp "$f" "$1/"
    sed 's/^[#;]\([a-z]\)/\1/' "$f" >"$1/$(basename "$f").open"
done
