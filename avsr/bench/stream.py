"""Enhancement on a stream: how fast features, network and inverse are, and how far live use is from offline.

Speed: `base` systems with fresh weights on one core, as shares of real time; face, landmarks and crop are stated apart.
Live against offline: mixtures of test lists, with the running level and the crops of pictures so far in the place of
the utterance's level and crops; faces are tracked anew in the videos of the test split, each picture by those before
it. A mixture whose first picture shows no face is left out: a stream starts with the first that does. Of the trained
systems in the recipe's work folder (--work-dir), or else of a tiny one trained here for a minute.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avsr.bench import landmarks
from avsr.bench.common import Options, Row, run_stage
from avsr.bench.loading import make_work
from avsr.errors import AvsrError, UtteranceError
from avsr.features.frames import SAMPLE_RATE, VIDEO_RATE
from avsr.media.landmarks import FaceFinder
from avsr.media.live_crops import LiveMouth
from avsr.media.video import read_frames
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.noise.mixing import LEVEL
from avsr.noise.sampler import ListMixer
from avsr.scoring.speech import si_sdr
from avsr.stages.crop import CropConf
from avsr.storage.arrays import Store
from avsr.storage.datadir import Utterance, read_datadir
from avsr.streaming import SLICE, RunningLevel, Stream, open_stream, run_through

SYSTEMS = ("mhca_avcrn", "audio_only_crn", "vse")
SLICES = 50  # 10 s
CLIPS_SEEN = 12  # of a folder, for the share of faces and crops
CLIPS, TEST, EPOCHS = 24, 4, 4  # of the corpus made here, and of the training on it
SHARE = 50.0  # % of real time, on one core
MIXTURES = 24  # of the test lists, evenly taken
CROP = CropConf().shapes["crop80"]


def run(
    options: Options, preset: str = "base", slices: int = SLICES, clips: int = CLIPS, epochs: int = EPOCHS
) -> list[Row]:
    """Delay, speed of the three systems, speed of live crops, live against offline."""
    rows = [Row("a sample comes out after (computing not counted)", 1e3 * Stream.delay / SAMPLE_RATE, "ms")]
    with _one_thread():
        for name in SYSTEMS:
            rows += speed(name, preset, slices)
    rows.append(crops_share(options.clips))
    if options.work_dir:
        return rows + live(options.work_dir)
    with tempfile.TemporaryDirectory() as temporary:
        make_trained(Path(temporary), clips, epochs)
        return rows + live(Path(temporary))


def make_trained(work: Path, clips: int, epochs: int) -> None:
    """Stages 1 to 4 and 6 on a small mini corpus: the tiny MHCA-AVCRN, trained for long enough to do something."""
    make_work(work, clips, TEST)
    train = {"batch": 8, "lr": 1.5e-3, "epochs": epochs, "epoch_examples": 320, "tensorboard": False}
    sets = ["--set=enhance.preset=tiny", f"--set=enhance.train.avse={json.dumps(train)}"]
    run_stage("enhance", "--work-dir", work, "--systems", "mhca_avcrn", *sets)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# ---- speed


class Timed(Stream):
    """A stream that keeps the seconds of its three steps, those of this process on its processor."""

    def __init__(self, model: Any):
        super().__init__(model)
        self.seconds = {"features": 0.0, "network": 0.0, "inverse": 0.0}

    def hear(self, *args: Any, **options: Any) -> tuple:
        return self._timed("features", super().hear, *args, **options)

    def estimate(self, *args: Any) -> np.ndarray:
        return self._timed("network", super().estimate, *args)

    def invert(self, *args: Any) -> np.ndarray:
        return self._timed("inverse", super().invert, *args)

    def _timed(self, what: str, step: Any, *args: Any, **options: Any) -> Any:
        start = time.process_time()
        result = step(*args, **options)
        self.seconds[what] += time.process_time() - start
        return result


def speed(name: str, preset: str, slices: int) -> list[Row]:
    """What one system's steps, and all three, take of the time that the sound lasts."""
    model = build_model(load_system(name, preset).model).eval()
    chance = np.random.default_rng(0)
    wave_n = (LEVEL * chance.standard_normal(slices * SLICE)).astype(np.float32)
    pictures = chance.integers(0, 256, (5 * slices, 80, 80), dtype=np.uint8) if model.video_input else None
    warm = None if pictures is None else pictures[:5]
    run_through(Stream(model), wave_n[:SLICE], warm)
    stream = Timed(model)
    run_through(stream, wave_n, pictures)
    shares = {step: 100 * spent * SAMPLE_RATE / len(wave_n) for step, spent in stream.seconds.items()}
    rows = [Row(f"{name} {preset}, one core: {step}", share, "% real time") for step, share in shares.items()]
    return [*rows, Row(f"{name} {preset}, one core: all three", sum(shares.values()), "% real time", SHARE)]


