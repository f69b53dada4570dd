"""The plan of storage: against stores that are really written, and a disk that is too small."""

from collections import namedtuple

import numpy as np
import pytest

from avsr.errors import AvsrError
from avsr.storage import plan
from avsr.storage.arrays import ShardWriter, finish_store

Usage = namedtuple("Usage", "total used free")
SHAPES = {  # at T pictures
    "video/{}/landmarks": lambda t: np.zeros((t, 68, 2), np.float32),
    "video/{}/crop80": lambda t: np.zeros((t, 80, 80), np.uint8),
    "video/{}/crop112": lambda t: np.zeros((t, 112, 112), np.uint8),
    "video/{}/crop128": lambda t: np.zeros((t, 128, 128), np.uint8),
    "audio/{}/wave": lambda t: np.zeros(640 * t, np.float32),
    "audio/{}/mel_slaney": lambda t: np.zeros((4 * t, 80), np.float32),
    "audio/{}/mel_htk": lambda t: np.zeros((4 * t, 80), np.float32),
    "video_feats/{}": lambda t: np.zeros((t, 512), np.float32),
}
FRAMES = {f"s1-{k:02d}": 20 + k for k in range(32)}
SECONDS = {"train": {utt: frames / 25 for utt, frames in FRAMES.items()}}


def write(dump, place, utts, storage="hdf5", finished=True):
    folder = dump / place.format("train")
    with ShardWriter(folder, 0, storage) as writer:
        for utt in utts:
            writer.write(utt, SHAPES[place](FRAMES[utt]))
    if finished:
        finish_store(folder, storage, {0: writer.index}, {})


MADE = {name: 1.0 for name in plan.STORES if name != "video_feats_flipped"}


def planned(dump, lost=(), stores=MADE):
    return plan.plan(dump, SECONDS, lambda _: lost, stores)


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_bytes_are_those_of_real_stores(tmp_path, storage):
    before = planned(tmp_path)
    for place in SHAPES:
        write(tmp_path, place, FRAMES, storage)
    found = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    total = sum(need.total for need in before)
    assert found < total < 1.02 * found
    assert all(need.missing == need.total for need in before)
    assert [need.missing for need in planned(tmp_path)] == [0] * len(SHAPES)
    lines = plan.describe(before)
    size = f"{total / 1e6:.1f} MB"
    assert len(lines) == 4 and lines[-1] == f"{size} in all, of which {size} are not there yet"
    assert lines[1].startswith("stage 3 stores ") and "mel_htk" in lines[1]


def test_what_is_stored_is_not_needed_again(tmp_path):
    place = "video/{}/crop80"
    write(tmp_path, place, list(FRAMES)[:20])
    missing = {need.name: need.missing for need in planned(tmp_path)}
    assert missing["crop80"] == sum(FRAMES[utt] * 6400 + plan.EACH for utt in list(FRAMES)[20:])
    (tmp_path / "video/train/crop80/store.json").unlink()  # stopped on the way: its shards count
    size = (tmp_path / "video/train/crop80/shard-00000.h5").stat().st_size
    all_of_it = sum(frames * 6400 + plan.EACH for frames in FRAMES.values())
    assert {need.name: need.missing for need in planned(tmp_path)}["crop80"] == all_of_it - size


def test_nothing_is_planned_for_what_is_dropped_or_not_made(tmp_path):
    needs = {need.name: need.total for need in planned(tmp_path, lost=list(FRAMES)[1:], stores={"wave": 1.0})}
    assert needs == {"wave": 640 * 20 * 4 + plan.EACH}


def test_a_second_view_is_stored_of_training_alone_and_float16_is_half(tmp_path):
    splits = {**SECONDS, "test": {"s2-00": 4.0}}
    needs = plan.plan(tmp_path, splits, lambda _: (), {"video_feats": 0.5, "video_feats_flipped": 0.5})
    straight, flipped = (need.total for need in needs)
    assert flipped == sum(frames * 512 * 2 + plan.EACH for frames in FRAMES.values())
    assert straight == flipped + 100 * 512 * 2 + plan.EACH


def test_a_disk_that_is_too_small_is_refused(tmp_path, monkeypatch):
    needs = [plan.Need(2, "crop80", 9 * 10**9, 5 * 10**9), plan.Need(3, "wave", 10**9, 10**9)]
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: Usage(0, 0, 6 * 10**9 - 1))
    with pytest.raises(AvsrError) as error:
        plan.check_room(tmp_path, needs)
    said = str(error.value)
    assert said.startswith(f"{tmp_path}: stages 2, 3 and 5 store 6.0 GB more, 6.0 GB are free; free space")
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: Usage(0, 0, 6 * 10**9))
    plan.check_room(tmp_path, needs)
