"""Short reviews of products, films and services, with a planted polarity: templates, nouns and judgements."""

import numpy as np

TEMPLATES = (
    "the {noun} is {view}",
    "I think the {noun} is {view}",
    "honestly, the {noun} was {view}",
    "we found the {noun} {view}",
    "after a week, the {noun} still seems {view}",
    "if you ask me, the {noun} is {view}",
    "the {noun} turned out to be {view}",
    "my sister says the {noun} is {view}, and I agree",
    "for this price, the {noun} is {view}",
    "this {noun} is {view}",
    "the {noun} was {view} from start to end",
    "in short, the {noun} is {view}",
    "to us the {noun} seemed {view}",
    "they call it new, and the {noun} is {view}",
    "everyone in the family thought the {noun} was {view}",
    "I tried it twice, and the {noun} was {view}",
    "as for the {noun}, it was {view}",
    "compared with last year, the {noun} is {view}",
    "the {noun} felt {view} to me",
    "about the {noun}, I would say it is {view}",
    "what a day, and the {noun} was {view}",
    "you should know that the {noun} is {view}",
    "our {noun} has been {view} so far",
    "this time the {noun} was {view}",
    "I must report that the {noun} was {view}",
    "all in all, I call the {noun} {view}",
    "now that I have seen it, the {noun} looks {view}",
    "people were right, the {noun} is {view}",
    "on most days the {noun} is {view}",
    "once again the {noun} was {view}",
)
NOUNS = (
    *("camera", "battery", "screen", "keyboard", "charger", "speaker", "blender", "jacket", "laptop", "lamp"),
    *("plot", "acting", "ending", "soundtrack", "script", "cast", "film", "sequel", "dialogue", "opening"),
    *("waiter", "delivery", "hotline", "breakfast", "reception", "booking", "driver", "repair", "kitchen"),
    *("front desk",),
)
GOOD = (
    *("great", "excellent", "wonderful", "brilliant", "lovely", "superb", "delightful", "fantastic"),
    *("impressive", "perfect", "charming", "reliable", "pleasant", "clever"),
)
BAD = (
    *("terrible", "awful", "horrible", "boring", "disappointing", "useless", "dreadful", "annoying"),
    *("sloppy", "poor", "clumsy", "unpleasant", "rude", "broken"),
)
PLAIN = (
    *("average", "ordinary", "standard", "typical", "acceptable", "as expected", "unremarkable", "middling"),
    *("what you would expect", "like the others", "neither here nor there", "common enough"),
)
STRONGER = ("very", "really", "truly", "absolutely", "quite", "so", "extremely")
NEGATIONS = ("not {word} at all", "far from {word}", "anything but {word}", "never {word}", "hardly {word}")
NEGATED = 0.25  # share of judgements that are said by the denial of the opposite
GARBLED = 0.4  # share of the letters of a garbled text that are wrong


def review(polarity: int, template: str, rng: np.random.Generator) -> str:
    """Word a review; `polarity` is -1, 0 or 1."""
    return template.format(noun=str(rng.choice(NOUNS)), view=_view(polarity, rng))


def _view(polarity: int, rng: np.random.Generator) -> str:
    """Word the judgement: a plain one, an intensified one, or the denial of the opposite."""
    fate = rng.random()
    if polarity == 0:
        both = f"not {rng.choice(GOOD)} but not {rng.choice(BAD)} either"
        return both if fate < NEGATED else str(rng.choice(PLAIN))
    if fate < NEGATED:
        return str(rng.choice(NEGATIONS)).format(word=rng.choice(BAD if polarity > 0 else GOOD))
    word = str(rng.choice(GOOD if polarity > 0 else BAD))
    return word if fate < 0.5 else f"{rng.choice(STRONGER)} {word}"


def garbled(text: str, rng: np.random.Generator) -> str:
    """Put a wrong sign in place of many letters, as a bad scan does; the spaces stay."""
    signs = rng.choice(list("#*~%?"), len(text))
    hit = rng.random(len(text)) < GARBLED
    return "".join(s if h and c.isalpha() else c for c, s, h in zip(text, signs, hit, strict=True))
