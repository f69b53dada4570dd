"""A small work folder for tests: made-up voices and pictures, as stages 1 and 2 would leave them."""

from pathlib import Path

import numpy as np
import soundfile

from avsr.stages import extract, mix
from avsr.storage.arrays import ShardWriter, finish_store
from avsr.storage.datadir import Utterance, write_datadir

SPEAKERS = {"train": ("s1", "s2"), "valid": ("s3", "s4"), "test": ("s5", "s6")}
SENTENCES = (
    "BIN BLUE AT F TWO NOW",
    "LAY RED BY A ONE SOON",
    "SET WHITE IN B NINE AGAIN",
    "PLACE GREEN WITH C ZERO NOW",
)


def make_tables(work: Path, clips: int = 3, frames: int = 15, storage: str = "hdf5") -> Path:
    """Sounds, data directories and crops: `clips` utterances a speaker, of `frames` pictures."""
    for split, speakers in SPEAKERS.items():
        utts, draw = [], np.random.default_rng(0)
        for name in (f"{speaker}-c{clip}" for speaker in speakers for clip in range(clips)):
            path = work / "corpus" / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(name, 640 * frames), 16000)
            text = SENTENCES[len(utts) % len(SENTENCES)]
            times = np.linspace(0, frames / 25, 7)
            words = tuple(zip(times[:-1].tolist(), times[1:].tolist(), text.split(), strict=True))
            utts.append(Utterance(name, name.split("-")[0], text, None, path, frames / 25, words))
        write_datadir(work / "data" / split, utts)
        for store, shape in (("crop80", (80, 80)), ("crop112", (112, 112))):
            folder = work / "dump/video" / split / store
            pictures = {utt.id: draw.integers(0, 256, (frames, *shape)).astype(np.uint8) for utt in utts}
            write_store(folder, pictures, storage)
    return work


def voice(name: str, samples: int) -> np.ndarray:
    """A buzz with syllables; another one for every name."""
    draw = np.random.default_rng(list(name.encode()))
    time_n = np.arange(samples) / 16000
    buzz = sum(np.sin(2 * np.pi * draw.uniform(90, 250) * k * time_n) / k for k in range(1, 9))
    return 0.05 * buzz * (1.1 + np.sin(2 * np.pi * draw.uniform(2, 5) * time_n))


def write_store(folder: Path, arrays: dict[str, np.ndarray], storage: str = "hdf5") -> None:
    """A finished store."""
    with ShardWriter(folder, 0, storage) as writer:
        for key, array in arrays.items():
            writer.write(key, array)
    finish_store(folder, storage, {0: writer.index}, {})


def make_noises(folder: Path, samples: int = 20000) -> Path:
    """Four recordings of one type of noise."""
    (folder / "rain").mkdir(parents=True)
    for number in range(4):
        wave_n = 0.1 * np.random.default_rng(number).standard_normal(samples)
        soundfile.write(folder / "rain" / f"n{number}.wav", wave_n, 16000)
    return folder


def run_extract(work: Path, *more: str) -> int:
    """Stage 3 on all splits."""
    data = [str(work / "data" / split) for split in SPEAKERS]
    return extract.main(["--data", *data, f"--video={work}/dump/video", f"--out={work}/dump/audio", *more])


def run_mix(work: Path, noise: Path, *more: str) -> int:
    """Stage 4."""
    places = [f"--data={work}/data", f"--audio={work}/dump/audio", f"--out={work}/dump", f"--noise-dir={noise}"]
    small = [f"--set=mix.babble.{key}" for key in ("seconds=2", "tracks=1", "groups=2")]
    return mix.main([*places, *small, *more])


def make_work(work: Path, **options: int) -> Path:
    """A work folder after stage 4."""
    make_tables(work, **options)
    assert run_extract(work) == 0
    assert run_mix(work, make_noises(work / "noise")) == 0
    return work


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but logs."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "log" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def one_line(capsys) -> str:
    """What a stage has said on stderr, which must be one line."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith("\n"), said
    return said
