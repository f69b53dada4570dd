"""Parts of a clip: nothing lost, none too long, cuts in the pauses."""

import numpy as np
import pytest

from avsr.clips.parts import heard_parts, quietest, seen_parts


def test_parts_join_to_the_whole_and_are_cut_in_pauses():
    draw = np.random.default_rng(0)
    wave_n = draw.standard_normal(16000 * 20 + 123).astype(np.float32)
    for second in (5.2, 11.0, 16.3):
        wave_n[round(16000 * second) : round(16000 * (second + 0.4))] *= 0.01
    pieces = np.array_split(wave_n, 37)
    parts = list(heard_parts(iter(pieces)))
    assert parts[0].first == 0 and all(one.end == other.first for one, other in zip(parts, parts[1:], strict=False))
    joined = np.concatenate([part.wave_n for part in parts])
    np.testing.assert_array_equal(joined[: len(wave_n)], wave_n)
    assert len(joined) == 640 * parts[-1].end == 640 * (25 * 20 + 1) and not joined[len(wave_n) :].any()
    cuts = [part.end / 25 for part in parts[:-1]]
    assert cuts == pytest.approx([5.4, 11.2, 16.5], abs=0.2)
    assert all(part.end - part.first <= 200 for part in parts)


def test_a_short_clip_is_one_part():
    (part,) = heard_parts(iter([np.ones(48000, np.float32)]))
    assert (part.first, part.end, len(part.wave_n)) == (0, 75, 48000) and part.times == (0.0, 3.0)
    assert list(heard_parts(iter([]))) == []


def test_the_cut_is_never_before_the_shortest():
    wave_n = np.ones(640 * 200, np.float32)
    wave_n[640 * 20 : 640 * 40] = 0  # a pause that is too early
    assert quietest(wave_n) >= 100


@pytest.mark.parametrize(("pictures", "lengths"), [(75, [75]), (200, [200]), (201, [100, 101]), (600, [200] * 3)])
def test_without_sound_parts_are_alike(pictures, lengths):
    parts = list(seen_parts(pictures))
    assert [part.end - part.first for part in parts] == lengths and parts[-1].end == pictures
    assert all(part.wave_n is None for part in parts)
