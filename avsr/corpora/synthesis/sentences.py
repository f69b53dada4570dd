"""English sentences of 3 to 7 words, put together by chance, with words about as frequent as in natural language.

A template is a list of words; those in small letters stand for a class, of which one word is drawn. The words of a
class stand in the order of their frequency, which falls with their place as Zipf and Mandelbrot found it, and so do
the templates.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

POWER = 2.0  # above 1, so that some hundred words make nearly all text and few sentences teach them
SHIFT = 40  # the first fortieth of a class is about equally frequent: the law for large classes is flatter

TEMPLATES = (
    "person past it", "I'M degree mood", "its degree quality", "LET'S verb it", "name past it", "person past det noun",
    "det noun WAS quality", "WHERE IS the noun", "WHO past the noun", "person past count things",
    "person past det quality noun", "person DIDN'T verb det noun", "people DON'T verb det noun",
    "will verb the noun when", "person modal verb the noun", "HOW quality WAS the noun", "WHAT DID person verb then",
    "DID person verb the noun", "DO people verb quality things", "the noun WASN'T degree quality",
    "person went TO the place", "person past it then", "the noun IS where the noun", "WHY IS the noun SO quality",
    "modal person verb the noun when", "person past the things count units AGO", "IF people verb it TELL me",
    "people think the noun IS quality", "person acted WHEN person past it", "person acted BECAUSE person acted",
    "person acted AND person past it", "THERE WAS A noun where the place", "person SAID the noun WAS quality",
    "people think THAT person past it", "person past A noun FOR the noun", "person went HOME AFTER count units",
    "verb the noun BEFORE people verb it", "AFTER count units person past the noun",
    "name past the noun where the place", "IS the noun quality OR quality", "name AND name past the things",
    "PLEASE verb the quality noun when", "its A degree quality noun",
)  # fmt: skip

_LISTED = {
    "people": "I YOU WE THEY",
    "it": "IT THEM HIM HER ME US EVERYTHING NOTHING SOMETHING THIS",
    "me": "ME US HIM HER THEM",
    "its": "IT'S THAT'S",
    "det": "THE A MY THIS YOUR HIS HER OUR THAT THEIR ANOTHER",
    "the": "THE MY YOUR THIS OUR HIS HER THAT THEIR",
    "degree": "VERY SO REALLY QUITE RATHER TOO",
    "modal": "CAN WILL WOULD COULD SHOULD MUST CAN'T MIGHT WON'T COULDN'T SHOULDN'T WOULDN'T",
    "will": "I'LL WE'LL THEY'LL YOU'LL HE'LL SHE'LL",
    "think": "THINK KNOW HOPE BELIEVE GUESS",
    "where": "IN ON NEAR BY UNDER BEHIND ABOVE BELOW OUTSIDE BESIDE",
    "when": "NOW TODAY AGAIN TONIGHT TOMORROW SOON LATER",
    "then": "YESTERDAY AGAIN BEFORE THERE ONCE EARLIER",
    "count": "TWO THREE 2 FOUR TEN SIX 3 FIVE SEVEN EIGHT TWELVE TWENTY 7",
    "units": "YEARS DAYS WEEKS HOURS MINUTES MONTHS NIGHTS SECONDS",
    "name": "JOHN MARY PETER ANNA TOM SARAH DAVID LUCY PAUL EMMA",
    "went": "WENT CAME WALKED RAN DROVE RETURNED MOVED HURRIED TRAVELLED",
    "acted": "LAUGHED CRIED WAITED SMILED LEFT SLEPT STOPPED WORKED SANG SHOUTED LISTENED DANCED STAYED SPOKE ARGUED",
    "mood": "HAPPY SORRY TIRED SURE GLAD HUNGRY AFRAID ANGRY BUSY THIRSTY LUCKY PROUD",
    "place":
    "HOUSE CITY SCHOOL RIVER STREET KITCHEN GARDEN STATION MARKET OFFICE VILLAGE BEACH FOREST BRIDGE CHURCH HOSPITAL "
    "MUSEUM LIBRARY CASTLE AIRPORT HARBOUR MOUNTAIN FARM PARK",
    "things":
    "PEOPLE CHILDREN BOOKS FRIENDS DOGS LETTERS PICTURES FLOWERS APPLES CHAIRS STORIES BOATS SONGS HORSES SHOES STARS "
    "TICKETS POTATOES CAKES BIRDS SHEEP COINS TREES SPOONS",
    "quality":
    "GOOD NEW OLD BIG SMALL LONG YOUNG IMPORTANT GREAT DIFFERENT BEAUTIFUL BAD STRANGE HEAVY QUIET COLD WARM "
    "EXPENSIVE SIMPLE BROKEN EMPTY DARK CLEAN GREEN YELLOW FAMOUS DIRTY CHEAP STRONG WONDERFUL EARLY POPULAR "
    "DANGEROUS FUNNY SLOW PERFECT MODERN SMOOTH FAMILIAR POWERFUL",
    "noun":
    "MAN DAY THING WOMAN CHILD STORY BOOK CAR FRIEND PICTURE WORD PLAN DOG QUESTION PROBLEM DOOR TABLE LETTER IDEA "
    "ANSWER TEACHER TREE GAME SONG PHONE WINDOW PAPER BOAT CHAIR TRAIN FAMILY DOCTOR MACHINE SHIP HORSE MESSAGE "
    "COMPUTER BABY MOVIE BIRD BROTHER SISTER FLOWER BOX COAT RING BOTTLE CLOCK MAP NEIGHBOUR PAINTING SHOE GIFT HAT "
    "KEY PLATE BASKET PENCIL TICKET DINNER ENGINE LAMP CAMERA KNIFE PIANO JACKET GUITAR CANDLE MIRROR BLANKET FEATHER "
    "CARPET RABBIT LADDER CHICKEN UMBRELLA LEMON BUTTERFLY PILLOW TELESCOPE SHADOW TIGER HAMMER PARCEL ORANGE "
    "ELEPHANT DRAGON KETTLE TROPHY VIOLIN DIAMOND BICYCLE MONKEY TURTLE POCKET",
}  # fmt: skip
# Now and in the past
_VERBS = (
    "SEE SAW, WANT WANTED, FIND FOUND, MAKE MADE, TAKE TOOK, LIKE LIKED, NEED NEEDED, LOVE LOVED, HEAR HEARD, BRING "
    "BROUGHT, KEEP KEPT, REMEMBER REMEMBERED, WATCH WATCHED, BUY BOUGHT, LOSE LOST, FORGET FORGOT, HELP HELPED, "
    "FOLLOW FOLLOWED, CHANGE CHANGED, SHOW SHOWED, CARRY CARRIED, MOVE MOVED, SELL SOLD, BREAK BROKE, CHOOSE CHOSE, "
    "DRAW DREW, CLEAN CLEANED, HIDE HID, PAINT PAINTED, MISS MISSED, CATCH CAUGHT, THROW THREW, TOUCH TOUCHED, "
    "DESCRIBE DESCRIBED, BORROW BORROWED, RECOGNISE RECOGNISED, PHOTOGRAPH PHOTOGRAPHED, DISCOVER DISCOVERED, EXAMINE "
    "EXAMINED, IGNORE IGNORED, WASH WASHED, REPAIR REPAIRED"
)  # fmt: skip
_PAIRS = [pair.split() for pair in _VERBS.split(", ")]

CLASSES = {name: tuple(words.split()) for name, words in _LISTED.items()} | {
    "person": (*"I YOU HE WE SHE THEY NOBODY EVERYBODY SOMEBODY".split(), *_LISTED["name"].split()),
    "verb": tuple(now for now, _ in _PAIRS),
    "past": tuple(before for _, before in _PAIRS),
}


def draw_sentence(chance: np.random.Generator) -> tuple[str, ...]:
    """The words of a sentence, in capitals, as LRS3 writes them; the first templates are the most frequent."""
    template = _pick(TEMPLATES, 1.0, chance).split()
    words = [_draw(part, chance) if part in CLASSES else part for part in template]
    for place, (word, following) in enumerate(zip(words, words[1:], strict=False)):
        if word == "A" and following[0] in "AEIOU":
            words[place] = "AN"
    return tuple(words)


def spoken(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """(word, how to say it) pairs for synthesis.voice.speak.

    A no-break space keeps espeak-ng from melting pairs such as "in the" into one word event."""
    return [(word, ("I" if word == "I" else word.lower()) + "\xa0") for word in words]


def _draw(name: str, chance: np.random.Generator) -> str:
    return _pick(CLASSES[name], POWER, chance)


def _pick(things: Sequence[str], power: float, chance: np.random.Generator) -> str:
    return things[int(np.searchsorted(_law(len(things), power), chance.uniform(), side="right"))]


@cache
def _law(size: int, power: float) -> np.ndarray:
    """(size,) summed probabilities by place."""
    weights = (np.arange(1, size + 1) + size / SHIFT) ** -power
    return np.cumsum(weights / weights.sum())
