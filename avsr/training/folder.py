"""The folder of one training run: is it finished, was it begun with other settings, is someone at work in it.

Imports no torch, so that a stage finds out quickly that nothing is left to do.
"""

import fcntl
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from avsr.config import read_yaml, save, to_dict
from avsr.errors import AvsrError, UsageError
from avsr.storage.atomic import remove_leftovers
from avsr.storage.markers import is_done, mark
from avsr.training.conf import FREE_KEYS, TrainConf

log = logging.getLogger(__name__)

FITTED = ("video", "classes")  # of a model: what its data decide, the width of lip features and the number of outputs
LOCK_SECONDS = 60.0  # what a trainer that was just stopped may need to save its checkpoint


def resolved(system: dict, conf: TrainConf) -> dict:
    """Everything that decides the result of a run, as plain data: {"system": ..., "train": ...}."""
    if not isinstance(system.get("id"), str):
        raise UsageError("a system needs a key 'id'")
    return {"system": to_dict(system), "train": to_dict(conf)}


class RunFolder:
    """`config.yaml train.log log.csv tb/ best.pt checkpoint-*.pt done.json` of one run."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.config, self.best, self.log = self.path / "config.yaml", self.path / "best.pt", self.path / "log.csv"
        self.done, self.nan_batch = self.path / "done.json", self.path / "nan_batch.json"

    def agreed(self, config: dict, device: str) -> Path | None:
        """exp/format_<protocol>_<device>.json, the number format of all trainings of a protocol; None without one."""
        protocol = config["system"].get("training")
        return self.path.parent.parent / f"format_{protocol}_{device}.json" if protocol else None

    def best_of(self, phase: str) -> Path:
        """Best weights of an earlier phase of a curriculum."""
        return self.path / f"best-{phase}.pt"

    def finished(self, config: dict) -> bool:
        """Whether this very run has ended well and its result is still there."""
        return is_done(self.done, _binding(config))

    def digest(self) -> str:
        """Of all that the finished run was made from. Raises AvsrError when it was not finished."""
        if not self.done.exists():
            raise AvsrError(f"{self.done} is missing: the training there was not finished; run its stage again first")
        return json.loads(self.done.read_text(encoding="utf-8"))["digest"]

    def finish(self, config: dict) -> None:
        mark(self.done, _binding(config), [self.best])

    def refuse_other(self, config: dict) -> None:
        """UsageError when the folder holds a run of another configuration: one line with the key and the cure."""
        if not self.config.is_file() or not self._begun():
            return
        held, wanted = _flat(_binding(read_yaml(self.config))), _flat(_binding(config))
        changed = [key for key in sorted({*held, *wanted}) if held.get(key) != wanted.get(key)]
        if changed:
            first, others = changed[0], changed[1:]
            more = f" ({len(others)} more keys differ: {', '.join(others[:3])})" if others else ""
            raise UsageError(
                f"{self.path}: holds a run with {first} {held.get(first)!r}, now it is {wanted.get(first)!r}{more}; "
                "set another --work-dir, or delete this folder"
            )

    def refuse_other_model(self, model: dict) -> None:
        """UsageError when a finished run is of another network than `model`, a system's options: with another head its
        scores would stand under a name that means something else. An option that one of the two does not name is its
        network's default. One line with the key and the cure."""
        if not self.config.is_file():
            return
        models = [to_dict(one) for one in (read_yaml(self.config)["system"]["model"], model)]
        held, wanted = (
            {key: value for key, value in _flat(one).items() if key.split(".")[-1] not in FITTED} for one in models
        )
        for one, options in zip(models, (held, wanted), strict=True):
            options |= {key: _default(one, key) for key in {*held, *wanted} - {*options}}
        changed = [key for key in sorted(held) if held[key] != wanted[key]]
        if changed:
            key = changed[0]
            more = f" (also: {', '.join(changed[1:4])})" if changed[1:] else ""
            raise UsageError(
                f"{self.best}: trained with model.{key} {held[key]!r}, now it is {wanted[key]!r}{more}; "
                "score it with its preset and YAML of then, or in a row of its own (--checkpoint), or train anew"
            )

    @contextmanager
    def opened(self, config: dict) -> Iterator[None]:
        """The folder for one process alone, made where needed, with its resolved configuration."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "w")
        except OSError as error:
            raise AvsrError(f"{self.path}: cannot be written ({error.strerror}); set another --work-dir") from None
        with lock:
            self._wait_for(lock)
            self.refuse_other(config)
            remove_leftovers(self.path)
            self.done.unlink(missing_ok=True)
            save(self.config, config)
            yield

    def _wait_for(self, lock: Any) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AvsrError(f"{self.path}: another process is training here; wait for it or end it") from None
            time.sleep(0.2)

    def _begun(self) -> bool:
        return self.best.exists() or any(self.path.glob("checkpoint-*.pt"))


def _default(model: dict, key: str) -> Any:
    """What the network of a system's options does where they do not name `key`; None where it has no such option."""
    from avsr.models.registry import model_class  # imports torch

    part, _, name = key.rpartition(".")
    kind = (model.get(part) or {}).get("type") if part else model["type"]  # a joint system's parts
    for field in fields(model_class(kind).Conf) if kind and kind != "joint" else ():
        if field.name == name:
            made = field.default if field.default_factory is MISSING else field.default_factory()
            return None if made is MISSING else to_dict(made)
    return None


def _binding(config: dict) -> dict:
    train = {key: value for key, value in config["train"].items() if key not in FREE_KEYS}
    return {**config, "train": train}


def _flat(data: Any, name: str = "") -> dict:
    if isinstance(data, dict) and data:
        return {k: v for key, value in data.items() for k, v in _flat(value, f"{name}.{key}".lstrip(".")).items()}
    return {name: data}
