# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Writes the demo model's training text from the grammar: stories and conversations.

A document is a list of (role, text). The role "text" is a plain story without a conversation.
Some combinations (a colour with an animal, a name with an animal, ...) are held out of
training; cases() makes prompts that use them, each with what a right answer must fulfil.
"""

import argparse
import json
import random
import zlib

import facts
import words as w
from grammar import DOMAIN, RELATIONS, render, variables
from plots import COMMON_QUESTIONS, OPENING, PLOTS, QUESTIONS, TOPICS

ASK = ["Tell me a story about {}.", "Can you tell me a story about {}?",
       "Please tell me a story about {}.", "Write a story about {}.",
       "Please write a story about {}.", "Write a short story about {}.",
       "I want to hear a story about {}.", "Tell me a short story about {}.",
       "A story about {}, please.", "Could you write me a story about {}?"]
ASK_ANY = ["Tell me a story.", "Can you tell me a story?", "Please tell me a story.",
           "Write a story.", "Tell me another story.", "I want to hear a story.",
           "Tell me a short story.", "A story, please."]


def held_out(*key):
    """True for the tenth of all combinations that training never shows."""
    return zlib.crc32("|".join(map(str, key)).encode()) % 10 == 0


def hero_held_out(b):
    """True if a story's hero is a combination kept from training."""
    pairs = [(b.get("colour"), b["kind"]), (b.get("trait"), b["kind"]), (b["name"], b["kind"])]
    return any(p[0] and held_out(*p) for p in pairs)


def invented_name(rng):
    """A name nobody has, so that the model learns to copy any name."""
    syllable = lambda: rng.choice("bdfgjklmnprstvz") + rng.choice("aeiou") + rng.choice(
        ["", "", "l", "n", "r", "s", "k", "m"])
    return "".join(syllable() for _ in range(rng.choice([1, 2, 2, 2]))).capitalize()


def person(rng, taken=()):
    """A name, its pronoun and a kind that suits it."""
    while True:
        kind = rng.choice(w.KINDS)
        he = w.GENDERED.get(kind) or rng.choice(["he", "she"])
        name = rng.choice(w.GIRLS if he == "she" else w.BOYS)
        if rng.random() < 0.12:
            name = invented_name(rng)
        if name not in taken and len(name) > 1:
            return name, he, kind


def bind(rng, template, b):
    """Chooses values for the template's variables that b does not have yet."""
    for name in sorted(variables(template) - set(b)):
        if name in b:
            continue
        for names, rows in RELATIONS.items():
            if name in names:
                fits = [r for r in rows if all(b.get(n, v) == v for n, v in zip(names, r))]
                b.update(zip(names, rng.choice(fits)))
        b.setdefault(name, rng.choice(DOMAIN[name]) if name in DOMAIN else None)


def hero(rng):
    """Bindings of a hero and a friend, and which adjectives the opening gives the hero."""
    b = {}
    b["name"], b["he"], b["kind"] = person(rng)
    b["friend"], b["fhe"], b["fkind"] = person(rng, (b["name"],))
    while b["fkind"] == b["kind"]:
        b["friend"], b["fhe"], b["fkind"] = person(rng, (b["name"],))
    if b["kind"] not in w.PEOPLE and rng.random() < 0.65:
        b["colour"] = rng.choice(w.COLOURS)
    if rng.random() < 0.5:
        b["trait"] = rng.choice(w.TRAITS)
    return b


def story(rng, held=False):
    """A story as (plot name, bindings, text). held: its hero is a held-out combination."""
    b = hero(rng)
    while hero_held_out(b) != held:
        b = hero(rng)
    looks = {"colour", "trait"}
    plot = rng.choice(list(PLOTS))
    said = []
    for step in PLOTS[plot]:
        if step is OPENING:
            step = [t for t in step if variables(t) & looks == set(b) & looks]
        template = rng.choice(step)
        if template:
            bind(rng, template, b)
            said.append(render(template, b))
    return plot, b, " ".join(said)


def who(rng, b):
    """A description of the hero for a prompt, and the variables it names."""
    looks = [n for n in ("trait", "colour") if n in b and rng.random() < 0.9]
    first = " ".join(["{a:%s}" % looks[0]] + ["{%s}" % n for n in looks[1:]] + ["{kind}"]
                     if looks else ["{a:kind}"])
    if rng.random() < 0.15:
        return "{name}"
    if rng.random() < 0.1:
        return "{name} the {kind}"
    if rng.random() < 0.6:
        first += rng.choice([" named {name}", " named {name}", " called {name}"])
    if "home" in b and rng.random() < 0.4:
        first += rng.choice([" who lived {home}", " who lives {home}", " {home}"])
    return first


def what(rng, plot, b):
    """The template of what a prompt asks the story to be about."""
    choice = rng.random()
    topic = rng.choice([t for t in TOPICS[plot] if variables(t) <= set(b)])
    if choice < 0.60:
        return who(rng, b), None
    if choice < 0.72:
        return who(rng, b) + " and " + topic, topic
    if choice < 0.80:
        return topic, topic
    if choice < 0.90:
        return "{a:kind} and {a:fkind}", None
    return "{name} and {friend}", None


def loosen(rng, text):
    """Now and then a prompt without its full stop or its capital letter, as people type."""
    if rng.random() < 0.12:
        text = text.rstrip(".?!")
    if rng.random() < 0.10:
        text = text[0].lower() + text[1:]
    return text


def story_request(rng, plot, b):
    """A prompt for a story: (text, variables the story must keep to, topic or None)."""
    if rng.random() < 0.08:
        return rng.choice(ASK_ANY), frozenset(), None
    about, topic = what(rng, plot, b)
    return rng.choice(ASK).format(render(about, b)), variables(about), topic


