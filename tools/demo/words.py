# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
"""The words of the demo language and the facts that hold between them."""

GIRLS = ("Ann Amy Lily Mia Zoe Ella Rosa Nina Kate Lucy Emma Anna Sara Ruby Ivy Eva Jane Mary "
         "Tina Dora Nora Rose Alice Clara Julia Molly Daisy Bella Grace Sophie").split()
BOYS = ("Tom Ben Sam Max Leo Tim Jack Dan Bob Finn Oscar Hugo Adam Paul Nick Peter Fred Luke "
        "Otto Alex John Harry Felix Henry Theo Noah Simon Jacob Bruno Rex").split()
COLOURS = "red blue green yellow orange purple white black brown grey pink golden silver".split()
TRAITS = ("little big old young brave shy kind clever happy sleepy funny quiet small tiny proud "
          "curious friendly gentle lazy strong").split()
PEOPLE = "girl boy king queen knight giant".split()
GENDERED = {"girl": "she", "queen": "she", "boy": "he", "king": "he"}

# What each creature eats.
EATS = {
    "fox": "eggs berries", "cat": "fish milk", "dog": "bones meat", "bear": "honey berries",
    "rabbit": "carrots leaves", "mouse": "cheese seeds", "owl": "nuts seeds",
    "frog": "flies bugs", "duck": "bread seeds", "hen": "corn seeds", "pig": "apples corn",
    "horse": "apples hay", "cow": "grass hay", "sheep": "grass leaves", "goat": "leaves grass",
    "lion": "meat fish", "tiger": "meat fish", "elephant": "bananas leaves",
    "monkey": "bananas nuts", "wolf": "meat bones", "squirrel": "nuts acorns",
    "turtle": "leaves berries", "hedgehog": "bugs apples", "penguin": "fish shrimp",
    "deer": "leaves berries", "donkey": "hay carrots", "dragon": "cakes apples",
    "robot": "nuts cakes", "girl": "apples cakes", "boy": "bread cakes", "king": "cakes pears",
    "queen": "pears cakes", "knight": "bread meat", "giant": "bread cheese",
}
EATS = {kind: foods.split() for kind, foods in EATS.items()}
KINDS = list(EATS)
ANIMALS = [k for k in KINDS if k not in PEOPLE and k not in ("robot", "dragon")]
FOODS = sorted({f for foods in EATS.values() for f in foods})

THINGS = ("ball kite hat scarf drum book doll boat bell lamp ring key cup bag coin flute "
          "whistle basket ribbon balloon").split()
HOMES = ("in the forest|in a small village|on a farm|near the river|on a hill|by the sea|"
         "in a little house|in a quiet valley|in a big town|in an old castle|by the lake|"
         "in the mountains").split("|")
PLACES = ("the river|the forest|the market|the beach|the park|the old bridge|the pond|the field|"
          "the garden|the lake|the hill|the school").split("|")
HIDES = ("under a bush|behind a tree|under a rock|in the tall grass|next to a wall|under a bench|"
         "in a hole|behind a fence|under the leaves|in the sand").split("|")
FTRAITS = "kind friendly wise old young gentle".split()

# Trouble, what one says of it, the help given (verb, friend, rest), and how it ends.
TROUBLES = [
    ("cold", "I am so cold", "gave", "a warm coat", "was warm again"),
    ("hungry", "I have nothing to eat", "gave", "some bread", "was full"),
    ("thirsty", "I need a drink", "gave", "some water", "felt better"),
    ("lost", "I cannot find my home", "showed", "the way home", "was safe at home"),
    ("lonely", "I have no one to play with", "played with", "all day", "was not alone any more"),
    ("tired", "I cannot walk any more", "carried", "all the way home", "could rest"),
    ("wet", "The rain fell on me", "brought", "a dry towel", "was dry again"),
    ("sick", "My head hurts", "brought", "some hot soup", "felt well again"),
    ("stuck", "I am stuck in the mud", "pulled", "out of the mud", "was free"),
    ("bored", "I have nothing to do", "told", "a funny story", "laughed and laughed"),
    ("scared", "I heard a loud noise", "held", "by the hand", "was not afraid any more"),
]
SKILLS = ("swim|sing|dance|read|climb trees|paint|skate|whistle|cook|ride a bike|play the drum|"
          "write|juggle|draw").split("|")
