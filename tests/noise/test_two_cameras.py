"""Two cameras (TCD-TIMIT) see one recording: its other view is the same sound, and no noise to it."""

from collections import Counter

import numpy as np
import pytest

from avsr.corpora.tcd_timit import CAMERAS, Clip
from avsr.noise.babble import BabbleConf, make_groups, plan_tracks
from avsr.noise.sources import NoiseSources
from avsr.rng import rng, unit
from avsr.storage.arrays import finish_store
from avsr.storage.datadir import Utterance, recording, write_datadir
from tests.stages.tiny import voice, write_store

SAMPLES = 3200


def ids(speaker, sentences):
    """The ids that stage 1 gives to both views of each sentence."""
    return [Clip(speaker, name, view, None).utt for name in sentences for view in CAMERAS]


def sources(work, utts):
    """A test split in which both views of a sentence have the same wave."""
    rows = [Utterance(utt, utt[:3], "A", None, work / "a.wav", 0.2) for utt in utts]
    write_datadir(work / "data/test", rows)
    waves = {utt: voice(utt.split("_")[0], SAMPLES).astype(np.float32) for utt in utts}
    write_store(work / "dump/audio/test/wave", waves)
    write_store(work / "dump/noise", {"rain": waves[utts[0]]})
    finish_store(work / "dump/babble/test", "hdf5", {}, {"groups": {"by": "speaker", "group": {}}, "tracks": []})
    return NoiseSources(work, "test"), waves


def test_recordings_are_what_the_ids_of_both_cameras_share():
    assert ids("01M", ["sa1"]) == ["01M-sa1", "01M-sa1_30deg"]
    assert {recording(utt) for utt in ids("01M", ["sa1"])} == {"01M-sa1"}
    assert [recording(utt) for utt in ("s1-bbaf2n", "0Fi83BHQsMA-00002")] == ["s1-bbaf2n", "0Fi83BHQsMA-00002"]


def test_own_noise_is_never_the_target_as_another_camera_saw_it(tmp_path):
    utts = ids("01M", ["sa1", "sa2", "sx3"])
    found, waves = sources(tmp_path, utts)
    for utt in utts:
        cuts = [found.draw("own", utt, SAMPLES, rng(utt, n)) for n in range(60)]
        assert not any(np.array_equal(cut.wave_n, waves[utt]) for cut in cuts)
        assert len(Counter(cut.key for cut in cuts)) == 4  # both views of the two other sentences


@pytest.mark.parametrize(("sentences", "can"), [(["sa1"], False), (["sa1", "sa2"], True)])
def test_one_recording_seen_twice_has_no_own_noise(tmp_path, sentences, can):
    found, _ = sources(tmp_path, ids("01M", sentences))
    assert found.can("own", "01M-sa1") == found.can("own", "01M-sa1_30deg") == can


def test_no_babble_track_of_one_speaker_holds_the_target_and_none_a_recording_twice():
    utts = ids("01M", [f"sx{n}" for n in range(40)])
    others = [f"speech-{utt}" for utt in ids("02F", ["sa1", "sa2"])]
    groups = make_groups(dict.fromkeys(utts, "01M"), 4, 1)
    tracks = plan_tracks(dict.fromkeys(utts, "01M"), others, groups, BabbleConf(groups=4, tracks=2), 1, "train")
    assert {track.group for track in tracks} == {0, 1, 2, 3}
    for utt in utts:
        mine = [track for track in tracks if track.group == groups["group"][utt]]
        assert mine and all(voice.key.split("_")[0] != utt.split("_")[0] for track in mine for voice in track.voices)
    for track in tracks:
        sounds = [voice.key.split("_")[0] for voice in track.voices]
        assert len(set(sounds)) == len(sounds) == 30


def test_with_one_camera_groups_are_dealt_as_ever():
    """What lists and babble of other corpora were made from stays the same."""
    utts = [f"s1-{n:03d}" for n in range(20)]
    order = sorted(utts, key=lambda name: unit(1, "babble group", name))
    groups = make_groups(dict.fromkeys(utts, "s1"), 4, 1)["group"]
    assert list(groups.items()) == [(name, n % 4) for n, name in enumerate(order)]
