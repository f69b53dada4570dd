"""Several sentences of one talker after each other, with pauses between them, as in a talk."""

from collections.abc import Sequence

import numpy as np

from avsr.corpora.synthesis.clip import PITCH, SPEED, Clip, Picture, Talker, show
from avsr.corpora.synthesis.motion import Articulation
from avsr.corpora.synthesis.voice import Speech, speak
from avsr.rng import rng

PAUSE = (0.5, 0.8)  # s between sentences, longer than any within one
GAP = (2, 12)  # 10 ms between words: more fluent than GRID's commands


def make_talk(
    sentences: Sequence[Sequence[tuple[str, str]]],
    talker: Talker,
    picture: Picture,
    articulation: Articulation,
    *key: object,
) -> Clip:
    """Speaks and shows sentences of (word, how to say it) pairs; `key` (seed, clip) seeds all its chances."""
    chance = rng(*key, "voice")
    speed, pitch, gap = (int(chance.integers(*limits)) for limits in (SPEED, PITCH, GAP))
    parts = [speak(words, talker.voice, speed, pitch, gap) for words in sentences]
    pauses = [float(chance.uniform(*PAUSE)) for _ in parts[1:]]
    return show(joined(parts, pauses), talker, picture, articulation, key, chance)


def joined(parts: Sequence[Speech], pauses: Sequence[float]) -> Speech:
    """One speech of several, with so many seconds of silence between one and the next."""
    waves, words, phones, start = [], [], [], 0
    for part, pause in zip(parts, [*pauses, 0.0], strict=True):
        at = start / part.rate
        words += [(at + a, at + b, word) for a, b, word in part.words]
        phones += [(at + a, at + b, phone) for a, b, phone in part.phones]
        waves += [part.wave, np.zeros(round(pause * part.rate), np.float32)]
        start += len(waves[-2]) + len(waves[-1])
    return Speech(np.concatenate(waves), parts[0].rate, tuple(words), tuple(phones))
