"""What the bench of streams measures, on one mixture and tiny systems. How fast anything is, is not asserted."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.bench import landmarks, loading, stream
from avsr.bench.common import Options
from avsr.errors import AvsrError, UtteranceError
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.storage.datadir import read_datadir, write_datadir
from avsr.training import checkpoint
from tests.media.clips import read_video, write_clip

SYSTEMS = ("mhca_avcrn", "audio_only_crn")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Stages 1 to 4 on two training clips, and two systems as if they had been trained."""
    folder = tmp_path_factory.mktemp("stream")
    loading.make_work(folder, 2)
    for name in SYSTEMS:
        torch.manual_seed(0)
        conf = load_system(name, "tiny").model
        content = {"system": name, "config": {"system": {"model": conf}}, "model": build_model(conf).state_dict()}
        (folder / "exp" / name / "seed0").mkdir(parents=True)
        checkpoint.save(folder / "exp" / name / "seed0" / "best.pt", content)
    return folder


def test_delay_speed_and_landmarks_apart(work):
    rows = stream.run(Options(work_dir=work), preset="tiny", slices=2)
    assert (rows[0].value, rows[0].unit) == (230.0, "ms")
    for name, system in zip(stream.SYSTEMS, (rows[1:5], rows[5:9], rows[9:13]), strict=True):
        assert all(row.name.startswith(f"{name} tiny, one core: ") and row.value > 0 for row in system)
        assert system[3].value == pytest.approx(sum(row.value for row in system[:3]))
        assert [row.target for row in system] == [None, None, None, 50.0]
    assert rows[13].name.startswith("face, landmarks and crop of live pictures") and rows[13].unit == "% real time"


def test_the_share_of_live_crops_counts_every_picture_once_and_no_decoding(monkeypatch, tmp_path):
    clock, crops = [0.0], []

    class Mouth:
        def __init__(self, finder, shape):
            assert shape == stream.CROP

        def crop(self, picture):
            crops.append(picture.shape)
            clock[0] += 0.01
            if len(crops) == 1:
                raise UtteranceError("no face so far")

    def slow_frames(path):
        for _ in range(5):
            clock[0] += 1.0
            yield np.zeros((8, 8), np.uint8)

    monkeypatch.setattr(stream, "LiveMouth", Mouth)
    monkeypatch.setattr(stream, "read_frames", slow_frames)
    monkeypatch.setattr(stream.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(landmarks, "sample_clips", lambda folder, count, temporary: [tmp_path / "a", tmp_path / "b"])
    row = stream.crops_share(None)
    assert len(crops) == 10 and row.value == pytest.approx(100 * 0.01 / 0.04)  # of 40 ms


def test_live_against_offline(work):
    rows = stream.live(work)
    assert [row.unit for row in rows] == ["dB", "grey levels", "dB", "dB", "dB", "dB"]
    level, grey, *near = [row.value for row in rows]
    assert 0 < level < 20 and 0 < grey < 30 and all(10 < value <= 100 for value in near)
    assert [row.name.split(":")[0] for row in rows[2:]] == [
        "mhca_avcrn, live level", "mhca_avcrn, live crops", "mhca_avcrn, live both", "audio_only_crn, live level",
    ]  # fmt: skip


def test_live_crops_show_what_those_of_stage_2_show(work):
    clips, left_out = stream.read_clips(work)
    clip = clips[0]
    assert not left_out
    assert clip.live.shape == clip.offline.shape and 3200 * len(clip.live) == 5 * len(clip.noisy_n)
    near, far = (np.abs(clip.live.astype(float) - other).mean() for other in (clip.offline, clip.offline.mean()))
    assert near < far / 3


def blank_start(work, folder, pictures) -> Path:
    """A work folder like the other, with test videos whose first pictures are grey."""
    shutil.copytree(work, folder, dirs_exist_ok=True)
    table = read_datadir(folder / "data/test")
    for utterance in table.values():
        clip_thwc = read_video(utterance.video, "rgb")
        clip_thwc[:pictures] = 128
        write_clip(folder / f"{utterance.id}.mpg", clip_thwc)
    rows = [replace(utterance, video=folder / f"{utt}.mpg") for utt, utterance in table.items()]
    write_datadir(folder / "data/test", rows)
    return folder


def test_a_mixture_whose_first_picture_shows_no_face_is_left_out(work, tmp_path, monkeypatch):
    blank = blank_start(work, tmp_path / "blank", 1)
    with pytest.raises(AvsrError, match=r"blank: none of \d+ mixtures at -5 dB shows a face in its first picture"):
        stream.live(blank)
    clips, _ = stream.read_clips(work)
    monkeypatch.setattr(stream, "read_clips", lambda work: (clips, 3))
    rows = stream.live(work)
    assert rows[0].name.startswith(f"live against offline, {len(clips)} mixtures")
    assert "left out" in rows[2].name and rows[2].value == 3


def test_live_crops_are_those_of_the_video_and_not_of_stage_2(work, tmp_path):
    """Landmarks of stage 2, which lie between two detections, are not read."""
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "dump/video/test/landmarks").iterdir():
        path.unlink()
    for one, other in zip(stream.read_clips(work)[0], stream.read_clips(tmp_path)[0], strict=True):
        np.testing.assert_array_equal(one.live, other.live)
    (tmp_path / "dump/video/test/landmarks").rmdir()
    with pytest.raises(AvsrError, match="were placed without landmarks"):
        stream.live(tmp_path)


def test_without_a_work_folder_one_is_made(work, monkeypatch):
    asked = []

    def made(folder, clips, epochs):
        asked.append((clips, epochs))
        shutil.copytree(work, folder, dirs_exist_ok=True)

    monkeypatch.setattr(stream, "make_trained", made)
    rows = stream.run(Options(), preset="tiny", slices=2, clips=3, epochs=1)
    assert asked == [(3, 1)] and len(rows) == 20


def test_a_work_folder_without_mixtures(work, tmp_path):
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "data/test_noisy").iterdir():
        path.unlink()
    with pytest.raises(AvsrError, match="no mixture at -5 dB"):
        stream.live(tmp_path)
