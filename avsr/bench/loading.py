"""Loading for training: crops from the store against the same crops in H.264 files, and how long a training waits.

Both are read by one process from files that lie in the system's cache, as those of a corpus of this size do after the
first epoch. The H.264 files are written here, one a clip: libx264 at its default quality, 25 fps, as large as the crop.
"""

import csv
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np

from avsr.bench.common import Options, Row, make_mini, run_stage
from avsr.storage.arrays import Store

CLIPS, STEPS, BATCH, REPEATS = 24, 40, 8, 7
SYSTEM = "mhca_avcrn"
WAIT = 5.0  # % of a step


class Reader(Protocol):
    """A store, or what stands in for one."""

    def read(self, utt: str) -> np.ndarray: ...


def run(_options: Options, clips: int = CLIPS, steps: int = STEPS, batch: int = BATCH) -> list[Row]:
    """Frames a second of both kinds of file; share of a training of the tiny MHCA-AVCRN that is spent waiting."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make_work(work, clips)
        return [*reading(work, batch), *waiting(work, steps, batch)]


def make_work(work: Path, clips: int, test: int = 1) -> None:
    """Stages 1 to 4 on a small mini corpus."""
    make_mini(work, clips, test)
    data, dump = [work / "data" / split for split in ("train", "valid", "test")], work / "dump"
    run_stage("crop", "--data", *data, "--out", dump / "video")
    run_stage("extract", "--data", *data, "--video", dump / "video", "--out", dump / "audio")
    babble = "--set=mix.babble={groups: 2, tracks: 1, seconds: 5}"
    run_stage("mix", "--data", work / "data", "--audio", dump / "audio", "--out", dump, babble)


# ---- reading


def reading(work: Path, batch: int) -> list[Row]:
    """The crops of training batches, clip by clip and padded to a batch, from store and from files in turns."""
    from avsr.training.tasks.enhance import video_store

    rows = []
    for size in (80, 112):
        store = video_store(work, "train", f"crop{size}")
        frames = sum(store.shape(utt)[0] for utt in store.keys())
        files = H264Files(work / "h264" / str(size), store)
        pairs = [(_seconds(store, store, batch), _seconds(files, store, batch)) for _ in range(REPEATS + 1)][1:]
        name = f"crops {size}x{size} of batches of {batch}"
        rows += [
            Row(f"{name}: HDF5 store", median(frames / ours for ours, _ in pairs), "frames/s"),
            Row(f"{name}: H.264 files (libx264, 25 fps)", median(frames / t for _, t in pairs), "frames/s"),
            Row(f"{name}: store faster by", median(t / ours for ours, t in pairs), "x faster"),
        ]
    return rows


class H264Files:
    """The clips of a store as H.264 files, read as a store is."""

    def __init__(self, folder: Path, store: Store):
        self.folder = folder
        folder.mkdir(parents=True)
        for utt in store.keys():
            write_h264(folder / f"{utt}.mp4", store.read(utt))

    def read(self, utt: str) -> np.ndarray:
        """(T, size, size) uint8."""
        return read_h264(self.folder / f"{utt}.mp4")


def write_h264(path: Path, crop_thw: np.ndarray) -> None:
    """Writes (T, size, size) uint8 grey (size even) as the luma of yuv420p."""
    import av

    size = crop_thw.shape[1]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for picture in crop_thw:
            planes = np.pad(picture, ((0, size // 2), (0, 0)), constant_values=128)  # no colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())


def read_h264(path: Path) -> np.ndarray:
    """The luma of all pictures, (T, H, W) uint8, by the shortest way that PyAV has."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # as one loading process has
        crop_thw = np.empty((stream.frames, stream.height, stream.width), np.uint8)
        for number, frame in enumerate(container.decode(stream)):
            plane = frame.planes[0]
            crop_thw[number] = np.frombuffer(plane, np.uint8).reshape(frame.height, -1)[:, : frame.width]
    return crop_thw


def _seconds(reader: Reader, store: Store, batch: int) -> float:
    """Of one epoch of batches, in the order that training has."""
    from avsr.training.buckets import make_batches
    from avsr.training.tasks.batch import pad_batch

    utts = store.keys()
    batches = make_batches(utts, [store.shape(utt)[0] for utt in utts], batch, order=(0, "train", 0))
    start = time.perf_counter()
    for indices in batches:
        pad_batch([{"crop": reader.read(utts[i])} for i in indices])
    return time.perf_counter() - start


# ---- waiting


def waiting(work: Path, steps: int, batch: int) -> list[Row]:
    """One epoch of stage 6 on one thread, as recipes train; what its log says of the steps."""
    train = {"batch": batch, "epochs": 1, "epoch_examples": steps * batch, "log_every": 1, "tensorboard": False}
    sets = ["--set=enhance.preset=tiny", f"--set=enhance.train.avse={json.dumps(train)}"]
    run_stage("enhance", "--work-dir", work, "--systems", SYSTEM, *sets)
    seconds, share = read_log(work / "exp" / SYSTEM / "seed0" / "log.csv")
    name = f"{SYSTEM} tiny, batches of {batch}"
    return [
        Row(f"{name}: a training step", 1e3 * seconds, "ms"),
        Row(f"{name}: share of a step spent waiting for data", 100 * share, "%", WAIT),
    ]


def read_log(path: Path) -> tuple[float, float]:
    """Seconds a step and the share of them spent waiting, from the last row of log.csv before a validation."""
    with open(path, encoding="utf-8", newline="") as file:
        last = [row for row in csv.DictReader(file) if row["wait"] and not row["valid"]][-1]
    return float(last["seconds"]) / int(last["step"]), float(last["wait"])
