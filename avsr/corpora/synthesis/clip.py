"""One synthetic utterance, before it is written in any corpus's layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from avsr.corpora.synthesis.face import Face, make_face
from avsr.corpora.synthesis.motion import Articulation, mouth_curves
from avsr.corpora.synthesis.render import head_motion, lip_distance, mouth_width, render
from avsr.corpora.synthesis.voice import Speech, speak
from avsr.rng import rng

Times = tuple[tuple[float, float, str], ...]  # (start s, end s, name)

RATE = 44_100  # as GRID's sound
QUIET = 0.22  # least seconds of silence before and after speech
LEVEL = 0.08  # root mean square of speech
ROOM = 0.004  # root mean square of the room's noise: 26 dB below, as in an office
SPEED = (150, 186)  # words a minute, pauses not counted: from, below
PITCH = (44, 57)  # 50 is the voice's own
GAP = (6, 24)  # 10 ms between words; who pauses when is what the lips tell
SLICE = 5  # frames: clips are as long as a whole number of them


@dataclass(frozen=True)
class Talker:
    """A speaker: a voice of espeak-ng and a variant of the face."""

    name: str
    voice: str
    face: int


@dataclass(frozen=True)
class Picture:
    """Size in pixels, frames a second, and how far apart the faces are."""

    width: int = 360
    height: int = 288
    fps: float = 25.0
    amplitude: float = 1.0


@dataclass(frozen=True)
class Clip:
    """Picture, sound, and what is known about them.

    frames_thwc: (T, h, w, 3) uint8 RGB at `fps`; wave: (n,) float32 at `rate`, as long as the picture;
    opening_t, width_t: (T,) the curves that drove the mouth: pixels between the lips, width as a share of that at rest.
    """

    frames_thwc: np.ndarray
    fps: float
    wave: np.ndarray
    rate: int
    text: str
    speaker: str
    words: Times
    phones: Times
    opening_t: np.ndarray
    width_t: np.ndarray

    @property
    def seconds(self) -> float:
        """Length of the picture."""
        return len(self.frames_thwc) / self.fps


def make_clip(
    words: Sequence[tuple[str, str]],
    talker: Talker,
    picture: Picture,
    articulation: Articulation,
    *key: object,
    frames: int | None = None,
) -> Clip:
    """Speaks and shows a sentence of (word, how to say it) pairs; `key` (seed, utterance) seeds all its chances.

    `frames` pictures, with the speech in their middle, whole if it fits; None: as many as it takes, at a random place.
    """
    chance = rng(*key, "voice")
    speed, pitch, gap = (int(chance.integers(*limits)) for limits in (SPEED, PITCH, GAP))
    speech = speak(words, talker.voice, speed, pitch, gap)
    return show(speech, talker, picture, articulation, key, chance, frames)


def show(
    speech: Speech,
    talker: Talker,
    picture: Picture,
    articulation: Articulation,
    key: tuple,
    chance: np.random.Generator,
    frames: int | None = None,
) -> Clip:
    """What was spoken in a room, with the face that says it; `chance` places it, `key` seeds mouth and head.

    frames: as for `make_clip`."""
    spoken = len(speech.wave) / speech.rate
    if frames is None:
        frames = SLICE * int(np.ceil((spoken + 2 * QUIET) * picture.fps / SLICE))
        start = QUIET + chance.uniform() * (frames / picture.fps - spoken - 2 * QUIET)
    else:
        start = max((frames / picture.fps - spoken) / 2, 0.0)
    place = round(start * RATE)
    start = place / RATE
    wave = _sound(speech.wave, speech.rate, place, round(frames / picture.fps * RATE), chance)

    phones = tuple((start + a, start + b, name) for a, b, name in speech.phones)
    curves = mouth_curves(phones, frames, picture.fps, articulation, rng(*key, "mouth"))
    face = _face(talker.face, picture)
    return Clip(
        frames_thwc=render(face, curves, head_motion(face, frames, picture.fps, rng(*key, "head"))),
        fps=picture.fps,
        wave=wave,
        rate=RATE,
        text=" ".join(word for _, _, word in speech.words),
        speaker=talker.name,
        words=tuple((start + a, start + b, word) for a, b, word in speech.words),
        phones=phones,
        opening_t=lip_distance(face, curves),
        width_t=mouth_width(curves),
    )


@lru_cache(maxsize=2)
def _face(number: int, picture: Picture) -> Face:
    return make_face(number, picture.width, picture.height, picture.amplitude)


def _sound(speech: np.ndarray, rate: int, place: int, samples: int, chance: np.random.Generator) -> np.ndarray:
    """Speech at LEVEL, put `place` samples into the noise of a room: (samples,) float32."""
    from scipy.signal import resample_poly

    louder = resample_poly(speech.astype(np.float64), RATE // rate, 1)
    louder *= LEVEL / np.sqrt(np.mean(louder**2))
    louder *= min(1.0, 0.9 / np.abs(louder).max())
    wave = ROOM * chance.standard_normal(samples)
    wave[place : place + len(louder)] += louder[: samples - place]
    return wave.astype(np.float32)
