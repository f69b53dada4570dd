"""Babble: the sum of 30 utterances, each at the same RMS (AE-MSR section 5.1; Afouras et al. 2018).

The utterances come from the target's own split and never from the target's speaker. So tracks are made
for groups of speakers, and a group's tracks hold none of its members. Where a split has one speaker only,
the groups are made of utterances, all views of a recording in one: a track then holds other clips of that speaker, and
half of its voices are other talkers, as far as the split has them; more only where its clips are too few. (The paper
gives the number 30 and no more; decision: see docs/decisions.md.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avsr.features.frames import SAMPLE_RATE
from avsr.noise.mixing import LEVEL, cut_noise, power
from avsr.rng import rng, unit
from avsr.storage.datadir import recording


@dataclass(frozen=True)
class BabbleConf:
    """How babble is made."""

    voices: int = 30  # utterances in a track (AE-MSR section 5.1)
    seconds: float = 30.0  # length of a track
    groups: int = 8  # speakers (or utterances) are dealt into at most so many groups
    tracks: int = 4  # tracks for each group

    def __post_init__(self):
        if min(self.voices, self.seconds, self.groups, self.tracks) <= 0:
            raise ValueError("voices, seconds, groups and tracks must be above 0")


@dataclass(frozen=True)
class Voice:
    """One utterance in a track, from `offset` samples on; `store` is wave, noise, or train (its waves, stage 4)."""

    store: str
    key: str
    offset: int


@dataclass(frozen=True)
class Track:
    """One babble track and all that it holds."""

    key: str
    group: int
    voices: tuple[Voice, ...]


def make_groups(speaker_of: Mapping[str, str], most: int, seed: int) -> dict[str, Any]:
    """{"by": "speaker" or "utterance", "group": {speaker or utterance: number}}, dealt out in a hashed order.

    Utterances of one recording (two cameras) are in one group: a track must not hold the target's own sound.
    """
    speakers = sorted(set(speaker_of.values()))
    by = "speaker" if len(speakers) > 1 else "utterance"
    members = speakers if by == "speaker" else sorted(speaker_of)
    members = sorted(members, key=lambda name: unit(seed, "babble group", recording(name)))
    number = {name: n for n, name in enumerate(dict.fromkeys(recording(name) for name in members))}
    return {"by": by, "group": {name: number[recording(name)] % most for name in members}}


def groups_of(speaker_of: Mapping[str, str], groups: Mapping[str, Any]) -> dict[str, int]:
    """Utterance -> number of its group; -1 for one that was not there when the groups were made."""
    by_speaker, group = groups["by"] == "speaker", groups["group"]
    return {utt: group.get(speaker if by_speaker else utt, -1) for utt, speaker in speaker_of.items()}


def plan_tracks(
    speaker_of: Mapping[str, str],
    others: Sequence[str],
    groups: Mapping[str, Any],
    conf: BabbleConf,
    seed: int,
    split: str,
) -> list[Track]:
    """Which utterance stands where in which track.

    `speaker_of`: the split's utterances; `others`: keys of the split's other talkers in the noise store. A group
    for which nothing is left gets no track; one with fewer utterances than voices gets what is there. Of two views of
    one recording a track holds one.
    """
    group_of = groups_of(speaker_of, groups)
    one_speaker = groups["by"] == "utterance"
    tracks = []
    for group in sorted(set(group_of.values())):
        inside = [("wave", utt) for utt in _heard_once(speaker_of) if group_of[utt] != group]
        outside = [("noise", key) for key in _heard_once(others)]
        for number in range(conf.tracks):
            draw = rng(seed, split, group, number, "babble voices")
            chosen = _choose(inside, outside, conf.voices, one_speaker, draw)
            voices = tuple(Voice(store, key, int(draw.integers(2**31))) for store, key in chosen)
            if voices:
                tracks.append(Track(f"babble-{split}-g{group:03d}-t{number:03d}", group, voices))
    return tracks


def _heard_once(keys: Iterable[str]) -> list[str]:
    """The first view of each recording, sorted."""
    return sorted({recording(key): key for key in sorted(keys, reverse=True)}.values())


def _choose(inside: list, outside: list, voices: int, one_speaker: bool, draw: np.random.Generator) -> list:
    """Different utterances. With one speaker half of them are other talkers; these fill up what is missing beside."""
    inside = [inside[i] for i in draw.permutation(len(inside))]
    outside = [outside[i] for i in draw.permutation(len(outside))]
    if one_speaker:
        first = outside[: voices // 2]
        return (first + inside + outside[len(first) :])[:voices]
    return (inside + outside)[:voices]


def make_track(track: Track, read: Callable[[str, str], np.ndarray], samples: int) -> np.ndarray:
    """The track (samples,) float32 at RMS 0.05. `read(store, key)` gives an utterance.

    Every voice is looped or cut to the track's length from its offset on and set to the same RMS.
    """
    total_n = np.zeros(samples)
    for voice in track.voices:
        wave_n = read(voice.store, voice.key)
        spare = len(wave_n) - samples
        offset = voice.offset % (spare + 1 if spare >= 0 else len(wave_n))
        cut_n = cut_noise(wave_n, offset, samples)
        total_n += cut_n / np.sqrt(max(power(cut_n), np.finfo(np.float64).tiny))
    total_n *= LEVEL / np.sqrt(np.mean(total_n**2))
    return total_n.astype(np.float32)


def track_samples(conf: BabbleConf) -> int:
    """The length of a track in samples."""
    return int(round(conf.seconds * SAMPLE_RATE))
