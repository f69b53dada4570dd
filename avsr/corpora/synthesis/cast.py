"""Who speaks in generated corpora: a voice and a face for each talker, other ones in every split."""

from avsr.corpora.synthesis.clip import Talker

SPLITS = ("train", "valid", "test")

# Voices of espeak-ng that differ clearly, men's (m) and women's (f) in every split. There are only so many, so each of
# training speaks with two faces: networks that look overfit on few faces before they do on few voices.
VOICES = {
    "train": ("m1", "f1", "m3", "linda", "adam", "f5", "m8", "shelby", "klatt", "david") * 2,
    "valid": ("edward", "Annie"),
    "test": ("m5", "f4", "m7", "f2"),
}
WOMEN = ("f1", "f2", "f4", "f5", "linda", "shelby", "Annie")
# Of each speaker: m01, m02 ... are numbered through all splits.
SEXES = {f"m{n:02d}": "f" if v in WOMEN else "m" for n, v in enumerate((v for s in SPLITS for v in VOICES[s]), 1)}


def talkers(split: str) -> list[Talker]:
    """All talkers of a split; their names and faces are numbered through the splits."""
    first = sum(len(VOICES[name]) for name in SPLITS[: SPLITS.index(split)])
    return [Talker(f"m{first + n + 1:02d}", voice, first + n) for n, voice in enumerate(VOICES[split])]