def story_questions(plot, b):
    """All (question, answer) pairs that the story's bindings can answer."""
    for question, answer in COMMON_QUESTIONS + QUESTIONS[plot]:
        if variables(question) | variables(answer) <= set(b):
            if "animal" not in question or b["fkind"] in w.ANIMALS:
                yield render(question, b), render(answer, b)


def context_question(rng, held=False):
    """Two or three facts, a question about one, and the answer."""
    if rng.random() < 0.15:
        return order_question(rng, held)
    told, (statement, asks) = [], facts.CONTEXT[rng.choice(list(facts.CONTEXT))]
    while len(told) < rng.choice([2, 2, 3]):
        b = {}
        b["name"], _, kind = person(rng)
        if "kind" in variables(statement):
            b["kind"] = kind
        bind(rng, statement, b)
        clash = any(b[n] == other[n] for other in told for n in variables(statement)
                    if n != "tcolour")
        if not clash and held_out(*sorted(b.values())) == (held and not told):
            told.append(b)
    about = told[0]
    rng.shuffle(told)
    question, answer = rng.choice(asks)
    lines = [render(statement, b) for b in told] + [render(question, about)]
    return " ".join(lines), [render(answer, about)]


def order_question(rng, held):
    """One comparison of two people and a question about it."""
    while True:
        x, y = person(rng)[0], person(rng)[0]
        more, less = rng.choice(facts.ORDER)
        if x != y and held_out(x, y) == held:
            break
    says = f"{x} is {more} than {y}."
    if rng.random() < 0.5:
        return f"{says} Who is {more}?", [f"{x} is {more}."]
    return f"{says} Who is {less}?", [f"{y} is {less}."]


def world_question(rng, held=False):
    """A question about the world and its right answers. Held out: a wording of a fact."""
    while True:
        asks, answers = rng.choice(facts.WORLD[rng.choice(["animals", "numbers", "things"])])
        question = rng.choice(asks)
        if (len(asks) > 1 and held_out(question)) == held:
            return question, answers


def chat_story(rng):
    """A story on request with questions about it."""
    plot, b, text = story(rng)
    turns = [("user", loosen(rng, story_request(rng, plot, b)[0])), ("assistant", text)]
    pairs = list(story_questions(plot, b))
    for question, answer in rng.sample(pairs, min(len(pairs), rng.choice([0, 1, 2, 3, 4]))):
        turns += [("user", loosen(rng, question)), ("assistant", answer)]
    return turns


def repeat(rng):
    """Words in no order to be said again: the plainest form of copying."""
    some = [rng.choice([rng.choice(w.GIRLS + w.BOYS), rng.choice(w.KINDS), rng.choice(w.THINGS),
                        rng.choice(w.COLOURS), invented_name(rng)])
            for _ in range(rng.choice([3, 4, 5, 6, 7, 8]))]
    return [("user", "Say: " + " ".join(some) + "."),
            ("assistant", "You said: " + " ".join(some) + ".")]


def context_turn(rng):
    """A question about facts just stated, and its answer."""
    question, answers = context_question(rng)
    return [("user", question), ("assistant", answers[0])]


def short_turn(rng):
    """One question and its answer, not about a story."""
    choice = rng.random()
    if choice < 0.12:
        return repeat(rng)
    if choice < 0.6:
        return context_turn(rng)
    if choice < 0.9:
        question, answers = world_question(rng)
    else:
        asks, answers = rng.choice(facts.TALK + facts.TALK[-1:] * 4)
        question = rng.choice(asks)
    return [("user", loosen(rng, question)), ("assistant", rng.choice(answers))]


def document(rng, stories=0.5):
    """One training document; stories: the share of documents that are or have a story."""
    choice = rng.random()
    if choice < 0.25 * stories:
        return [("text", story(rng)[2])]
    turns = []
    if rng.random() < 0.15:
        turns.append(("system", rng.choice(facts.SYSTEM)))
    if choice < stories:
        if rng.random() < 0.1:
            turns += short_turn(rng)
        turns += chat_story(rng)
        if rng.random() < 0.1:
            turns += short_turn(rng)
        return turns
    for _ in range(rng.choice([1, 2, 3, 4, 5])):
        turns += short_turn(rng)
    return turns


def cases(rng, count):
    """Held-out prompts by class: dictionaries with class, turns and what the judge needs."""
    out = []
    for _ in range(count):
        plot, b, text = story(rng, held=True)
        ask, keep, topic = story_request(rng, plot, b)
        out.append({"class": "story", "turns": [("user", ask)],
                    "keep": {n: b[n] for n in keep}, "topic": topic})
        first = text[:text.index(".") + 1]
        out.append({"class": "continue", "turns": [("text", first)], "keep": {}, "topic": None})
        question, answer = rng.choice(list(story_questions(plot, b)))
        out.append({"class": "story question", "answers": [answer], "turns": [
            ("user", ask), ("assistant", text), ("user", question)]})
        question, answers = context_question(rng, held=True)
        out.append({"class": "context question", "answers": answers,
                    "turns": [("user", question)]})
        question, answers = world_question(rng, held=True)
        out.append({"class": "world question", "answers": answers,
                    "turns": [("user", question)]})
    return out


def main():
    """Prints documents, one JSON list a line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10, help="documents to write (10)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generator (1)")
    parser.add_argument("--cases", action="store_true", help="write held-out test prompts instead")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    made = cases(rng, args.count) if args.cases else (document(rng) for _ in range(args.count))
    for item in made:
        print(json.dumps(item))


if __name__ == "__main__":
    main()
