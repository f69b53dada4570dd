"""One trainer for every task. Stop it anywhere, start it again: the same losses, to the bit on a CPU.

Nothing in a run depends on when or how often it was stopped: batches are ordered by a hash of (seed, phase, epoch),
dropout draws from torch's generator, whose state lies in the checkpoint with all the rest.
"""

import logging
import math
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avsr.errors import AvsrError, UsageError
from avsr.rng import rng
from avsr.signals import Stopped
from avsr.training import checkpoint
from avsr.training.buckets import epoch_batches
from avsr.training.conf import TrainConf
from avsr.training.distributed import Ranks, joined
from avsr.training.folder import RunFolder, resolved
from avsr.training.freezing import freeze, frozen_to_eval, trainable
from avsr.training.guards import signals_noted, stop_if, torch_settings
from avsr.training.loader import Loader, choose_workers, free_cores, to_device
from avsr.training.log import Bar, TrainLog, written_to
from avsr.training.optimiser import make_optimiser
from avsr.training.phase_end import measure_phase, say_phase
from avsr.training.position import Position
from avsr.training.precision import Precision, choose, lay_out, step_seconds
from avsr.training.report import give_up, say_epoch, say_processes, skip
from avsr.training.schedule import Schedule
from avsr.training.task import Examples, Task

log = logging.getLogger(__name__)


def train(
    model: nn.Module, task: Task, conf: TrainConf, out: Path, system: dict, device: str | torch.device = "cpu"
) -> Path:
    """Trains `model` to the end of its schedule and returns the checkpoint with the best validation.

    model: freshly built after `seed_torch(conf.seed)`; moved to `device`. out: folder of this run, see RunFolder; a
    run that was stopped there goes on, a finished one is skipped. system: plain data with `id`, `model` (what
    `load_model` builds the model from) and whatever else the result depends on, as fingerprints of the data: a change
    of it is refused. Where `conf.processes` is above 1, every process that torchrun has started calls this alike.
    Raises UsageError (settings), AvsrError (NaN, disk full, unreadable checkpoints, a process that is gone), Stopped.
    """
    folder, config = RunFolder(out), resolved(system, conf)
    if folder.finished(config):
        log.info("%s: finished before", out)
        return folder.best
    with ExitStack() as stack:
        ranks, device = stack.enter_context(joined(conf.processes, torch.device(device)))
        if ranks.first:  # it alone writes
            stack.enter_context(folder.opened(config))
            stack.enter_context(written_to(folder.path / "train.log"))
        ranks.wait()
        stack.enter_context(torch_settings(conf.threads, device))
        run = _Run(model, task, conf, folder, config, device, ranks)
        stack.callback(run.close)
        run.start()
        with signals_noted() as run.stop:
            run.to_the_end()
        if ranks.first:
            if run.pos.best is None or not folder.best.exists():
                raise AvsrError(f"{out}: no best.pt: validation gave no number, or it was deleted; delete the folder")
            folder.finish(config)
    return folder.best


def seed_torch(seed: int) -> None:
    """Seeds what initial weights are drawn from."""
    torch.manual_seed(int(rng(seed, "weights").integers(2**62)))


