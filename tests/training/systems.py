"""Real systems, narrow and without dropout, on random examples: what several processes must train as one does."""

from pathlib import Path

import numpy as np

from avsr.config import build
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.rng import rng
from avsr.training.conf import TrainConf
from avsr.training.task import Task
from avsr.training.tasks.batch import pad_batch
from avsr.training.trainer import seed_torch, train


class RandomExamples:
    def __init__(self, name: str, count: int):
        self.ids = [f"{name}{i:02d}" for i in range(count)]
        self.lengths = [4 + int(rng(utt).integers(5)) for utt in self.ids]

    def __getitem__(self, index: int) -> dict:
        utt, frames = self.ids[index], self.lengths[index]
        draw = rng(utt, "content")
        clean_tf = draw.random((4 * frames, 80), np.float32)
        tokens = np.append(draw.integers(3, 30, frames // 2), 1)
        return {
            "utts": utt, "frames": frames, "clean_mel": clean_tf, "noisy_mel": clean_tf + draw.random(80, np.float32),
            "feats": draw.standard_normal((frames, 512)).astype(np.float32), "tokens": tokens,
            "token_lengths": len(tokens), "crop112": draw.integers(0, 256, (frames, 112, 112), np.uint8),
            "label": int(draw.integers(3)),
        }  # fmt: skip


class RandomTask(Task):
    def __init__(self, kind: str, count: int):
        self.kind, self.count = kind, count

    def examples(self, phase, epoch):
        return RandomExamples("t", self.count)

    def valid_examples(self, phase):
        return RandomExamples("v", 3)

    def collate(self, items):
        return pad_batch(items)

    def loss(self, model, batch, phase):
        if self.kind == "lipread":
            return *model.loss(batch["crop112"], batch["frames"], batch["label"], model.final_head), {}
        if self.kind == "enhance":
            return *model.loss(batch["noisy_mel"], batch["clean_mel"], batch["feats"], batch["frames"]), {}
        return *model.loss(None, batch["feats"], batch["frames"], batch["tokens"], batch["token_lengths"]), {}


def job(out: str, system: str, processes: int, count: int = 13, **keys) -> None:
    """A job of train_many. 13 clips in batches of 4 leave one for the last: the second process then has none."""
    made = load_system(system, "tiny", ("model.dropout=0.0",) if system != "p3d50" else ())
    base = {"batch": 4, "epochs": 2, "lr": 1e-3, "log_every": 1, "tensorboard": False, "workers": 0}
    base |= {"precision": "fp32", "channels_last": False, "max_padding": None, "processes": processes}
    conf = build(TrainConf, {**base, **keys}, system)
    seed_torch(conf.seed)
    model = build_model({**made.model, **({"classes": 3} if system == "p3d50" else {})})
    train(model, RandomTask(made.kind, count), conf, Path(out), {"id": system, "model": made.model})
