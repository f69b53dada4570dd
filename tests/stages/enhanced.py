"""A work folder after stage 9, with enhancement systems trained on made-up voices and pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsr.models.systems import load_system
from avsr.stages import score
from avsr.stages.train_system import TrainStageConf, inputs_of, plan, train_one
from avsr.storage.arrays import Store
from avsr.storage.atomic import write_json
from tests.stages.tiny import SPEAKERS, make_noises, make_tables, run_extract, run_mix, write_store

NATURAL = "natural_-5dB"  # the test list for enhancement
FAST = {"epochs": 1, "precision": "fp32", "channels_last": False, "workers": 0, "tensorboard": False}


def make_enhanced(work: Path, systems: Sequence[str], conf: TrainStageConf, frames: int) -> Path:
    """One utterance a speaker, of `frames` pictures; crop128 too, which stage 2 makes where it is asked for, and lip
    features, of 16 numbers."""
    make_tables(work, clips=1, frames=frames)
    assert run_extract(work) == 0
    lists = ["--set=mix.test_kinds_enhance=[natural]", "--set=mix.test_snrs_enhance=[-5]"]
    assert run_mix(work, make_noises(work / "noise"), *lists, "--set=mix.test_snrs_recognise=[clean]") == 0
    draw = np.random.default_rng(1)
    ids = {split: Store(work / "dump/audio" / split / "wave").keys() for split in SPEAKERS}
    for split, utts in ids.items():
        pictures = {utt: draw.integers(0, 256, (frames, 128, 128)).astype(np.uint8) for utt in utts}
        write_store(work / "dump/video" / split / "crop128", pictures)
        feats = {utt: draw.standard_normal((frames, 16)).astype(np.float32) for utt in utts}
        write_store(work / "dump/video_feats" / split, feats)
    write_json(work / "data/splits.json", {"protocol": "toy", "synthetic": True, **ids})
    for name in systems:
        system = load_system(name, "tiny")
        train_one(**plan(system, conf, work, 0, "cpu", inputs_of(system, conf, work, 0)).args)
    options = ["--set=enhance.preset=tiny", f"--systems={' '.join(systems)}"]
    assert score.main([f"--work-dir={work}", *options]) == 0
    return work
