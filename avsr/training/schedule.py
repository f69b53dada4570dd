"""Learning rates: of the place in the phase (cosine, halve_every) or of what validation says (plateau)."""

import math

from avsr.training.conf import ScheduleConf


class Schedule:
    """The learning rate of one phase. Its state is one number: the product of the cuts made so far."""

    def __init__(self, conf: ScheduleConf, lr: float):
        self.conf, self.base = conf, lr
        self.scale = 1.0
        self.waited = 0  # plateau: epochs without gain since the last gain or cut

    def lr(self, step: int, epoch: int, progress: float) -> float:
        """Rate of step `step` (from 0, within the phase) in `epoch`; `progress` is the share of the phase done."""
        floor = self._floor()
        if self.conf.kind == "cosine":
            rate = floor + (self.base - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        else:
            rate = max(self.base * self._cuts(epoch), floor)
        return rate * min(1.0, (step + 1) / max(self.conf.warmup, 1))

    def epoch_end(self, gained: bool) -> None:
        """Plateau: cuts the rate after `patience` epochs without gain."""
        self.waited = 0 if gained else self.waited + 1
        if self.conf.kind == "plateau" and self.waited >= self.conf.patience:
            self.scale *= self.conf.factor
            self.waited = 0

    def at_floor(self, epoch: int) -> bool:
        """Whether cuts can lower the rate no further (always so for the kinds without cuts)."""
        cutting = self.conf.kind in ("plateau", "halve_every")
        return not cutting or self.base * self._cuts(epoch) <= self._floor()

    def _cuts(self, epoch: int) -> float:
        if self.conf.kind == "halve_every" and epoch >= self.conf.after:
            return self.conf.factor ** (1 + (epoch - self.conf.after) // self.conf.every)
        return self.scale

    def state(self) -> dict:
        return {"scale": self.scale, "waited": self.waited}

    def load(self, state: dict) -> None:
        self.scale, self.waited = state["scale"], state["waited"]

    def _floor(self) -> float:
        return min(self.conf.floor, self.base)
