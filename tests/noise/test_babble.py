import numpy as np
import pytest

from avsr.noise.babble import BabbleConf, Track, Voice, groups_of, make_groups, make_track, plan_tracks

CONF = BabbleConf(voices=30, seconds=1.0, groups=4, tracks=2)


def plan(speaker_of, others=(), conf=CONF):
    groups = make_groups(speaker_of, conf.groups, seed=1)
    return plan_tracks(speaker_of, others, groups, conf, 1, "train"), groups_of(speaker_of, groups)


def test_no_track_holds_an_utterance_of_a_speaker_that_it_is_made_for():
    speaker_of = {f"s{s}-{n}": f"s{s}" for s in range(6) for n in range(10)}
    tracks, group_of = plan(speaker_of)
    assert {track.group for track in tracks} == set(group_of.values()) == {0, 1, 2, 3} and len(tracks) == 8
    for utt, speaker in speaker_of.items():
        mine = [track for track in tracks if track.group == group_of[utt]]
        assert mine and all(speaker_of[voice.key] != speaker for track in mine for voice in track.voices)
    for track in tracks:
        assert len({voice.key for voice in track.voices}) == 30


def test_with_one_speaker_no_track_holds_the_target():
    speaker_of = {f"s1-{n:03d}": "s1" for n in range(100)}
    others = [f"speech-t{n}" for n in range(6)]
    tracks, group_of = plan(speaker_of, others)
    for utt in speaker_of:
        mine = [track for track in tracks if track.group == group_of[utt]]
        assert mine and all(voice.key != utt for track in mine for voice in track.voices)
    for track in tracks:
        keys = [voice.key for voice in track.voices]
        assert len(set(keys)) == 30 and set(others) <= set(keys)


def test_other_talkers_are_half_with_one_speaker_more_where_clips_are_few_and_only_fill_up_with_several():
    many = [f"speech-t{n:02d}" for n in range(50)]
    for track in plan({f"s1-{n:03d}": "s1" for n in range(100)}, many)[0]:
        assert sum(voice.store == "noise" for voice in track.voices) == 15
    for track in plan({f"s1-{n}": "s1" for n in range(8)}, many)[0]:  # of four groups: six clips are of others
        assert [voice.store for voice in track.voices].count("noise") == 24
    for track in plan({f"s{n % 4}-{n:03d}": f"s{n % 4}" for n in range(100)}, many)[0]:
        assert not any(voice.store == "noise" for voice in track.voices)
    for track in plan({"s1-a": "s1", "s2-a": "s2", "s2-b": "s2"}, many)[0]:
        assert [voice.store for voice in track.voices].count("wave") in (1, 2) and len(track.voices) == 30


def test_with_fewer_utterances_it_takes_what_is_there():
    tracks, _ = plan({"s1-a": "s1", "s2-a": "s2", "s2-b": "s2"})
    assert sorted({len(track.voices) for track in tracks}) == [1, 2]
    assert plan({"s1-a": "s1"})[0] == []  # nobody else
    with_talker, group_of = plan({"s1-a": "s1"}, ["speech-x"])
    assert [v.key for v in with_talker[0].voices] == ["speech-x"] and group_of == {"s1-a": 0}


def test_every_voice_is_equally_loud():
    """Three tones of very different heights, one of them looped: their lines in the spectrum are equally high."""
    waves = {
        "low": np.sin(2 * np.pi * 200 * np.arange(16000) / 16000),
        "mid": 0.001 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000),
        "top": 0.1 * np.sin(2 * np.pi * 3000 * np.arange(8160) / 16000),
    }
    track = Track("babble", 0, tuple(Voice("wave", key, 1234567) for key in waves))
    wave_n = make_track(track, lambda store, key: waves[key].astype("f4"), 16000)
    assert wave_n.dtype == np.float32 and np.sqrt(np.mean(wave_n**2)) == pytest.approx(0.05, rel=1e-4)
    lines = np.abs(np.fft.rfft(wave_n))[[200, 1000, 3000]]
    assert lines / lines[0] == pytest.approx(1, abs=0.05)


def test_the_plan_is_the_same_always_and_another_with_another_seed():
    speaker_of = {f"s{s}-{n}": f"s{s}" for s in range(6) for n in range(10)}
    groups = make_groups(speaker_of, 4, 1)
    assert plan(speaker_of)[0] == plan(dict(reversed(speaker_of.items())))[0]
    assert plan(speaker_of)[0] != plan_tracks(speaker_of, [], groups, CONF, 2, "train")
