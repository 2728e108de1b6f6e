# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Judges text of the demo model: is it a story of the grammar, and does it keep to its facts?

A story counts only if all of it parses, every name, animal, colour and pronoun agrees with
what came before, and everything the prompt asked for is in it. An answer counts only if it is
exactly one of the right ones.
"""

import argparse
import random
import sys

from generate_text import story
from grammar import parse
from plots import PLOTS, TOPICS


def read_story(text):
    """(plot, bindings) of a correct story, or (None, where it stops making sense)."""
    furthest = [0]
    for plot, steps in PLOTS.items():
        b = parse(steps, text, {}, 0, furthest)
        if b:
            return plot, b
    return None, furthest[0]


def judge(case, output):
    """True if the output is right for a case of generate_text.cases()."""
    output = output.strip()
    if "answers" in case:
        return output in case["answers"]
    if case["turns"][-1][0] == "text":
        output = case["turns"][-1][1] + " " + output
    plot, b = read_story(output)
    if plot is None or (case["topic"] and case["topic"] not in TOPICS[plot]):
        return False
    return all(b.get(name) == value for name, value in case["keep"].items()
               if name not in ("he", "fhe"))


def self_test(count):
    """Reads back generated stories, and the same with one word wrong. Returns the errors."""
    rng, errors = random.Random(1), 0
    for _ in range(count):
        plot, b, text = story(rng, rng.random() < 0.5)
        found, read = read_story(text)
        errors += found != plot or any(b[name] != value for name, value in read.items())
        words = text.split(" ")
        at = rng.randrange(8, len(words) - 1)
        wrong = " ".join(words[:at] + ["apple"] + words[at + 1:])
        errors += read_story(wrong)[0] is not None
    return errors


def main():
    """Judges stories, one a line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", help="text file, one story a line (standard input)")
    parser.add_argument("--self-test", type=int, metavar="N",
                        help="check the checker on N generated stories instead")
    args = parser.parse_args()
    if args.self_test:
        errors = self_test(args.self_test)
        print(f"{args.self_test} stories and as many broken ones: {errors} judged wrongly")
        return 1 if errors else 0
    return judge_file(args.file)


def judge_file(path):
    """Prints what is wrong with each story of a file; 0 if nothing is."""
    with open(path, encoding="utf-8") if path else sys.stdin as lines:
        stories = [line.strip() for line in lines if line.strip()]
    right = 0
    for text in stories:
        plot, found = read_story(text)
        right += plot is not None
        if plot is None:
            print(f"wrong after: ...{text[max(0, found - 40):found]} >>> {text[found:found + 60]}")
    print(f"{right} of {len(stories)} stories are right")
    return 0 if right == len(stories) else 1


if __name__ == "__main__":
    sys.exit(main())