class _Run:
    def __init__(self, model, task, conf: TrainConf, folder: RunFolder, config: dict, device, ranks: Ranks):
        self.model, self.task, self.conf, self.device = model.to(device), task, conf, device
        self.folder, self.config, self.ranks = folder, config, ranks
        self.phases = conf.all_phases()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = conf.norm_momentum
        self.trainable = trainable(model)
        self.pos = Position()
        self.log: TrainLog | None = None
        self.bar, self.stop, self.logs = Bar(ranks.first), [], {}
        self.saved_at = time.monotonic()

    # ---- start, stop, save

    def start(self) -> None:
        """From the newest checkpoint, or from the beginning."""
        versions = f"Python {platform.python_version()}, torch {torch.__version__}"
        log.info("%s seed %d, %s, %d threads, %s", self._id(), self.conf.seed, self.device, self.conf.threads, versions)
        found = checkpoint.newest(self.folder.path, self._id(), log.warning)
        tb = self.folder.path / "tb" if self.conf.tensorboard else None
        if found is None:
            torch.manual_seed(int(rng(self.conf.seed, "dropout").integers(2**62)))
            if self.ranks.first:
                self.log = TrainLog(self.folder.log, tb, None)
                self.task.prepare(self.model)
            self.ranks.same(self.model)
            self._enter_phase()
            self._measure(None)
            self._save()
            return
        path, content = found
        self.pos = Position(**content["position"])
        checkpoint.fill(self.model, content["model"], path)
        self._enter_phase()
        if not self.pos.finished:
            self._measure(Precision(**content["precision"]))
            self.optimiser.load_state_dict(content["optimiser"])
            self.schedule.load(content["schedule"])
        checkpoint.set_random_state(content["random"])
        if self.ranks.first:
            self.log = TrainLog(self.folder.log, tb, (content["log_bytes"], self.pos.step))
        log.info("resumed from %s (%s, epoch %d)", path.name, self._phase().name, self.pos.epoch + 1)
        say_processes(content["config"]["train"].get("processes", 1), self.ranks.world)
        self.ranks.wait()  # the first one's next checkpoint may remove the one that others are reading

    def to_the_end(self) -> None:
        """All epochs that are left. On Stopped, which comes between two steps only, a checkpoint is written first."""
        try:
            while not self.pos.finished:
                self._steps()
                self._end_epoch()
        except Stopped:
            self._save()
            log.info("stopped at step %d; start again to go on", self.pos.step)
            raise

    def close(self) -> None:
        self.bar.clear()
        if self.log:
            self.log.close()

    def _measure(self, precision: Precision | None) -> None:
        """Chooses precision and number of loading processes by a few trial steps of the first process."""
        examples, batches = self._epoch()
        chosen = (False, False, 0)
        if self.ranks.first:
            self._try_out(precision, examples, self.ranks.share(batches[0]))
            chosen = (self.precision.dtype == "bf16", self.precision.channels_last, self.workers)
        bf16, channels_last, workers = self.ranks.tell(*chosen)
        self.precision, self.workers = Precision("bf16" if bf16 else "fp32", bool(channels_last)), int(workers)
        lay_out(self.model, self.precision.channels_last)

    def _try_out(self, precision: Precision | None, examples: Examples, indices: Sequence[int]) -> None:
        for _ in range(2):  # the first time stores are opened
            start = time.perf_counter()
            batch = self.task.collate([examples[i] for i in indices])
            load_seconds = time.perf_counter() - start
        batch = to_device(batch, self.device)
        self._train_mode()

        def loss() -> torch.Tensor:
            total, count, _ = self.task.loss(self.model, batch, self._phase())
            return total / count

        agreed = self.folder.agreed(self.config, self.device.type)
        self.precision = precision or choose(self.model, loss, self.conf, self.device, agreed)
        self.workers = self.conf.workers
        if self.workers == "auto":
            free = free_cores(self.device, self.conf.threads, self.ranks.world)
            seconds = step_seconds(self.model, loss, self.precision, self.device) if free > 0 else 0.0
            self.workers = choose_workers(load_seconds, seconds, free)

    def _content(self) -> dict:
        return {
            "system": self._id(),
            "config": self.config,
            "seed": self.conf.seed,
            "precision": asdict(self.precision),
            "position": asdict(self.pos),
            "model": self.model.state_dict(),
            **self.task.kept(),
        }

    def _save(self) -> None:
        if not self.ranks.first:
            return
        state = {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state()}
        state |= {"random": checkpoint.random_state(), "log_bytes": self.log.sync()}
        checkpoint.save_newest(self.folder.path, self.pos.step, {**self._content(), **state})
        self.saved_at = time.monotonic()

    # ---- phases

    def _id(self) -> str:
        return self.config["system"]["id"]

    def _phase(self):
        return self.phases[self.pos.phase]

    def _enter_phase(self) -> None:
        """Optimiser, schedule and frozen modules of the current phase. The optimiser starts anew: others may move."""
        phase = self._phase()
        self.frozen = freeze(self.model, phase.freeze, self.trainable)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not self.parameters:
            raise UsageError(f"phase {phase.name}: freeze leaves nothing to train")
        self.optimiser = make_optimiser(self.parameters, self.conf, phase)
        self.schedule = Schedule(phase.schedule, phase.lr)

    def _end_phase(self) -> None:
        """Goes to the next phase, or to the end."""
        pos, phase = self.pos, self._phase()
        last = pos.phase + 1 == len(self.phases)
        over = last or self.pos.budget_used(self.conf)
        if self.ranks.first:
            self._keep_best(over)
        if over:
            if not last:
                log.warning("the budget is used up: the phases after %s are left out", phase.name)
            pos.finished = True
            return
        following = self.phases[pos.phase + 1]
        if following.init == "best":
            if self.ranks.first:
                path, content = checkpoint.read_best([self.folder.best, self.folder.best_of(phase.name)], pos.phase)
                checkpoint.fill(self.model, content["model"], path)
            self.ranks.same(self.model)
        pos.phase, pos.epoch, pos.phase_start, pos.best, pos.bad_epochs = pos.phase + 1, 0, pos.step, None, 0
        self._enter_phase()
        log.info("phase %s: lr %g, %d epochs at most", following.name, following.lr, following.epochs)

    def _keep_best(self, over: bool) -> None:
        phase, pos = self._phase(), self.pos
        if (phase.keep or not over) and pos.best is not None:
            checkpoint.put_best_by(self.folder.best, self.folder.best_of(phase.name), pos.phase)
        for earlier in self.phases if over else self.phases[: pos.phase]:
            if not earlier.keep:
                self.folder.best_of(earlier.name).unlink(missing_ok=True)

    # ---- one epoch

    def _epoch(self):
        phase, pos = self._phase(), self.pos
        examples = self.task.examples(phase, pos.passes)
        if not len(examples.ids):
            raise UsageError(f"phase {phase.name}: there are no training examples")
        return examples, epoch_batches(examples, self.conf, phase.name, pos.epoch)

    def _steps(self) -> None:
        """The steps that are left in this epoch."""
        if self.pos.budget_used(self.conf):
            return
        examples, batches = self._epoch()
        mine = [self.ranks.share(batch) for batch in batches[self.pos.batch :]]
        loader = Loader(self.task, examples, [indices for indices in mine if indices], self.workers)
        self._train_mode()
        mark, waited = time.perf_counter(), 0.0
        with closing(iter(loader)) as source:
            for indices in mine:
                self._step(next(source) if indices else None, len(batches))
                now = time.perf_counter()
                self.pos.seconds += now - mark
                self.pos.waited += loader.waited - waited
                mark, waited = now, loader.waited
                self._after_step(len(batches))
                if self.pos.budget_used(self.conf):
                    break

    def _step(self, batch: dict | None, batches: int) -> None:
        """One step of all processes, on this one's share of the batch, which may be none."""
        pos, ranks = self.pos, self.ranks
        self.task.progress = pos.progress(batches, self._phase().epochs, self.conf.max_steps)
        rate = self.schedule.lr(pos.step - pos.phase_start, pos.epoch, self.task.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        ranks.seed(self.conf.seed, pos.step)
        total, count = self._loss(batch) if batch else (torch.zeros(()), 0)
        totals, cells = ranks.totals(float(total.detach()), float(count))
        value = sum(totals)
        if not math.isfinite(value):
            give_up(self.folder, self._phase(), pos, batch, totals, ranks.rank)
        if batch:
            (total / (count if ranks.alone else cells)).backward()
        ranks.add_gradients(self.parameters)
        clip = math.inf if self.conf.clip_norm is None else self.conf.clip_norm
        if math.isfinite(float(nn.utils.clip_grad_norm_(self.parameters, clip))):
            self.optimiser.step()
            pos.skipped_in_row = 0
        else:
            skip(self.folder, self._phase(), pos, batch, ranks.first)
        self.optimiser.zero_grad(set_to_none=True)
        pos.step, pos.batch, pos.lr = pos.step + 1, pos.batch + 1, rate
        pos.row_sum, pos.row_count = pos.row_sum + value, pos.row_count + cells
        pos.epoch_sum, pos.epoch_count = pos.epoch_sum + value, pos.epoch_count + cells

    def _loss(self, batch: dict) -> tuple[torch.Tensor, Any]:
        with self.precision.autocast(self.device):
            total, count, self.logs = self.task.loss(self.model, to_device(batch, self.device), self._phase())
        return total, count

    def _after_step(self, batches: int) -> None:
        pos, phase = self.pos, self._phase()
        if pos.step % self.conf.log_every == 0:
            extra = {f"train/{name}": float(value) for name, value in self.logs.items()}
            self._row(pos.row_sum / max(pos.row_count, 1e-12), None, extra)
            pos.row_sum = pos.row_count = 0.0
        mean = pos.epoch_sum / max(pos.epoch_count, 1e-12)
        head = f"{self._id()} {phase.name} {pos.epoch + 1}/{phase.epochs}"
        self.bar.show(head, pos.batch, batches, f"loss {mean:.4f} lr {self.pos.lr:.2g}")
        asked, pos.seconds = self.ranks.agree(self.stop, pos.seconds)
        stop_if(asked)
        if time.monotonic() - self.saved_at > 60 * self.conf.checkpoint_minutes:
            self._save()

    def _end_epoch(self) -> None:
        """Validation, then best weights, schedule, log, checkpoint, in this order: a kill between them repeats them."""
        pos, phase = self.pos, self._phase()
        result = self._validated()
        value = result[self.conf.metric]
        sign = -1 if self.conf.maximise else 1
        gained = math.isfinite(value) and (pos.best is None or sign * value < sign * pos.best)
        if gained:
            pos.best, pos.bad_epochs = value, 0
            if self.ranks.first:
                checkpoint.save(self.folder.best, {**self._content(), "valid": result})
        elif not self.conf.stop_at_floor or self.schedule.at_floor(pos.epoch):
            pos.bad_epochs += 1
        self._row(pos.epoch_sum / max(pos.epoch_count, 1e-12), value, {f"valid/{k}": v for k, v in result.items()})
        self.bar.clear()
        say_epoch(phase, pos, result, gained)
        self.schedule.epoch_end(gained)
        pos.epoch, pos.passes = pos.epoch + 1, pos.passes + 1
        pos.batch, pos.epoch_sum, pos.epoch_count = 0, 0.0, 0.0
        tired = phase.stop_after is not None and pos.bad_epochs >= phase.stop_after
        if tired:
            log.info("phase %s: no gain in %d epochs, it ends here", phase.name, pos.bad_epochs)
        if tired or pos.epoch >= phase.epochs or self.pos.budget_used(self.conf):
            if self.ranks.first:
                measured = measure_phase(self.model, self.task, phase, self.precision, self.device)
                say_phase(phase, pos, result, measured, self.log)
            self._end_phase()
        self._save()

    def _validated(self) -> dict:
        """The first process validates, as one process does, and tells the others, who wait: what is best does not hang
        on their number. They know the metric alone."""
        self.ranks.same(self.model)
        start, number, result = time.perf_counter(), 0, {self.conf.metric: math.nan}
        if self.ranks.first:
            try:
                result = self._validate()
            except Stopped as stopped:
                number = stopped.number
        seconds = self.pos.seconds + time.perf_counter() - start
        number, value, self.pos.seconds = self.ranks.tell(number, result[self.conf.metric], seconds)
        if number:
            raise Stopped(int(number))
        return {**result, self.conf.metric: value}

    def _validate(self) -> dict:
        examples = self.task.valid_examples(self._phase())
        if not len(examples.ids):
            raise UsageError(f"phase {self._phase().name}: there are no validation examples")
        loader = Loader(self.task, examples, epoch_batches(examples, self.conf), self.workers)
        state = checkpoint.random_state()  # whatever validation draws, training does not feel it
        self.model.eval()
        try:
            with torch.no_grad(), self.precision.autocast(self.device), closing(iter(loader)) as source:
                result = self.task.validate(self.model, self._watched(source), self._phase())
        finally:
            checkpoint.set_random_state(state)
        if self.conf.metric not in result:
            raise UsageError(f"metric {self.conf.metric!r}: validation gives {', '.join(sorted(result))}")
        return {name: float(value) for name, value in result.items()}

    def _watched(self, source: Iterator[dict]) -> Iterator[dict]:
        for batch in source:
            stop_if(self.stop)
            yield to_device(batch, self.device)

    def _train_mode(self) -> None:
        self.model.train()
        frozen_to_eval(self.frozen)

    # ---- the log

    def _row(self, loss: float, valid: float | None, extra: dict) -> None:
        if not self.log:
            return
        pos = self.pos
        row = {"phase": self._phase().name, "epoch": pos.epoch + 1, "train_loss": loss, "valid": valid, "lr": pos.lr}
        row |= {"skipped": pos.skipped, "seconds": round(pos.seconds, 3), "wait": round(pos.waiting, 4)}
        self.log.row(pos.step, row, extra)
