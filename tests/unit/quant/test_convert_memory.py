#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""usage: test_convert_memory.py Q35 DIR_OF_TINY_MODEL

The memory that convert needs does not grow with the number of layers, with or without calibration.
The limit is on private memory, RLIMIT_DATA: the mapped input does not count."""
import os
import resource
import subprocess
import sys
import tempfile

q35 = sys.argv[1]
sys.path.insert(0, sys.argv[2])
import tiny_model  # noqa: E402

FEW, MANY = 2, 20
LAYER = 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64)  # bytes of a layer as floats


def converts(source, options, limit):
    """Whether convert succeeds within `limit` bytes; any failure but a lack of memory is an error."""
    def limited():
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    run = subprocess.run([q35, "convert", source, "-o", source + ".q35.gguf", "--threads", "1",
                          "--effort", "0"] + options, preexec_fn=limited, capture_output=True,
                         text=True)
    if run.returncode and "memory" not in run.stderr and "start a thread" not in run.stderr \
            and run.returncode > 0 and run.returncode != 127:
        sys.exit("FAIL: convert: " + run.stderr)
    return run.returncode == 0


def needed(source, options):
    """The least limit that will do, to 128 KiB."""
    low, high = 0, 1 << 22
    while not converts(source, options, high):
        low, high = high, 2 * high
        if high > 1 << 28:
            print("SKIP: convert does not work under RLIMIT_DATA of 256 MiB (a sanitizer?)")
            sys.exit(77)
    while high - low > 1 << 17:
        middle = (low + high) // 2
        low, high = (low, middle) if converts(source, options, middle) else (middle, high)
    return high


def main():
    with tempfile.TemporaryDirectory() as d:
        text = os.path.join(d, "text")
        with open(text, "w", encoding="ascii") as f:
            f.write("one two three " * 20)
        for name, layers in (("few", FEW), ("many", MANY)):
            tiny_model.LAYERS = layers
            tiny_model.write(os.path.join(d, name))
        for options in [], ["--calibrate", text]:
            few = needed(os.path.join(d, "few"), options)
            more = few + (MANY - FEW) * LAYER // 4  # for names and places of tensors
            print("%s: %d KiB with %d layers" % (options[:1] or "rounding", few >> 10, FEW))
            if not converts(os.path.join(d, "many"), options, more):
                sys.exit("FAIL: %d KiB are not enough with %d layers" % (more >> 10, MANY))


main()
