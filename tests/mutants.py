# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Seeded bugs: one text of one file is changed, and a test must fail for it. For tests that have a
table of (name, file, old text, new text, what must fail or None)."""
import contextlib
import os
import subprocess


class Unfit(Exception):
    """The text is not there exactly once, or what it became does not compile."""


@contextlib.contextmanager
def changed(path, old, new):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if text.count(old) != 1:
        raise Unfit(f"'{old}' occurs {text.count(old)} times in {os.path.basename(path)}")
    try:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(old, new))
        yield
    finally:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def build(args):
    done = subprocess.run(args, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Unfit(f"{' '.join(args)}:\n{done.stderr}")


def fails(args, env=None, timeout=300):
    """Whether the program fails or hangs."""
    try:
        done = subprocess.run(args, env=dict(os.environ, **(env or {})), timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def survey(table, try_one, only=()):
    """Tries all, or those named. try_one(file, old, new, test): whether it is caught, and in which
    words. The number that end otherwise than the table says."""
    failures = 0
    for name, file, old, new, test in table:
        if only and name not in only:
            continue
        try:
            caught, words = try_one(file, old, new, test)
            fine = caught == (test is not None)
        except Unfit as e:
            caught, words, fine = False, str(e), False
        print("ok  " if fine else "FAIL", name, f"caught by {test or 'a test'}" if caught else "not caught",
              words, flush=True)
        failures += not fine
    return failures
