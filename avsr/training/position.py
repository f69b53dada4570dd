"""The place in a run that a checkpoint remembers."""

from dataclasses import dataclass

from avsr.training.conf import TrainConf


@dataclass
class Position:
    """Where a run stands: all that the next step depends on besides weights and random states."""

    phase: int = 0
    epoch: int = 0  # within the phase
    passes: int = 0  # epochs of all phases: noise and words are drawn anew in each
    batch: int = 0  # batches done in this epoch
    step: int = 0  # over all phases
    phase_start: int = 0  # step at which the phase began
    skipped: int = 0
    skipped_in_row: int = 0
    lr: float = 0.0  # of the last step
    seconds: float = 0.0
    waited: float = 0.0
    row_sum: float = 0.0  # loss and cells since the last row of log.csv
    row_count: float = 0.0
    epoch_sum: float = 0.0
    epoch_count: float = 0.0
    first_loss: float | None = None  # of the phase
    best: float | None = None  # of the phase
    bad_epochs: int = 0
    finished: bool = False

    @property
    def waiting(self) -> float:
        """Share of the time that went by waiting for data."""
        return self.waited / max(self.seconds, 1e-9)

    def budget_used(self, conf: TrainConf) -> bool:
        """Whether the run has made all its steps, or used all its minutes."""
        steps = conf.max_steps is not None and self.step >= conf.max_steps
        return steps or (conf.max_minutes is not None and self.seconds >= 60 * conf.max_minutes)

    def progress(self, batches: int, epochs: int, max_steps: int | None) -> float:
        """Share of the phase that is done: by its epochs, or by the budget of steps where that ends it sooner."""
        done = (self.epoch + self.batch / batches) / epochs
        if max_steps is not None:
            done = max(done, (self.step - self.phase_start) / (max_steps - self.phase_start))
        return done
