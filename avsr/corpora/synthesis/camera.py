"""What the clips of one video have in common besides the talker: light, the camera's colours, where it points."""

from dataclasses import replace

import numpy as np

from avsr.corpora.synthesis.clip import Clip
from avsr.corpora.synthesis.write import cut_around_mouth
from avsr.rng import rng

LIGHT, TINT, GAMMA = (0.82, 1.05), (0.95, 1.05), (0.9, 1.1)  # factor of all colours, of each; exponent of brightness
OFF = 3  # pixels that the mouth's place differs from one video to the next, at most


def film(clip: Clip, size: int, mouth: tuple[int, int], *key: object) -> Clip:
    """The clip as the camera of video `key` shows it: size x size pixels, the mouth about `mouth` (row, column)."""
    chance = rng(*key, "camera")
    gains = chance.uniform(*LIGHT) * chance.uniform(*TINT, 3)
    exponent = chance.uniform(*GAMMA)
    down, across = (int(way) for way in chance.integers(-OFF, OFF + 1, 2))
    cut = cut_around_mouth(clip, size, (mouth[0] + down, mouth[1] + across))
    frames = np.empty_like(cut.frames_thwc)
    for colour, gain in enumerate(gains):
        tones = 255 * gain * (np.arange(256) / 255) ** exponent
        table = np.clip(tones + 0.5, 0, 255).astype(np.uint8)
        frames[..., colour] = table[cut.frames_thwc[..., colour]]
    return replace(cut, frames_thwc=frames)
