"""What the bench of loading measures, on two clips."""

from pathlib import Path

import numpy as np
import pytest

from avsr.bench import loading
from avsr.storage.arrays import Store


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Stages 1 to 4 on two training clips."""
    folder = tmp_path_factory.mktemp("bench")
    loading.make_work(folder, 2)
    return folder


def test_h264_files_hold_the_frames_of_the_store(work, tmp_path):
    for size in (80, 112):
        store = Store(work / "dump/video/train" / f"crop{size}")
        files = loading.H264Files(tmp_path / str(size), store)
        for utt in store.keys():
            crop, decoded = store.read(utt), files.read(utt)
            assert decoded.dtype == np.uint8 and decoded.shape == crop.shape == store.shape(utt)
            error = np.abs(decoded.astype(int) - crop).mean(axis=(1, 2))
            assert error.max() < 6 and error.mean() > 0  # a lossy copy, not the store itself


def test_h264_frames_come_in_order_and_none_is_lost(tmp_path):
    levels = np.arange(10, 240, 10, dtype=np.uint8)
    loading.write_h264(tmp_path / "a.mp4", np.tile(levels[:, None, None], (1, 80, 80)))
    decoded = loading.read_h264(tmp_path / "a.mp4")
    assert decoded.shape == (23, 80, 80)
    np.testing.assert_allclose(decoded.mean(axis=(1, 2)), levels, atol=3)


def test_every_clip_is_read_once_an_epoch(work):
    store = Store(work / "dump/video/train/crop80")
    read = []

    class Counting:
        def read(self, utt):
            read.append(utt)
            return store.read(utt)

    assert loading._seconds(Counting(), store, 1) > 0
    assert sorted(read) == store.keys() and len(read) == 2


def test_reading_gives_rates_and_their_ratio(work, monkeypatch):
    monkeypatch.setattr(loading, "REPEATS", 1)  # the median is the one value
    rows = loading.reading(work, 2)
    assert [row.unit for row in rows] == ["frames/s", "frames/s", "x faster"] * 2
    for store, files, ratio in (rows[:3], rows[3:]):
        assert ratio.value == pytest.approx(store.value / files.value)
    assert [row.name.split()[1] for row in rows] == ["80x80"] * 3 + ["112x112"] * 3


def test_waiting_is_what_the_training_log_says(work):
    step, share = loading.waiting(work, steps=3, batch=2)
    lines = (work / "exp/mhca_avcrn/seed0/log.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 + 2  # a row a step, one for the validation, one for the end of the phase
    third = dict(zip(lines[0].split(","), lines[3].split(","), strict=True))
    assert third["step"] == "3"
    assert step.value == pytest.approx(1e3 * float(third["seconds"]) / 3) and step.target is None
    assert share.value == pytest.approx(100 * float(third["wait"])) and share.target == 5.0 and not share.least
    assert 0 < share.value <= 100


def test_reading_the_log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,valid,seconds,wait\n5,,2.0,0.5\n10,,8.0,0.03\n10,0.7,9.5,0.02\n10,,,\n")
    assert loading.read_log(path) == (0.8, 0.03)
