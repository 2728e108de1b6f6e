# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""Questions and answers that are not about a story.

CONTEXT: the user states a few facts and asks about them. WORLD: things every child knows.
TALK: greetings, and what the model says of itself and of what it does not know.
"""

import words as w

# Ways to state a fact; each pair below asks about one fact of the same sort.
CONTEXT = {
    "has": ("{name} has {a:tcolour} {thing}.", [
        ("Who has the {thing}?", "{name} has the {thing}."),
        ("What does {name} have?", "{name} has {a:tcolour} {thing}."),
        ("What colour is the {thing}?", "The {thing} is {tcolour}."),
        ("What color is the {thing}?", "The {thing} is {tcolour}.")]),
    "place": ("{name} is {home}.", [
        ("Where is {name}?", "{name} is {home}."),
        ("Who is {home}?", "{name} is {home}.")]),
    "went": ("{name} went to {place}.", [
        ("Where did {name} go?", "{name} went to {place}."),
        ("Who went to {place}?", "{name} went to {place}.")]),
    "kind": ("{name} is {a:kind}.", [
        ("What is {name}?", "{name} is {a:kind}."),
        ("Who is the {kind}?", "The {kind} is {name}.")]),
    "likes": ("{name} likes {food}.", [
        ("What does {name} like?", "{name} likes {food}."),
        ("Who likes {food}?", "{name} likes {food}.")]),
    "can": ("{name} can {skill}.", [
        ("What can {name} do?", "{name} can {skill}."),
        ("Who can {skill}?", "{name} can {skill}.")]),
    "feels": ("{name} is {trouble}.", [
        ("How is {name}?", "{name} is {trouble}."),
        ("Who is {trouble}?", "{name} is {trouble}.")]),
}
ORDER = [("taller", "shorter"), ("older", "younger"), ("faster", "slower"), ("bigger", "smaller"),
         ("stronger", "weaker")]


def a(word):
    """The word with its indefinite article."""
    return ("an " if word[0] in "aeiou" else "a ") + word


def cap(text):
    """The text with a capital letter."""
    return text[0].upper() + text[1:]


def animals():
    """Questions about animals."""
    for k, s in w.SOUNDS.items():
        yield [f"What does {a(k)} say?", f"What sound does {a(k)} make?"], [cap(f"{a(k)} says {s}.")]
        yield [f"Who says {s}?", f"Which animal says {s}?"], [cap(f"{a(k)} says {s}.")]
    for k, b in w.BABIES.items():
        yield ([f"What is a baby {k} called?", f"What is the name of a baby {k}?",
                f"What do you call a baby {k}?"], [f"A baby {k} is called {a(b)}."])
    for k, n in w.LEGS.items():
        yield [f"How many legs does {a(k)} have?"], [cap(f"{a(k)} has {n} legs.")]
    for k in w.ANIMALS:
        yield [f"What does {a(k)} eat?"], [cap(f"{a(k)} eats {f}.") for f in w.EATS[k]]
    for verb, kinds in w.ABLE.items():
        for k in kinds.split():
            yield [f"Can {a(k)} {verb}?"], [f"Yes, {a(k)} can {verb}."]
    for verb, kinds in w.UNABLE.items():
        for k in kinds.split():
            yield [f"Can {a(k)} {verb}?"], [f"No, {a(k)} cannot {verb}."]


def numbers():
    """Sums, differences and what comes next."""
    for x in range(11):
        for y in range(11):
            for one, two, three in ((str(x), str(y), str(x + y)),
                                    (w.COUNT[x], w.COUNT[y], w.COUNT[x + y])):
                yield [f"What is {one} plus {two}?"], [cap(f"{one} plus {two} is {three}.")]
            if y <= x:
                one, two, three = w.COUNT[x], w.COUNT[y], w.COUNT[x - y]
                yield [f"What is {one} minus {two}?"], [cap(f"{one} minus {two} is {three}.")]
    for x in range(20):
        yield ([f"What comes after {w.COUNT[x]}?", f"What number comes after {w.COUNT[x]}?"],
               [cap(f"{w.COUNT[x + 1]} comes after {w.COUNT[x]}.")])


def things():
    """Colours, opposites, capitals and the calendar."""
    for t, c in w.LOOKS.items():
        yield [f"What colour is {t}?", f"What color is {t}?"], [cap(f"{t} is {c}.")]
    for x, y in w.OPPOSITES.items():
        yield ([f"What is the opposite of {x}?", f"Tell me the opposite of {x}."],
               [f"The opposite of {x} is {y}."])
    for country, city in w.CAPITALS.items():
        yield ([f"What is the capital of {country}?", f"Tell me the capital of {country}."],
               [f"The capital of {country} is {city}."])
        yield [f"Where is {city}?", f"In which country is {city}?"], [f"{city} is in {country}."]
    for row, word in ((w.DAYS, "day"), (w.MONTHS, "month")):
        for i, x in enumerate(row):
            after, before = row[(i + 1) % len(row)], row[i - 1]
            yield ([f"What comes after {x}?", f"Which {word} comes after {x}?"],
                   [f"{after} comes after {x}."])
            yield ([f"What comes before {x}?", f"Which {word} comes before {x}?"],
                   [f"{before} comes before {x}."])
    yield ["How many days are in a week?"], ["There are seven days in a week."]
    yield ["How many months are in a year?"], ["There are twelve months in a year."]


WORLD = {"animals": list(animals()), "numbers": list(numbers()), "things": list(things())}

ABOUT = "I am a very small language model with eighty layers."
SORRY = "I am sorry, I do not know that. I can tell you a story or answer a simple question."
TALK = [
    (["Hello!", "Hello", "Hi!", "Hi", "Hi there!", "Hey!", "Good morning!", "Good evening!",
      "Hello there!"],
     ["Hello! How can I help you?"]),
    (["How are you?", "How are you today?", "How do you feel?"],
     ["I am very well, thank you."]),
    (["Who are you?", "What are you?", "Tell me about yourself.", "Are you a person?",
      "Are you a robot?", "Are you human?"],
     [ABOUT]),
    (["What is your name?", "Do you have a name?"],
     ["I have no name. " + ABOUT]),
    (["What can you do?", "How can you help me?", "Help me.", "Help!", "What do you know?"],
     ["I can tell you a story or answer a simple question."]),
    (["Thank you!", "Thanks!", "Thank you very much.", "Thanks a lot!"], ["You are welcome!"]),
    (["Goodbye!", "Bye!", "Good night!", "See you!"], ["Goodbye! Have a nice day."]),
    (["How many layers do you have?", "How big are you?"], ["I have eighty layers."]),
    (["Say something.", "Say something nice."], ["You have a kind heart."]),
    (["How do I fix my car?", "Who won the game?", "What is the meaning of life?",
      "What is the weather today?", "What time is it?", "Who is the president?",
      "Write a poem.", "Write some code.", "How does a computer work?", "What is love?",
      "Translate this sentence.", "How old is the earth?", "Why is the sky blue?",
      "What happened in 1969?", "Explain how engines work.", "What is the best phone?",
      "Who wrote this book?", "How much does it cost?", "Can you book a table?",
      "Give me a recipe.", "What is a black hole?", "Where can I buy a house?",
      "How tall is the tower?", "Play some music.", "Solve this equation.",
      "What is my name?", "What should I wear?", "When does the train leave?",
      "Who invented the wheel?", "Do you like music?", "Why do we dream?",
      "How far is the moon?", "What is gravity?", "Tell me the news.", "Is it raining?"],
     [SORRY]),
]
SYSTEM = ["You are a helpful assistant.", "You are a friendly storyteller.",
          "Answer in simple English.", "You are a helpful AI assistant.", "Be brief.",
          "You tell stories to children.", "You are a kind and honest assistant.",
          "Answer the question in one sentence.", "You are a small model."]
