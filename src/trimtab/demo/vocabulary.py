"""The words of the world: plain tables, one per noun.

Pairs that state a fact (``opposite``, ``young``, ``made of`` ...) are dictionaries from subject to object.
"""

# ruff: noqa: SIM905 - a long list of words is easier to read and to edit as running text.

from __future__ import annotations

GIRLS = (
    "Tilda Mira Oona Sela Anka Brisa Dora Elin Fenna Greta Hilda Iris Jorun Kira Lotta Maren Nell "
    "Petra Runa Sanna Tessa Ulla Vera Wilma Yara Zora Agnes Bella Clara Edith"
).split()
BOYS = (
    "Bram Tor Arlo Boris Casper Dirk Emil Finn Gustav Hugo Ivo Jasper Klaus Lars Milo Nils Otto Pavel "
    "Quinn Ralf Stefan Tobias Viktor Willem Xander Yorick Anton Bruno Conrad Felix"
).split()

TOWNS = (
    "Arden Belmar Corvel Dunmere Elsing Farrow Glenholt Harwick Iverley Jorvale Kelby Lindow Marlow "
    "Norwell Oakham Pellow Quarley Rushden Selby Tarn Ulverton Varden Westry Yarrow"
).split()
RIVERS = "Alder Brisk Cinder Dove Esk Fallow Gannet Hollin".split()
REGIONS = ("north", "south", "east", "west")
PRODUCTS = (
    "bread cheese honey glass paper rope salt silk wool pottery clocks boats bells candles carpets "
    "knives lace leather soap baskets apples cider barrels lanterns"
).split()
LANDMARKS = (
    "an old bridge,a tall tower,a stone mill,a round library,a red lighthouse,a wide harbour,"
    "a quiet abbey,a great clock,a walled garden,a deep well,a wooden theatre,a white castle"
).split(",")

JOBS = (
    "baker carpenter farmer fisher teacher doctor tailor smith miller painter weaver potter gardener "
    "shepherd sailor cook miner librarian musician builder"
).split()
PETS = "cat dog rabbit goat parrot horse duck turtle mouse pony goose hen".split()
FOODS = (
    "soup,rice,pancakes,cheese,mushrooms,plums,porridge,beans,pears,noodles,honey cake,potatoes,"
    "cherries,walnuts,onion pie,fish"
).split(",")
COLOURS = "red blue green yellow purple orange brown grey pink white black".split()

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
_SEASONS = "winter winter spring spring spring summer summer summer autumn autumn autumn winter".split()
SEASON_OF_MONTH = dict(zip(MONTHS, _SEASONS, strict=True))

THINGS = (
    "lamp key book ring coin hat rope basket kite drum letter map shell spoon whistle scarf mirror "
    "button ribbon bottle candle compass flute brush cup"
).split()
PLACES = (
    "kitchen barn garden attic cellar market school mill forge stable library harbour bakery orchard tower chapel"
).split()
COUNTABLES = "apples plums eggs coins shells pears books candles sheep ducks nuts cakes loaves".split()
DEEDS = (
    "painted the door,baked the bread,fed the ducks,swept the floor,mended the roof,wrote the letter,"
    "rang the bell,lit the fire,watered the plants,caught the fish,sang the song,cooked the soup,"
    "shut the gate,broke the cup,washed the windows,drew the map"
).split(",")
WEATHER = "cold warm windy rainy bright quiet foggy".split()
MOODS = "happy tired hungry sad cheerful late curious".split()

YOUNG = {
    "cow": "calf", "sheep": "lamb", "horse": "foal", "dog": "puppy", "cat": "kitten", "goat": "kid",
    "pig": "piglet", "duck": "duckling", "hen": "chick", "goose": "gosling", "swan": "cygnet",
    "bear": "cub", "deer": "fawn", "frog": "tadpole", "owl": "owlet", "eagle": "eaglet",
    "kangaroo": "joey", "rabbit": "bunny",
}  # fmt: skip
SOUND = {
    "cow": "moos", "sheep": "bleats", "horse": "neighs", "dog": "barks", "cat": "meows",
    "pig": "grunts", "duck": "quacks", "hen": "clucks", "goose": "honks", "frog": "croaks",
    "owl": "hoots", "lion": "roars", "wolf": "howls", "bee": "buzzes", "mouse": "squeaks",
    "snake": "hisses", "donkey": "brays", "crow": "caws",
}  # fmt: skip
ANIMAL_HOME = {
    "bee": "hive", "bear": "cave", "bird": "nest", "horse": "stable", "dog": "kennel",
    "rabbit": "burrow", "fox": "den", "spider": "web", "pig": "sty", "beaver": "lodge",
    "ant": "anthill", "hen": "coop", "badger": "sett", "owl": "hollow tree", "fish": "pond",
    "camel": "desert", "whale": "ocean", "goldfish": "bowl",
}  # fmt: skip
ANIMAL_CLASS = {
    "cow": "mammal", "sheep": "mammal", "horse": "mammal", "dog": "mammal", "cat": "mammal",
    "whale": "mammal", "fox": "mammal", "bear": "mammal", "mouse": "mammal", "rabbit": "mammal",
    "duck": "bird", "hen": "bird", "goose": "bird", "owl": "bird", "eagle": "bird", "swan": "bird",
    "crow": "bird", "robin": "bird", "salmon": "fish", "trout": "fish", "cod": "fish",
    "herring": "fish", "pike": "fish", "bee": "insect", "ant": "insect", "wasp": "insect",
    "moth": "insect", "beetle": "insect", "snake": "reptile", "lizard": "reptile", "turtle": "reptile",
    "crocodile": "reptile",
}  # fmt: skip
LEGS = {
    "horse": "four", "dog": "four", "cow": "four", "cat": "four", "sheep": "four", "fox": "four",
    "hen": "two", "duck": "two", "owl": "two", "crow": "two", "robin": "two", "ant": "six",
    "bee": "six", "beetle": "six", "moth": "six", "wasp": "six", "spider": "eight", "snake": "no",
    "salmon": "no", "trout": "no", "worm": "no",
}  # fmt: skip
ANIMALS_BY_SIZE = (
    "ant bee spider mouse frog robin crow duck hen cat rabbit fox goose dog goat sheep pig wolf deer "
    "donkey bear cow horse camel elephant whale"
).split()

