# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Templates that can be both written and read.

A template is a sentence with slots, such as "{A:trait} {kind} named {name} lost {his} {thing}."
render() fills the slots from bindings; match() finds the bindings a text must have had. One
table of templates therefore is the generator of the text and its judge.

A slot is {variable} or {form:variable}. Forms: a, A (with an indefinite article), cap (capital
letter). The pronouns {he} {his} {him} {He} {His} stand for the variable "he"; with an f before
them, for the friend's "fhe".
"""

import re
from functools import lru_cache

import words as w

SLOT = re.compile(r"\{(?:(\w+):)?(\w+)\}")
NAME = r"[A-Z][a-z]{1,11}"
PRONOUNS = {
    "he": {"he": "he", "she": "she"},
    "his": {"he": "his", "she": "her"},
    "him": {"he": "him", "she": "her"},
    "He": {"he": "He", "she": "She"},
    "His": {"he": "His", "she": "Her"},
}
OPEN = ("name", "friend", "name2")
DOMAIN = {
    "he": ["he", "she"], "fhe": ["he", "she"],
    "kind": w.KINDS, "fkind": w.KINDS, "colour": w.COLOURS, "tcolour": w.COLOURS,
    "trait": w.TRAITS, "ftrait": w.FTRAITS, "home": w.HOMES, "place": w.PLACES,
    "thing": w.THINGS, "hide": w.HIDES, "food": w.FOODS, "skill": w.SKILLS,
    "number": w.NUMBERS, "shelter": w.SHELTERS, "pastime": w.PASTIMES,
    "treasure": w.TREASURES, "thing2": w.THINGS, "tcolour2": w.COLOURS, "place2": w.PLACES,
}
RELATIONS = {
    ("trouble", "complaint", "verb", "help", "result"): w.TROUBLES,
    ("begins", "feels", "ends"): w.WEATHERS,
    ("makes", "work", "stuff", "use"): w.WORKS,
    ("fear", "comfort"): w.FEARS,
    ("kind", "food"): [(k, f) for k, foods in w.EATS.items() for f in foods],
}
for _names, _rows in RELATIONS.items():
    for _i, _name in enumerate(_names):
        DOMAIN.setdefault(_name, sorted({row[_i] for row in _rows}))


def article(word):
    """The word with "a" or "an" before it."""
    return ("an " if word[0] in "aeiouAEIOU" else "a ") + word


def capital(word):
    """The word with a capital letter."""
    return word[0].upper() + word[1:]


FORMS = {None: str, "a": article, "A": lambda s: capital(article(s)), "cap": capital}


def variable(slot):
    """The variable behind a slot's name, and the table of its pronoun if it is one."""
    for prefix, name in (("", slot), ("f", slot[1:])):
        if slot.startswith(prefix) and name in PRONOUNS:
            return prefix + "he", PRONOUNS[name]
    return slot, None


@lru_cache(maxsize=None)
def variables(template):
    """The set of variables a template uses."""
    return frozenset(variable(slot)[0] for _, slot in SLOT.findall(template))


def spell(form, slot, value):
    """A slot's text for a value of its variable."""
    pronoun = variable(slot)[1]
    return pronoun[value] if pronoun else FORMS[form](value)


def render(template, b):
    """The template with its slots filled from the bindings b."""
    return SLOT.sub(lambda m: spell(m[1], m[2], b[variable(m[2])[0]]), template)


def slot_pattern(form, slot, b):
    """A regular expression for the slot, and the map from its text back to a value."""
    name = variable(slot)[0]
    if name in b:
        text = spell(form, slot, b[name])
        return re.escape(text), {text: b[name]}
    if name in OPEN:
        return NAME, None
    back = {spell(form, slot, v): v for v in DOMAIN[name]}
    return "|".join(re.escape(t) for t in sorted(back, key=len, reverse=True)), back


def match(template, text, pos, b):
    """Matches the template at text[pos:]. Returns (end, bindings) or None."""
    pattern, slots, last = [], [], 0
    for m in SLOT.finditer(template):
        expr, back = slot_pattern(m[1], m[2], b)
        pattern += [re.escape(template[last:m.start()]), f"({expr})"]
        slots.append((variable(m[2])[0], back))
        last = m.end()
    pattern.append(re.escape(template[last:]))
    found = re.compile("".join(pattern)).match(text, pos)
    if not found:
        return None
    bound = dict(b)
    for (name, back), got in zip(slots, found.groups()):
        value = back[got] if back else got
        if bound.setdefault(name, value) != value:
            return None
    return (found.end(), bound) if consistent(bound) else None


def consistent(b):
    """True unless the bindings break a rule of the language's small world."""
    for names, rows in RELATIONS.items():
        known = [i for i, n in enumerate(names) if n in b]
        if len(known) > 1 and not any(all(row[i] == b[names[i]] for i in known) for row in rows):
            return False
    for name, he, kind in (("name", "he", "kind"), ("friend", "fhe", "fkind")):
        given = b.get(he)
        if given is None:
            continue
        if b.get(name) in w.GIRLS and given != "she" or b.get(name) in w.BOYS and given != "he":
            return False
        if w.GENDERED.get(b.get(kind), given) != given:
            return False
    if "name" in b and b["name"] == b.get("friend"):
        return False
    return "colour" not in b or b.get("kind") not in w.PEOPLE


def parse(steps, text, b, pos=0, furthest=None):
    """Reads text as one template of each step in order. Returns the bindings or None.

    furthest: a one-element list that receives the position up to which the text made sense.
    """
    if furthest is not None:
        furthest[0] = max(furthest[0], pos)
    if not steps:
        return b if pos == len(text) else None
    for template in steps[0]:
        if not template:
            got = (pos, b)
        else:
            start = pos + (1 if pos and text[pos:pos + 1] == " " else 0)
            if pos and start == pos:
                continue
            got = match(template, text, start, b)
        done = got and parse(steps[1:], text, got[1], got[0], furthest)
        if done:
            return done
    return None
