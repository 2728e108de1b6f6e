#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# run.sh ROOT FILE: one file of daemon tests. Exit 77 (skip) without the Python packages.
root=$1
shift
for python in "$root/.cache/venv/bin/python" "${Q35_PYTHON:-}" python3; do
    [ -n "$python" ] || continue
    if "$python" -c 'import pytest, openai' 2>/dev/null; then
        exec "$python" -B -m pytest -q -x -p no:cacheprovider "$@"
    fi
done
echo "skipped: pytest and openai are not installed; tools/setup --tests does that"
exit 77
