"""Whose lips "shuffled video" shows: GRID ids spell their sentence, so that the ids alone say what two clips share."""

import numpy as np
import pytest

from avsr.scoring.shuffled import partners

SLOTS = ("blps", "bgrw", "abiw", "abcdefghijklmnopqrstuvxyz", "123456789z", "anps")  # command ... adverb


def grid(speaker: str, clips: int) -> list[str]:
    """Ids as of GRID, s1-bbaf2n: each letter is a word."""
    draw = np.random.default_rng(list(speaker.encode()))
    return sorted({f"{speaker}-{''.join(draw.choice([*slot]) for slot in SLOTS)}" for _ in range(clips)})


def texts(utts):
    """A word for each letter and its place."""
    return {utt: " ".join(f"{letter}{k}" for k, letter in enumerate(utt.split("-")[1])) for utt in utts}


def speakers(utts):
    return {utt: utt.split("-")[0] for utt in utts}


def shared(one, other):
    """Letters that two ids have in the same place: words in common."""
    return sum(a == b for a, b in zip(one.split("-")[1], other.split("-")[1], strict=True))


@pytest.mark.parametrize("clips", [12, 97, 150])
def test_a_partner_is_another_clip_of_the_speaker_that_shares_hardly_a_word(clips):
    utts = grid("s1", clips) + grid("s20", clips)
    found = partners(utts, speakers(utts), texts(utts))
    assert sorted(found) == sorted(found.values()) == sorted(utts)  # each is shown once
    assert all(one != other and speakers([one, other])[one] == speakers([other])[other] for one, other in found.items())
    by_name = np.mean([shared(one, other) for one, other in zip(utts, utts[1:], strict=False)])
    by_chance = np.mean([shared(one, other) for one in utts for other in utts if one != other])
    words = [shared(one, other) for one, other in found.items()]
    assert by_name > 1.5 * by_chance > 1 and np.mean(words) < 0.35 * by_chance and max(words) <= 2
    assert found == partners(reversed(utts), speakers(utts), texts(utts))


def test_without_transcripts_it_is_any_other_clip_of_the_speaker():
    utts = grid("s1", 40) + grid("s2", 3)
    found = partners(utts, speakers(utts), {})
    assert sorted(found.values()) == sorted(utts)
    assert all(one != other and one[:3] == other[:3] for one, other in found.items())


def test_the_same_sentence_is_shown_only_where_there_is_no_other():
    utts = [f"s1-{n}" for n in range(6)]
    said = dict(zip(utts, ["A B", "A B", "A B", "C D E", "C D E", "C D E"], strict=True))
    assert all(said[one] != said[other] for one, other in partners(utts, dict.fromkeys(utts, "s1"), said).items())
    assert partners(utts[:2], dict.fromkeys(utts, "s1"), said) == {"s1-0": "s1-1", "s1-1": "s1-0"}


def test_another_camera_is_no_other_clip():
    """TCD-TIMIT: sa1 and sa1_30deg are one recording; each camera shows the partner as it saw it."""
    utts = [f"01M-{sentence}{view}" for sentence in ("sa1", "sa2", "sx3") for view in ("", "_30deg")]
    found = partners(utts, dict.fromkeys(utts, "01M"), {})
    assert sorted(found.values()) == sorted(utts)
    for one, other in found.items():
        assert one.split("_")[0] != other.split("_")[0] and one.endswith("_30deg") == other.endswith("_30deg")
    assert partners(["01M-sa1", "01M-sa1_30deg"], dict.fromkeys(utts, "01M"), {}) == {}
    mixed = partners(["01M-sa1", "01M-sa1_30deg", "01M-sa2"], dict.fromkeys(utts, "01M"), {})
    assert mixed == {"01M-sa1": "01M-sa2", "01M-sa1_30deg": "01M-sa2", "01M-sa2": "01M-sa1"}


def test_speakers_of_one_clip_show_each_other():
    utts = ["a-1", "b-1", "c-1"]
    found = partners(utts, speakers(utts), {})
    assert sorted(found.values()) == utts and all(one != other for one, other in found.items())
    said = {"a-1": "X Y", "b-1": "X Y", "b-2": "Z"}
    assert partners(said, speakers(said), said) == {"a-1": "b-2", "b-1": "b-2", "b-2": "b-1"}
    assert partners(["a-1"], {"a-1": "a"}, {}) == partners([], {}, {}) == {}