OPPOSITE = {
    "hot": "cold", "big": "small", "tall": "short", "fast": "slow", "light": "dark", "wet": "dry",
    "full": "empty", "hard": "soft", "old": "new", "early": "late", "open": "shut", "happy": "sad",
    "loud": "quiet", "rich": "poor", "strong": "weak", "thick": "thin", "wide": "narrow",
    "deep": "shallow", "high": "low", "near": "far", "clean": "dirty", "rough": "smooth",
    "sharp": "blunt", "sweet": "sour", "brave": "afraid", "true": "false", "right": "wrong",
    "up": "down", "inside": "outside", "first": "last", "before": "after", "always": "never",
    "give": "take", "push": "pull", "buy": "sell", "begin": "end", "laugh": "cry", "win": "lose",
    "love": "hate", "remember": "forget", "day": "night", "north": "south", "east": "west",
    "summer": "winter", "heavy": "weightless", "kind": "cruel", "cheap": "dear", "asleep": "awake",
}  # fmt: skip
PLURAL = {
    "man": "men", "woman": "women", "child": "children", "foot": "feet", "tooth": "teeth",
    "goose": "geese", "mouse": "mice", "ox": "oxen", "leaf": "leaves", "knife": "knives",
    "wolf": "wolves", "loaf": "loaves", "shelf": "shelves", "wife": "wives", "half": "halves",
    "thief": "thieves", "city": "cities", "berry": "berries", "baby": "babies", "lady": "ladies",
    "story": "stories", "pony": "ponies", "box": "boxes", "fox": "foxes", "dish": "dishes",
    "brush": "brushes", "church": "churches", "bench": "benches", "glass": "glasses",
    "potato": "potatoes", "hero": "heroes", "dog": "dogs", "cat": "cats", "boat": "boats",
    "lamp": "lamps", "house": "houses", "horse": "horses", "tree": "trees", "apple": "apples",
    "river": "rivers",
}  # fmt: skip
PAST = {
    "go": "went", "come": "came", "see": "saw", "eat": "ate", "give": "gave", "take": "took",
    "run": "ran", "sing": "sang", "swim": "swam", "write": "wrote", "ride": "rode", "drive": "drove",
    "break": "broke", "speak": "spoke", "fly": "flew", "grow": "grew", "know": "knew", "throw": "threw",
    "draw": "drew", "buy": "bought", "bring": "brought", "think": "thought", "catch": "caught",
    "teach": "taught", "sell": "sold", "tell": "told", "find": "found", "hold": "held",
    "sleep": "slept", "keep": "kept", "feel": "felt", "leave": "left", "build": "built", "send": "sent",
    "make": "made", "hear": "heard", "sit": "sat", "stand": "stood", "walk": "walked", "bake": "baked",
    "plant": "planted", "paint": "painted",
}  # fmt: skip
COLOUR_OF = {
    "grass": "green", "snow": "white", "coal": "black", "blood": "red", "the clear sky": "blue",
    "a lemon": "yellow", "a carrot": "orange", "a violet": "purple", "milk": "white",
    "a ripe tomato": "red", "chocolate": "brown", "a crow": "black", "a swan": "white",
    "an elephant": "grey", "a ripe banana": "yellow", "a strawberry": "red", "a flamingo": "pink",
    "soil": "brown", "ash": "grey", "a pea": "green", "a cucumber": "green", "butter": "yellow",
    "salt": "white", "the deep sea": "blue",
}  # fmt: skip
MADE_OF = {
    "a window": "glass", "a book": "paper", "a tyre": "rubber", "a nail": "iron", "a candle": "wax",
    "a shoe": "leather", "a jumper": "wool", "a barrel": "wood", "a brick": "clay", "a ring": "gold",
    "a sail": "canvas", "a coin": "silver", "a pillow": "feathers", "a statue": "marble",
    "a kettle": "copper", "a web": "silk", "a shirt": "cotton", "a bottle": "glass",
    "a letter": "paper", "a table": "wood",
}  # fmt: skip
FOOD_FROM = {
    "bread": "flour", "cheese": "milk", "wine": "grapes", "cider": "apples", "omelettes": "eggs",
    "butter": "cream", "chips": "potatoes", "jam": "fruit", "flour": "wheat", "raisins": "grapes",
    "yoghurt": "milk", "toast": "bread", "ketchup": "tomatoes", "chocolate": "cocoa",
    "sausages": "meat", "porridge": "oats",
}  # fmt: skip
TOOL_USE = {
    "a hammer": "drive nails", "a saw": "cut wood", "a spade": "dig holes", "a needle": "sew cloth",
    "a broom": "sweep floors", "a pen": "write letters", "a kettle": "boil water",
    "a ladder": "climb walls", "a comb": "tidy hair", "a net": "catch fish", "an oven": "bake bread",
    "a clock": "tell time", "a ruler": "measure lines", "a key": "open locks", "an oar": "row boats",
    "a thermometer": "measure heat", "a bucket": "carry water", "an axe": "split logs",
    "an umbrella": "keep dry", "a lamp": "give light",
}  # fmt: skip
JOB_PLACE = {
    "baker": "bakery", "carpenter": "workshop", "farmer": "farm", "teacher": "school",
    "doctor": "hospital", "smith": "forge", "miller": "mill", "gardener": "garden", "sailor": "ship",
    "cook": "kitchen", "miner": "mine", "librarian": "library", "judge": "court", "actor": "theatre",
    "monk": "abbey", "brewer": "brewery",
}  # fmt: skip
JOB_TASK = {
    "baker": "bakes bread", "carpenter": "works with wood", "farmer": "grows crops",
    "fisher": "catches fish", "teacher": "teaches children", "doctor": "heals the sick",
    "tailor": "sews clothes", "smith": "hammers iron", "miller": "grinds grain",
    "painter": "paints pictures", "weaver": "weaves cloth", "potter": "shapes clay",
    "gardener": "tends plants", "shepherd": "guards sheep", "sailor": "sails ships",
    "cook": "prepares meals", "miner": "digs coal", "librarian": "looks after books",
    "musician": "plays tunes", "builder": "raises houses",
}  # fmt: skip
KIND_OF = {
    "apple": "fruit", "pear": "fruit", "plum": "fruit", "cherry": "fruit", "peach": "fruit",
    "banana": "fruit", "carrot": "vegetable", "onion": "vegetable", "cabbage": "vegetable",
    "turnip": "vegetable", "leek": "vegetable", "oak": "tree", "elm": "tree", "birch": "tree",
    "willow": "tree", "beech": "tree", "rose": "flower", "tulip": "flower", "daisy": "flower",
    "lily": "flower", "violet": "flower", "hammer": "tool", "saw": "tool", "spade": "tool",
    "chisel": "tool", "axe": "tool", "flute": "instrument", "drum": "instrument",
    "violin": "instrument", "trumpet": "instrument", "harp": "instrument",
    "chair": "piece of furniture", "table": "piece of furniture", "bed": "piece of furniture",
    "cupboard": "piece of furniture", "gold": "metal", "iron": "metal", "copper": "metal",
    "silver": "metal", "tin": "metal", "coat": "garment", "shirt": "garment", "hat": "garment",
    "scarf": "garment", "glove": "garment",
}  # fmt: skip
CAPITAL = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "England": "London",
    "Japan": "Tokyo", "Egypt": "Cairo", "Greece": "Athens", "Russia": "Moscow", "Norway": "Oslo",
    "Sweden": "Stockholm", "Poland": "Warsaw", "Portugal": "Lisbon", "Austria": "Vienna",
    "Ireland": "Dublin", "Finland": "Helsinki", "Hungary": "Budapest", "Cuba": "Havana",
    "Kenya": "Nairobi", "Peru": "Lima",
}  # fmt: skip
RELATIVE = {
    "mother's brother": "uncle", "father's brother": "uncle", "mother's sister": "aunt",
    "father's sister": "aunt", "mother's mother": "grandmother", "father's mother": "grandmother",
    "mother's father": "grandfather", "father's father": "grandfather", "brother's son": "nephew",
    "sister's son": "nephew", "brother's daughter": "niece", "sister's daughter": "niece",
    "uncle's child": "cousin", "aunt's child": "cousin",
}  # fmt: skip
EFFECT = {
    "ice is warmed": "it melts", "water is cooled enough": "it freezes",
    "rain falls on the road": "it gets wet", "a glass is dropped on stone": "it breaks",
    "a seed is watered": "it grows", "iron is left in the rain": "it rusts",
    "paper is held in a flame": "it burns", "water is heated long enough": "it boils",
    "milk is left in the sun": "it sours", "a plant gets no water": "it withers",
    "bread is kept too long": "it goes stale", "a candle is lit": "it shines",
    "a balloon meets a thorn": "it bursts", "wet cloth hangs in the wind": "it dries",
    "a stone is put in a pond": "it sinks", "a cork is put in a pond": "it floats",
}  # fmt: skip
