"""A task small enough to be trained in a second: a convolution, batch norm, dropout and a GRU on random sequences."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avsr.config import build
from avsr.rng import rng
from avsr.training.conf import TrainConf
from avsr.training.task import Task
from avsr.training.trainer import seed_torch, train


class ToyModel(nn.Module):
    def __init__(self, size: int = 8):
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.gru = nn.GRU(16, size, batch_first=True)
        self.head = nn.Linear(size, 1)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x_btf: torch.Tensor) -> torch.Tensor:
        x_bctf = self.front((x_btf - self.mean)[:, None])
        return self.head(self.gru(x_bctf.transpose(1, 2).flatten(2))[0])[..., 0]


class ToyExamples:
    def __init__(self, name: str, count: int):
        self.ids = [f"{name}{i:03d}" for i in range(count)]
        self.lengths = [5 + int(rng(utt).integers(5)) for utt in self.ids]

    def __getitem__(self, index: int) -> dict:
        x_tf = rng(self.ids[index], "x").standard_normal((self.lengths[index], 4)).astype(np.float32)
        return {"utt": self.ids[index], "x": x_tf, "y": np.cumsum(x_tf[:, 0]) / 3}


class ToyTask(Task):
    def __init__(self, count: int = 40, scale: float = 1.0, spoil: str | None = None):
        self.count, self.scale, self.spoil = count, scale, spoil
        self.seen: list[str] = []

    def examples(self, phase, epoch):
        return ToyExamples(phase.options.get("set", "t"), self.count)

    def valid_examples(self, phase):
        return ToyExamples("v", 10)

    def collate(self, items):
        longest = max(len(item["y"]) for item in items)
        x_btf, y_bt, mask_bt = np.zeros((len(items), longest, 4)), *np.zeros((2, len(items), longest))
        for b, item in enumerate(items):
            n = len(item["y"])
            x_btf[b, :n], y_bt[b, :n], mask_bt[b, :n] = item["x"], item["y"], 1
        arrays = {"x": x_btf, "y": y_bt, "mask": mask_bt}
        return {"utts": [item["utt"] for item in items]} | {k: torch.tensor(v).float() for k, v in arrays.items()}

    def loss(self, model, batch, phase):
        if model.training:
            self.seen += batch["utts"]
        error_bt = (model(batch["x"]).float() - batch["y"]) ** 2 * batch["mask"]
        if self.spoil == "loss" and "t007" in batch["utts"]:
            error_bt = error_bt * float("nan")
        total = error_bt.sum() * self.scale
        if self.spoil == "gradient" and "t007" in batch["utts"] and model.training:
            total = total + _InfiniteGradient.apply(model.head.bias).sum()
        return total, batch["mask"].sum(), {"error": total.detach()}

    def prepare(self, model):
        model.mean.fill_(0.01)


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 0

    @staticmethod
    def backward(ctx, grad):
        return grad * float("inf")


SYSTEM = {"id": "toy", "model": {"type": "toy", "size": 8}}


def run_toy(out: Path, task: Task | None = None, system: dict = SYSTEM, **keys) -> Path:
    """One toy training in this process."""
    base = {"batch": 8, "epochs": 3, "log_every": 1, "tensorboard": False, "workers": 0, "lr": 0.01}
    base |= {"precision": "fp32", "channels_last": False}
    conf = build(TrainConf, {**base, **keys}, "toy")
    seed_torch(conf.seed)
    return train(ToyModel(system["model"]["size"]), task or ToyTask(), conf, out, system)


class KilledTask(ToyTask):
    """Sends this process a signal (9: kill) at the start of a given call of loss(), or within a given save."""

    def __init__(self, at: int, number: int, slow: float = 0.0):
        super().__init__()
        self.at, self.number, self.slow, self.calls = at, number, slow, 0

    def loss(self, model, batch, phase):
        self.calls += 1
        time.sleep(self.slow)
        if self.calls == self.at:
            os.kill(os.getpid(), self.number)
        return super().loss(model, batch, phase)


def kill_in_save(at: int) -> None:
    """From now on the `at`-th checkpoint write is killed when half of it is in the file."""
    save, calls = torch.save, [0]

    def half(content, file):
        calls[0] += 1
        if calls[0] == at:
            file.write(b"PK" + bytes(1000))
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, file)

    torch.save = half


def job(out: str, keys: dict, fail: bool = False, at: int = 0, number: int = 9, slow: float = 0.0) -> None:
    """A job of train_many."""
    if fail:
        raise ValueError("this job is broken")
    run_toy(Path(out), KilledTask(at, number, slow), **keys)
