"""The one writer and reader of checkpoints: whole files, no pickled objects, a clear line when one cannot be used."""

import pickle
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avsr import __version__
from avsr.errors import AvsrError
from avsr.revision import commit
from avsr.storage.atomic import atomic_path
from avsr.training.packing import unpack

FORMAT = "avsr checkpoint 1"
KEPT = 2


class Damaged(AvsrError):
    """The file is cut short or changed on its way: an earlier checkpoint may serve."""


class _Disk:
    """A file for torch.save that remembers the error of the disk, which torch turns into one about itself."""

    def __init__(self, file: Any):
        self.file, self.error = file, None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save(path: Path, content: dict) -> None:
    """Writes a checkpoint whole or not at all. AvsrError when the disk refuses it; what was there before stays."""
    try:
        with atomic_path(path) as temporary:
            with open(temporary, "wb", buffering=0) as file:
                disk = _Disk(file)
                try:
                    torch.save({"format": FORMAT, "commit": commit(), "version": __version__, **content}, disk)
                except RuntimeError:
                    if disk.error is None:
                        raise
                    raise disk.error from None
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot write this checkpoint ({error.strerror}); earlier ones are untouched: "
            "make room or set --work-dir elsewhere, then start again"
        ) from None


def read(path: Path, system: str | None = None) -> dict:
    """The content of a checkpoint, tensors on the CPU. Damaged or AvsrError with one line when it cannot be used."""
    path = Path(path)
    if not path.is_file():
        raise AvsrError(f"{path}: there is no such checkpoint")
    _check_whole(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise AvsrError(
            f"{path}: refused, it holds pickled Python objects, which could run code; "
            "only checkpoints written by this toolkit (tensors and plain data) are read"
        ) from None
    except (RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise Damaged(f"{path}: damaged checkpoint ({_line(error)}); take another one") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise AvsrError(f"{path}: not a checkpoint of this toolkit (format '{FORMAT}' expected)")
    if system is not None and content["system"] != system:
        raise AvsrError(f"{path}: a checkpoint of the system {content['system']}, but {system} is wanted")
    for part in (content, content.get("frontend", {})):
        if "packed" in part:
            part["model"] = unpack(part.pop("packed"))
    return content


def _check_whole(path: Path) -> None:
    """torch does not look at check sums, so a changed byte would go unnoticed."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start[:1] == b"\x80":
        raise AvsrError(f"{path}: refused, it is a pickle, which could run code; it is no checkpoint of this toolkit")
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise Damaged(f"{path}: damaged or cut short ({_line(error)}); take another checkpoint") from None
    if bad is not None:
        raise Damaged(f"{path}: damaged (check sum of {bad}); take another checkpoint")


def newest(folder: Path, system: str, warn: Any) -> tuple[Path, dict] | None:
    """The newest checkpoint of a run that can be read, and its content; `warn(line)` says which ones cannot."""
    paths = sorted(Path(folder).glob("checkpoint-*.pt"), reverse=True)
    for path in paths:
        try:
            return path, read(path, system)
        except Damaged as error:
            warn(f"{error}. Going back to the one before")
    if paths:
        raise AvsrError(f"{folder}: no checkpoint in it can be read; delete the folder to train from the start")
    return None


def save_newest(folder: Path, step: int, content: dict) -> Path:
    """Writes `checkpoint-<step>.pt` and removes all but the newest two."""
    path = Path(folder) / f"checkpoint-{step:09d}.pt"
    save(path, content)
    for old in sorted(Path(folder).glob("checkpoint-*.pt"))[:-KEPT]:
        old.unlink()
    return path


def put_best_by(best: Path, copy: Path, phase: int) -> None:
    """Copies best.pt before the next phase writes over it, unless it already has (after going back a checkpoint)."""
    if read(best)["position"]["phase"] == phase:
        with atomic_path(copy) as temporary:
            shutil.copyfile(best, temporary)


def read_best(paths: list[Path], phase: int) -> tuple[Path, dict]:
    """The first of the files that holds the best weights of this phase, and its content."""
    for path in paths:
        if path.exists():
            content = read(path)
            if content["position"]["phase"] == phase:
                return path, content
    raise AvsrError(f"{paths[0].parent}: the best weights of phase {phase + 1} are gone; delete the folder")


def fill(model: nn.Module, state: dict[str, torch.Tensor], where: Path) -> None:
    """Puts stored weights into a model. AvsrError with one line when names or sizes differ."""
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own]
    sizes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or extra or sizes:
        parts = [f"{len(names)} {word} (first: {names[0]})" for names, word in
                 ((missing, "weights missing"), (extra, "weights unknown")) if names]  # fmt: skip
        if sizes:
            was, wants = tuple(state[sizes[0]].shape), tuple(own[sizes[0]].shape)
            parts.append(f"{len(sizes)} of other size (first: {sizes[0]} {was}, the model has {wants})")
        raise AvsrError(f"{where}: does not fit this model: {'; '.join(parts)}; was it made with another preset?")
    model.load_state_dict(state)


def load_model(path: Path, device: str | torch.device = "cpu", system: str | None = None) -> tuple[nn.Module, dict]:
    """The model of a checkpoint, in eval mode, built from the configuration stored in it.

    Returns it with the rest of the content: system, config, position, precision, seed, commit ... Raises AvsrError.
    """
    from avsr.models.registry import build_model  # imports every model: only where one is built

    content = read(path, system)
    model = build_model(content["config"]["system"]["model"])
    fill(model, content.pop("model"), path)
    content.pop("optimiser", None)
    return model.to(device).eval(), content


def random_state() -> dict:
    """States of torch's generators: what dropout draws from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def set_random_state(state: dict) -> None:
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
