"""What the recognisers of a work folder write: characters, or pieces of words that are trained here, once."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avsr.config import merge, read_yaml
from avsr.errors import AvsrError
from avsr.pieces import Pieces, digest_of, train_pieces
from avsr.storage.atomic import atomic_path, write_json, write_text
from avsr.storage.datadir import read_table
from avsr.storage.markers import digest
from avsr.text import Characters
from avsr.training.folder import RunFolder

log = logging.getLogger("avsr")


def model_file(work_dir: Path, kind: str, pieces: int) -> Path:
    """Where the sentencepiece model of a work folder lies; beside it .vocab and .json, the marker."""
    return Path(work_dir) / "data" / "units" / f"{kind}{pieces}.model"


def work_units(work_dir: Path, kind: str, pieces: int) -> Characters:
    """The units of a work folder; pieces are trained on its training text, unless that was done before.

    Raises UsageError for a number of pieces that the text does not allow, AvsrError for a model that is not of this
    recipe.
    """
    if kind == "characters":
        return Characters()
    path, text = model_file(work_dir, kind, pieces), Path(work_dir) / "data" / "train" / "text"
    marker, clean = path.with_suffix(".json"), Characters().clean
    texts = [clean(line)[0] for line in read_table(text).values()]
    made_from, held = digest(["pieces 1", kind, pieces, texts]), path.read_bytes() if path.exists() else None
    known = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else {}
    ours = held is not None and known.get("model") == digest_of(held)
    if ours and known["made_from"] == made_from:
        return Pieces(held, str(path))
    made = train_pieces(texts, kind, pieces, str(text))
    if held is not None and not ours and made != held:
        raise AvsrError(
            f"{path}: a sentencepiece model of another recipe, not trained on {text}; "
            "delete it, stage 7 (recognise) trains this recipe's own"
        )
    units = Pieces(made, str(path))
    with atomic_path(path) as temporary:
        temporary.write_bytes(made)
    write_text(path.with_suffix(".vocab"), units.vocabulary())
    write_json(marker, {"made_from": made_from, "model": units.digest})
    log.info("%s: %d %s pieces of %d transcripts", path, units.size, kind, len(texts))
    return units


def described_units(system: Any, units: Characters, kind: str) -> dict:
    """What of a system's description the units decide: the size of its output, and which pieces it writes.

    Characters are the default of every model, and leave no trace.
    """
    if not isinstance(units, Pieces):
        return {}
    sized = {"classes": units.size}
    model = merge(system.model, {"recogniser": sized} if system.kind == "joint" else sized)
    return {"model": model, "units": {"kind": kind, "pieces": units.size, "digest": units.digest}}


def trained_units(work_dir: Path, described: Mapping[str, Any]) -> Characters:
    """The units that a described system is to be trained with, from the work folder. AvsrError where they changed."""
    wanted = described.get("units")
    if wanted is None:
        return Characters()
    path = model_file(work_dir, wanted["kind"], wanted["pieces"])
    if not path.exists():
        raise AvsrError(f"{path} is missing: stage 7 (recognise) makes it; run that first")
    units = Pieces(path.read_bytes(), str(path))
    if units.digest != wanted["digest"]:
        raise AvsrError(f"{path}: not the sentencepiece model that this training was planned with; run its stage again")
    return units


def refuse_other_units(described: Mapping[str, Any], kind: str, starts: Iterable[Path]) -> None:
    """AvsrError where a checkpoint that a system of this kind starts from writes other units than the system."""
    own = described.get("units")
    for path in starts:
        config = RunFolder(path.parent).config
        theirs = read_yaml(config)["system"].get("units") if config.is_file() else None
        if theirs != own:
            raise AvsrError(
                f"{path}: writes {_named(theirs)}, but {described['id']}, which starts from it, {_named(own)}; "
                f"set {kind}.units and {kind}.pieces as they were for it, or train it again"
            )


def _named(units: Mapping[str, Any] | None) -> str:
    return "characters" if units is None else f"{units['pieces']} {units['kind']} pieces ({units['digest'][:8]})"