NUMBERS = "two three four five six seven eight nine ten".split()
# What begins, how it feels, what ends.
WEATHERS = [
    ("it began to rain", "wet", "the rain stopped"),
    ("it began to snow", "cold", "the snow stopped"),
    ("a strong wind began to blow", "cold", "the wind stopped"),
    ("a big storm began", "afraid", "the storm was over"),
    ("the sky became dark", "afraid", "the sky was bright again"),
]
SHELTERS = "under a big tree|in a cave|in an old barn|in a small hut|under a bridge".split("|")
PASTIMES = "sang songs|told stories|played games|drank hot tea|shared some bread".split("|")
# A verb, what is made, of what, and what is done with it.
WORKS = [
    ("bake", "a cake", "flour, eggs, and milk", "ate the cake together"),
    ("build", "a boat", "wood and rope", "sailed on the lake"),
    ("make", "a kite", "paper and string", "flew it on the hill"),
    ("build", "a tree house", "wood and nails", "slept in it that night"),
    ("cook", "soup", "carrots, beans, and water", "ate the soup together"),
    ("build", "a snowman", "snow, sticks, and a carrot", "danced around it"),
    ("make", "a drum", "wood and leather", "played music all day"),
    ("build", "a swing", "rope and wood", "played on it all day"),
    ("plant", "a garden", "seeds, earth, and water", "watched the flowers grow"),
]
FEARS = [
    ("the dark", "There is nothing in the dark that is not there in the light"),
    ("thunder", "It is only a big noise"),
    ("deep water", "I will hold your hand"),
    ("high places", "Look up and not down"),
    ("big dogs", "They only want to play"),
    ("the wind", "It is only moving air"),
]
TREASURES = ("gold coins|bright stones|old toys|silver spoons|sweet candies|shiny rings|"
             "picture books").split("|")

SOUNDS = {"cow": "moo", "dog": "woof", "cat": "meow", "sheep": "baa", "duck": "quack",
          "pig": "oink", "mouse": "squeak", "lion": "roar", "frog": "croak", "owl": "hoot",
          "hen": "cluck", "horse": "neigh", "bee": "buzz", "snake": "hiss"}
BABIES = {"dog": "puppy", "cat": "kitten", "cow": "calf", "sheep": "lamb", "horse": "foal",
          "duck": "duckling", "hen": "chick", "bear": "cub", "pig": "piglet", "goat": "kid",
          "lion": "cub", "deer": "fawn", "owl": "owlet", "frog": "tadpole"}
LOOKS = {"grass": "green", "snow": "white", "the sky": "blue", "the sun": "yellow",
         "a banana": "yellow", "a tomato": "red", "a carrot": "orange", "coal": "black",
         "milk": "white", "a lemon": "yellow", "chocolate": "brown", "a leaf": "green",
         "a strawberry": "red", "the sea": "blue", "a crow": "black", "a frog": "green"}
OPPOSITES = {"big": "small", "hot": "cold", "up": "down", "day": "night", "happy": "sad",
             "fast": "slow", "old": "young", "wet": "dry", "full": "empty", "open": "closed",
             "light": "dark", "high": "low", "long": "short", "loud": "quiet", "good": "bad",
             "hard": "soft", "clean": "dirty", "near": "far", "left": "right", "early": "late"}
OPPOSITES.update({v: k for k, v in list(OPPOSITES.items())})
CAPITALS = {"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
            "England": "London", "Japan": "Tokyo", "China": "Beijing", "Russia": "Moscow",
            "Egypt": "Cairo", "Greece": "Athens", "Poland": "Warsaw", "Norway": "Oslo",
            "Sweden": "Stockholm", "Portugal": "Lisbon", "Austria": "Vienna", "Ireland": "Dublin",
            "Canada": "Ottawa", "Cuba": "Havana", "Peru": "Lima", "Turkey": "Ankara"}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November "
          "December").split()
COUNT = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
         "fifteen sixteen seventeen eighteen nineteen twenty").split()
LEGS = {"dog": "four", "cat": "four", "horse": "four", "cow": "four", "hen": "two", "duck": "two",
        "spider": "eight", "bee": "six", "ant": "six", "snake": "no", "owl": "two", "frog": "four",
        "fish": "no", "elephant": "four"}
ABLE = {"fly": "owl duck bee crow", "swim": "fish frog duck penguin turtle",
        "climb": "monkey squirrel cat bear", "jump": "frog rabbit cat deer"}
UNABLE = {"fly": "dog cow pig elephant horse sheep", "swim": "hen owl bee spider",
          "climb": "cow fish horse duck", "jump": "fish snake elephant turtle",
          "talk": "fish cow dog duck", "read": "hen pig frog sheep"}
