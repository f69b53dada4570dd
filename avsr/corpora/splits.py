"""Which utterances train, validate and test: protocols of GRID, by seeded lists that are the same everywhere."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from avsr.corpora.grid import MEN, WOMEN, Clip
from avsr.errors import AvsrError, UsageError
from avsr.rng import unit

log = logging.getLogger("avsr")
Split = dict[str, list[Clip]]  # train, valid, test

G_TEST = ("s1", "s2", "s9", "s30", "s20", "s22", "s24", "s33")  # 4 men, 4 women; decision: see docs/decisions.md
G_TEST_CLIPS, G_TRAIN_CLIPS, G_VALID_CLIPS = 150, 900, 100
G_S8_TRAIN_CLIPS = 791  # s8 has 891 usable clips
ONE_SPEAKER_MIN = 10
MINI_TRAIN, MINI_TEST, MINI_CLIPS = 4, 2, 50


def shuffled(clips: Sequence[Clip], seed: int, purpose: str) -> list[Clip]:
    """The clips in an order that depends on their ids and the seed alone."""
    return sorted(clips, key=lambda clip: unit(seed, clip.utt, purpose))


def one_speaker(clips: Sequence[Clip], seed: int) -> Split:
    """80, 10 and 10 % of one speaker's clips. Raises AvsrError below ten clips."""
    if len(clips) < ONE_SPEAKER_MIN:
        raise AvsrError(f"{clips[0].speaker}: {len(clips)} clips; a one-speaker split needs {ONE_SPEAKER_MIN} at least")
    order = shuffled(clips, seed, "one-speaker split")
    tenth = max(1, len(order) // 10)
    return {"train": order[2 * tenth :], "valid": order[:tenth], "test": order[tenth : 2 * tenth]}


def other_speakers(speaker: str, speakers: Mapping[str, Sequence[Clip]], seed: int, most: int) -> list[Clip]:
    """At most `most` clips of each speaker of the corpus but one: who competes with that one."""
    return [
        clip
        for other in speakers
        if other != speaker
        for clip in shuffled(speakers[other], seed, "competing talkers")[:most]
    ]


def protocol_g(speakers: Mapping[str, Sequence[Clip]], seed: int) -> Split:
    """Unseen speakers: 8 test, 25 train, 100 other sentences of those 25 validate (MHCA-AVCRN section 3.1, mended).

    Raises AvsrError where one of the 33 speakers is missing."""
    missing = [speaker for speaker in MEN + WOMEN if speaker not in speakers]
    if missing:
        raise AvsrError(
            f"protocols G and GT need all 33 speakers of GRID with video; missing: {' '.join(missing)}. "
            "Put them into --corpus-dir, or use --protocol s1 (any one speaker)"
        )
    split: Split = {"train": [], "valid": [], "test": []}
    for speaker in MEN + WOMEN:
        order = shuffled(speakers[speaker], seed, "protocol G")
        if speaker in G_TEST:
            split["test"] += order[:G_TEST_CLIPS]
            continue
        count = G_S8_TRAIN_CLIPS if speaker == "s8" else G_TRAIN_CLIPS
        split["train"] += order[:count]
        split["valid"] += order[count : count + G_VALID_CLIPS]
    return split


def protocol_mini(speakers: Mapping[str, Sequence[Clip]], seed: int) -> Split:
    """A small one for tests: 4 training and 2 other test speakers, 50 sentences each, 5 of each validate.

    Raises AvsrError below six speakers."""
    order = sorted(speakers, key=lambda speaker: unit(seed, speaker, "protocol mini"))
    if len(order) < MINI_TRAIN + MINI_TEST:
        raise AvsrError(f"protocol mini needs {MINI_TRAIN + MINI_TEST} speakers; here are {' '.join(order)}")
    split: Split = {"train": [], "valid": [], "test": []}
    for speaker in order[:MINI_TRAIN]:
        clips = shuffled(speakers[speaker], seed, "protocol mini")[:MINI_CLIPS]
        split["valid"] += clips[: MINI_CLIPS // 10]
        split["train"] += clips[MINI_CLIPS // 10 :]
    for speaker in order[MINI_TRAIN : MINI_TRAIN + MINI_TEST]:
        split["test"] += shuffled(speakers[speaker], seed, "protocol mini")[:MINI_CLIPS]
    return split


def make_split(protocol: str, speakers: Mapping[str, Sequence[Clip]], seed: int) -> Split:
    """The split of a protocol of GRID alone: G, mini, or one speaker by name. Raises UsageError for an unknown one."""
    if protocol == "G":
        split = protocol_g(speakers, seed)
    elif protocol == "mini":
        split = protocol_mini(speakers, seed)
    elif protocol in speakers:
        split = one_speaker(speakers[protocol], seed)
    else:
        known = " ".join(["G", "GT", "mini", *speakers])
        raise UsageError(f"--protocol {protocol}: there is no such protocol or speaker here; choose one of: {known}")
    check_split(split, one=protocol in speakers)
    return split


def check_split(split: Mapping[str, Sequence[Any]], one: bool, valid_unseen: bool = False) -> None:
    """Raises AvsrError for what stands in two splits, whose clips have the fields `utt` and `speaker`.

    An utterance always; a tested speaker in another split unless the protocol has only `one`; where the speakers of
    validation are `valid_unseen` by training, one of them in training."""
    seen: dict[str, str] = {}
    for name, clips in split.items():
        for clip in clips:
            if clip.utt in seen:
                raise AvsrError(f"{clip.utt} stands in both {seen[clip.utt]} and {name}; an utterance has one split")
            seen[clip.utt] = name
    speakers = {name: {clip.speaker for clip in split[name]} for name in ("train", "valid", "test")}
    for name in ("train", "valid"):
        both = speakers["test"] & speakers[name]
        if both and not one:
            raise AvsrError(f"speaker {min(both)} stands in both {name} and test; this protocol tests unseen speakers")
    both = speakers["train"] & speakers["valid"]
    if both and valid_unseen:
        raise AvsrError(
            f"speaker {min(both)} stands in both train and valid; this protocol validates on unseen speakers"
        )
