#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Writes a header as it may look one minor later. usage: grow.py IN OUT"""
import sys

from headers import grow

with open(sys.argv[1], encoding="utf-8") as f:
    text = f.read()
with open(sys.argv[2], "w", encoding="utf-8") as f:
    f.write(grow(text))