def crops_share(folder: Path | None) -> Row:
    """What face, landmarks and crop of live pictures take of the time that these last; decoding is not counted.

    The clips are those of `folder`, or one that is made here."""
    finder, spent, count = FaceFinder(), 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for path in landmarks.sample_clips(folder, CLIPS_SEEN, Path(temporary)):
            mouth = LiveMouth(finder, CROP)
            for picture in read_frames(path):
                start = time.process_time()
                with suppress(UtteranceError):  # no face so far
                    mouth.crop(picture)
                spent, count = spent + time.process_time() - start, count + 1
    return Row("face, landmarks and crop of live pictures, one core", 100 * spent * VIDEO_RATE / count, "% real time")


# ---- live against offline


class Clip(NamedTuple):
    """A mixture at the common level, its crops of stage 2 and those of pictures so far."""

    noisy_n: np.ndarray
    offline: np.ndarray
    live: np.ndarray


def live(work: Path) -> list[Row]:
    """Level and crops of live use against the utterance's, and what they change in the output of trained systems."""
    clips, left_out = read_clips(work)
    levels = [_level_error(clip.noisy_n) for clip in clips]
    grey = [np.abs(clip.live.astype(np.float32) - clip.offline).mean() for clip in clips]
    what = f"live against offline, {len(clips)} mixtures"
    rows = [
        Row(f"{what}: level, mean difference", float(np.mean(levels)), "dB"),
        Row(f"{what}: crops, mean difference", float(np.mean(grey)), "grey levels"),
    ]
    if left_out:
        rows.append(Row("mixtures left out: no face in the first picture", left_out, "", decimals=0))
    for name in SYSTEMS:
        path = work / "exp" / name / "seed0" / "best.pt"
        if path.exists():
            rows += _outputs(name, path, clips)
    return rows


def read_clips(work: Path) -> tuple[list[Clip], int]:
    """Mixtures of the test lists at -5 dB, and how many were left out.

    Raises AvsrError: no such mixture, crops that no landmarks placed, a video that is gone, no dlib.
    """
    table, video = read_datadir(work / "data" / "test"), work / "dump" / "video" / "test"
    crops = Store(video / "crop80", "stage 2 (crop)")
    if not (video / "landmarks").exists():
        raise AvsrError(f"{video}: its crops were placed without landmarks; live ones cannot be compared with them")
    paths = sorted((work / "data" / "test_noisy").glob("*_-5dB.jsonl"))
    mixers = [ListMixer(path, work, "test") for path in paths]
    rows = [(mixer, utt) for mixer in mixers for utt in sorted(mixer.rows) if utt in crops]
    chosen = rows[:: -(-len(rows) // MIXTURES) or 1]
    if not chosen:
        raise AvsrError(f"{work}: no mixture at -5 dB with pictures in it; run stages 1 to 4 there")
    found, finder = [], FaceFinder()
    for mixer, utt in chosen:
        noisy_n, offline, shown = mixer.mixture(utt)[0], crops.read(utt), live_crops(table[utt], finder)
        if shown is None:
            continue
        slices = min(len(noisy_n) // SLICE, len(offline) // 5, len(shown) // 5)
        found.append(Clip(noisy_n[: slices * SLICE], offline[: 5 * slices], shown[: 5 * slices]))
    if not found:
        raise AvsrError(f"{work}: none of {len(chosen)} mixtures at -5 dB shows a face in its first picture")
    return found, len(chosen) - len(found)


def live_crops(utterance: Utterance, finder: FaceFinder) -> np.ndarray | None:
    """The crops (T, 80, 80) of an utterance's video as a live stream has them; None: no face in its first picture."""
    mouth, found = LiveMouth(finder, CROP), []
    for picture in read_frames(utterance.video, part=utterance.pictures):
        try:
            found.append(mouth.crop(picture))
        except UtteranceError:
            return None
    return np.stack(found)


def _level_error(noisy_n: np.ndarray) -> float:
    """dB between the running factor and the utterance's, which is 1 here; mean of its slices."""
    level = RunningLevel()
    return float(np.mean([abs(20 * np.log10(level(piece_n))) for piece_n in noisy_n.reshape(-1, SLICE)]))


def _outputs(name: str, path: Path, clips: list[Clip]) -> list[Row]:
    """SI-SDR of the live output, the offline one being the reference: how far below it the difference lies."""
    ways = {"level": (None, "offline"), "crops": (1.0, "live"), "both": (None, "live")}
    if open_stream(path).model.video_input is None:
        ways = {"level": ways["level"]}
    near: dict[str, list[float]] = {way: [] for way in ways}
    for clip in clips:
        expected_n = run_through(open_stream(path, 1.0), clip.noisy_n, clip.offline)
        for way, (factor, pictures) in ways.items():
            out_n = run_through(open_stream(path, factor), clip.noisy_n, getattr(clip, pictures))
            near[way].append(si_sdr(expected_n, out_n))
    return [
        Row(f"{name}, live {way}: output against offline, SI-SDR", float(np.mean(values)), "dB")
        for way, values in near.items()
    ]
