"""Visemes: phoneme times -> curves of the mouth, with the noise of a real articulation.

Without the noise lips alone spell out the sentence. With it (timing, strength, offset, a scale for each utterance,
smoothing over neighbours) they are ambiguous, as those of people are. Amounts: decision, see docs/decisions.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONTROLS = ("opening", "width", "tongue", "tuck")
REST = 0.45  # s: in longer pauses the mouth is shut; those between words of one sentence are shorter
BEFORE, AFTER = 0.1, 0.12  # s that the mouth takes to leave its rest, and to come back to it
STEP = 0.005  # seconds between points of the curves before they are sampled at the frames

# (opening 0..1, width -1 rounded .. 1 spread, tongue 0..1 seen, tuck 0..1 lower lip under the teeth)
VISEMES = {
    "p b m": (0.0, 0.0, 0.0, 0.0),
    "f v": (0.10, 0.15, 0.0, 1.0),
    "T D": (0.28, 0.2, 1.0, 0.0),
    "t d n": (0.24, 0.25, 0.5, 0.0),
    "s z": (0.16, 0.45, 0.1, 0.0),
    "S Z tS dZ": (0.30, -0.55, 0.1, 0.0),
    "k g N h x": (0.32, 0.1, 0.0, 0.0),
    "l": (0.38, 0.1, 0.9, 0.0),
    "r r-": (0.24, -0.5, 0.2, 0.0),
    "w": (0.10, -1.0, 0.0, 0.0),
    "j": (0.20, 0.6, 0.3, 0.0),
    "i i:": (0.26, 0.9, 0.3, 0.0),
    "I": (0.34, 0.5, 0.3, 0.0),
    "E e": (0.56, 0.45, 0.2, 0.0),
    "a": (0.78, 0.4, 0.1, 0.0),
    "V": (0.66, 0.0, 0.0, 0.0),
    "A A: 0": (1.0, -0.1, 0.0, 0.0),
    "O O: o": (0.72, -0.65, 0.0, 0.0),
    "U": (0.30, -0.75, 0.0, 0.0),
    "u u:": (0.20, -1.0, 0.0, 0.0),
    "3 3:": (0.38, -0.4, 0.1, 0.0),
    "@": (0.38, 0.0, 0.1, 0.0),
}
GLIDES = {
    "eI": ("E", "i"),
    "aI": ("A", "I"),
    "OI": ("O", "I"),
    "oU": ("O", "u"),
    "aU": ("A", "U"),
    "i@": ("i", "@"),
    "e@": ("E", "@"),
    "A@": ("A", "r"),
    "o@": ("O", "r"),
    "O@": ("O", "r"),
    "U@": ("U", "@"),
    "aI@": ("A", "@"),
}
_TARGETS = {phone: target for phones, target in VISEMES.items() for phone in phones.split()}
_VOWELS = "aeiouAEIOUV@03"


@dataclass(frozen=True)
class Articulation:
    """How far the lips stray from their targets."""

    timing: float = 0.02  # s, standard deviation of each target's time
    gain: float = 0.2  # standard deviation of the logarithm of each target's strength
    offset: float = 0.05  # standard deviation added to each target
    scale: float = 0.7  # least strength of a whole utterance; 1 is the greatest
    smoothing: float = 0.02  # s, standard deviation of a bell: neighbouring targets melt into one another


def base_phone(phone: str) -> str:
    """The phoneme without stress, length variants and numbers, as VISEMES names it: `'I` -> I, `t#` -> t."""
    phone = phone.strip("',%=;|~\"")
    while phone and phone not in _TARGETS and phone not in GLIDES:
        phone = phone[:-1]
    return phone


def targets(phone: str) -> list[tuple[float, ...]]:
    """One or two (gliding vowels) positions of the mouth."""
    base = base_phone(phone)
    if not base:  # a phoneme of another language: some vowel, some consonant
        base = "@" if any(letter in _VOWELS for letter in phone) else "t"
    return [_TARGETS[part] for part in GLIDES.get(base, (base,))]


def mouth_curves(
    phones: Sequence[tuple[float, float, str]],
    frames: int,
    fps: float,
    noise: Articulation,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Curves at the frames, (T,) float32 each, by the names of CONTROLS; the mouth is shut before and after speech,
    and in long pauses."""
    points: list[tuple[float, np.ndarray]] = []
    shut = np.zeros(len(CONTROLS))
    scale = generator.uniform(noise.scale, 1.0)
    for start, end, phone in phones:
        wanted = targets(phone)
        for number, target in enumerate(wanted):
            centre = start + (end - start) * (number + 0.5) / len(wanted)
            hold = 0.3 * (end - start) / len(wanted)
            centre += generator.normal(0, noise.timing)
            position = np.array(target)
            position[:2] *= scale * np.exp(generator.normal(0, noise.gain, 2))
            if target[0] > 0:  # lips that must touch do touch
                position[:2] += generator.normal(0, noise.offset, 2)
            points += [(centre - hold, position), (centre + hold, position)]
    for (_, end, _), (start, _, _) in zip(phones, phones[1:], strict=False):
        if start - end > REST:
            points += [(end + AFTER, shut), (start - BEFORE, shut)]
    points.sort(key=lambda point: point[0])
    first, last = phones[0][0], phones[-1][1]
    points = [(first - BEFORE, shut), *points, (max(last + AFTER, points[-1][0] + 0.05), shut)]
    times = np.arange(0, frames / fps + STEP, STEP)
    at = np.array([time for time, _ in points])
    values = np.array([position for _, position in points])
    centres = (np.arange(frames) + 0.5) / fps
    curves = {}
    for index, name in enumerate(CONTROLS):
        curve = _smooth(np.interp(times, at, values[:, index]), noise.smoothing)
        lowest = -1.2 if name == "width" else 0.0
        curves[name] = np.clip(np.interp(centres, times, curve), lowest, 1.5).astype(np.float32)
    return curves


def wander(frames: int, fps: float, generator: np.random.Generator, periods: tuple[float, float]) -> np.ndarray:
    """A slow aimless movement, (T,) float64 with standard deviation about 1: sines with periods in the given range."""
    time = np.arange(frames) / fps
    curve = np.zeros(frames)
    for _ in range(4):
        curve += np.sin(2 * np.pi * (time / generator.uniform(*periods) + generator.uniform()))
    return curve / np.sqrt(2.0)


def _smooth(curve: np.ndarray, length: float) -> np.ndarray:
    """Gaussian smoothing, `length` being its standard deviation in seconds."""
    if length <= 0:
        return curve
    reach = int(np.ceil(3 * length / STEP))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP / length) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
