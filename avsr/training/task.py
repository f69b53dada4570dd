"""What the trainer wants to know about a task. The trainer knows neither sound nor video, only this."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from avsr.training.conf import Phase

if TYPE_CHECKING:
    import torch

    Batch = dict[str, Any]  # tensors (first axis: examples) and lists; "utts": list of str


class Examples(Protocol):
    """Examples that can be fetched one by one, in any order, in any process, always the same.

    It must be cheap to make, survive a fork, and open its stores only when the first example is fetched.
    """

    ids: Sequence[str]
    lengths: Sequence[int]  # video frames of each example: what batches are made by

    def __getitem__(self, index: int) -> dict: ...


class Task(Protocol):
    """What a task does; `progress` is the share of the phase that is done, set before each training step.

    Inherit from it; `validate`, `phase_end`, `kept` and `prepare` may be left as they are."""

    progress: float = 0.0

    def examples(self, phase: Phase, epoch: int) -> Examples:
        """Training examples of one epoch (from 0, counted within the phase)."""
        ...

    def valid_examples(self, phase: Phase) -> Examples:
        """Validation examples: the same at every epoch."""
        ...

    def collate(self, items: list[dict]) -> "Batch":
        """Pads what `Examples` gave to one batch of tensors on the CPU. Runs in the loading process."""
        ...

    def loss(self, model: "torch.nn.Module", batch: "Batch", phase: Phase) -> tuple["torch.Tensor", Any, dict]:
        """Sum of the loss over all valid cells, their number, and scalars to be logged (may be empty)."""
        ...

    def validate(self, model: "torch.nn.Module", batches: Iterator["Batch"], phase: Phase) -> dict[str, float]:
        """Numbers of one validation, the selection metric among them. Here: the mean loss."""
        total, count = 0.0, 0.0
        for batch in batches:
            batch_sum, batch_count, _ = self.loss(model, batch, phase)
            total += float(batch_sum)
            count += float(batch_count)
        return {"loss": total / max(count, 1.0)}

    def phase_end(self, model: "torch.nn.Module", phase: Phase, device: "torch.device") -> dict[str, float]:
        """Numbers of a phase's last weights that validation is too frequent for; names as in phase_end.SAID."""
        return {}

    def kept(self) -> dict:
        """What checkpoints hold of the task, as plain data beside the model's."""
        return {}

    def prepare(self, model: "torch.nn.Module") -> None:  # noqa: B027
        """Called once, before the first step of a run, by its first process: statistics for the model's buffers."""
