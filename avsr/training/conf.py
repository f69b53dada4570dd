"""What a training run can be told: plain frozen dataclasses, filled from YAML by avsr.config."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from avsr.config import build


@dataclass(frozen=True)
class ScheduleConf:
    """How the learning rate moves within a phase. Every kind starts from the phase's `lr`."""

    kind: Literal["plateau", "cosine", "constant", "halve_every"] = "plateau"
    factor: float = 0.5  # plateau, halve_every: what the rate is multiplied by
    patience: int = 3  # plateau: epochs without gain before a cut
    floor: float = 0.0  # no kind goes below this rate
    warmup: int = 0  # every kind: steps of linear rise at the start of a phase
    every: int = 5  # halve_every: epochs between two cuts
    after: int = 5  # halve_every: epochs before the first cut

    def __post_init__(self):
        if not 0 < self.factor < 1:
            raise ValueError(f"schedule.factor must lie between 0 and 1, not {self.factor}")
        if min(self.patience, self.every) < 1 or min(self.floor, self.warmup, self.after) < 0:
            raise ValueError("schedule: patience and every must be at least 1; floor, warmup and after not negative")


@dataclass(frozen=True)
class Phase:
    """One stretch of a curriculum. It has its own optimiser and learning rate; null takes the run's own value."""

    name: str
    epochs: int | None = None
    lr: float | None = None
    schedule: ScheduleConf | None = None
    weight_decay: float | None = None
    stop_after: int | None = None
    init: Literal["best", "last"] = "last"  # which weights of the phase before it starts from
    freeze: tuple[str, ...] = ()  # module prefixes: no gradient, batch norm and dropout in eval mode
    keep: bool = False  # keep the best weights as best-<name>.pt when the next phases are done
    options: dict[str, Any] = field(default_factory=dict)  # read by the task alone: see phase_options

    def __post_init__(self):
        if not self.name or not all(c.isalnum() or c in "-_" for c in self.name):
            raise ValueError(f"phase name {self.name!r}: use letters, digits, - and _ (it becomes a file name)")


@dataclass(frozen=True)
class TrainConf:
    """A whole training run."""

    optimiser: Literal["adam", "sgd"] = "adam"
    lr: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    momentum: float = 0.9  # of SGD
    weight_decay: float = 0.0  # L2, added to the gradient as Adam's paper does
    norm_momentum: float = 0.1  # share of a batch in the running statistics of batch norm; 0.1 is torch's own
    clip_norm: float | None = 5.0  # global norm of the gradient; null: no clipping
    # batches
    batch: int = 16  # examples
    max_frames: int | None = None  # video frames in a batch, padding counted
    max_padding: float | None = 0.1  # share of a batch that may be padding; null: any
    epoch_examples: int | None = None  # a "virtual epoch" of so many examples; null: all of them
    # length
    epochs: int = 60
    schedule: ScheduleConf = field(default_factory=ScheduleConf)
    stop_after: int | None = 8  # epochs without gain on validation; null: never
    stop_at_floor: bool = False  # count them only once the learning rate has reached its floor
    max_steps: int | None = None  # budget over all phases, the same on every machine
    max_minutes: float | None = None  # budget of training time: NOT reproducible, prefer epochs or max_steps
    phases: tuple[Phase, ...] = ()  # empty: one phase named "train"
    # selection
    metric: str = "loss"  # key of what the task's validate() returns
    maximise: bool = False
    # how it is computed
    seed: int = 1
    threads: int = 1  # of torch, in each process; another number may change the last bits
    processes: int = 1  # that share each batch: one a GPU. Another number may change the last bits
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    workers: Literal["auto"] | int = "auto"  # loading processes; 0: one thread. No influence on the results
    # what is written
    checkpoint_minutes: float = 10.0  # between two checkpoints within an epoch
    log_every: int = 10  # steps between two rows of log.csv
    tensorboard: bool = True

    def __post_init__(self):
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, not {self.momentum}")
        positive = ("lr", "norm_momentum", "batch", "epochs", "threads", "processes", "checkpoint_minutes", "log_every")
        optional = ("clip_norm", "max_frames", "epoch_examples", "max_steps", "max_minutes", "stop_after")
        for name in positive + optional:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be above 0, not {value}")
        if self.processes > self.batch:
            raise ValueError(f"processes ({self.processes}) must not be above batch ({self.batch}), which they share")
        if self.workers != "auto" and self.workers < 0:
            raise ValueError(f"workers must be auto or at least 0, not {self.workers}")
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"two phases have the same name: {', '.join(names)}")

    def all_phases(self) -> tuple[Phase, ...]:
        """The phases with every null replaced by the run's own value."""
        return tuple(self._fill(phase) for phase in self.phases or (Phase("train"),))

    def _fill(self, phase: Phase) -> Phase:
        def own(name: str) -> Any:
            value = getattr(phase, name)
            return getattr(self, name) if value is None else value

        return Phase(
            phase.name, own("epochs"), own("lr"), own("schedule"), own("weight_decay"), own("stop_after"),
            phase.init, phase.freeze, phase.keep, phase.options,
        )  # fmt: skip


@dataclass(frozen=True)
class WordsOptions:
    """Options of a phase of the word classifier."""

    head: Literal["dense", "temporal", "recurrent"] = "recurrent"  # which back-end learns


@dataclass(frozen=True)
class RecogniseOptions:
    """Options of a phase of a recogniser, with an enhancer in front or without."""

    words: int | None = None  # longest window: half of the windows have so many words, the others fewer; null: whole
    by_length: bool = False  # windows of many characters are drawn more often, in proportion; false: all alike
    p_noise: float = 0.0  # share of noisy clips
    sampling: float = 0.0  # share of the decoder's inputs taken from the model at the phase's end; it rises from 0

    def __post_init__(self):
        if not 0 <= self.sampling <= 1:
            raise ValueError(f"sampling must lie between 0 and 1, not {self.sampling}")
        if not 0 <= self.p_noise <= 1 or (self.words is not None and self.words < 1):
            raise ValueError("p_noise must lie between 0 and 1, words must be null or at least 1")


@dataclass(frozen=True)
class EnhanceOptions:
    """Options of a phase of an enhancement system."""

    seconds: tuple[float, float] | None = None  # training hears so long a part of a clip, from .. to; null: all of it
    # Not in the papers, tried in docs/mhca_study.md. Pictures that show nothing are the clip's mean picture.
    video_dropout: float = 0.0  # share of training clips whose pictures show nothing
    video_mask: float = 0.0  # the longest part of a training clip, in seconds, whose pictures show nothing

    def __post_init__(self):
        if not 0 <= self.video_dropout <= 1 or self.video_mask < 0:
            raise ValueError("video_dropout must lie between 0 and 1, video_mask must be at least 0")
        if self.seconds is not None and not 0.04 <= self.seconds[0] <= self.seconds[1]:
            raise ValueError("seconds must be [shortest, longest], at least 0.04")


OPTIONS = {"lipread": WordsOptions, "enhance": EnhanceOptions, "recognise": RecogniseOptions, "joint": RecogniseOptions}


def phase_options(kind: str, phase: Phase) -> Any:
    """The options of a phase for this kind of system. Raises UsageError for an unknown key or value."""
    return build(OPTIONS[kind], phase.options, f"phase {phase.name}: options")


# Keys that say how a run is watched, fed or shared out, not what it computes: they may change between start and
# resumption. (What several processes compute differs in the last bits; where there is batch norm, in its statistics.)
FREE_KEYS = ("processes", "workers", "checkpoint_minutes", "log_every", "tensorboard")
