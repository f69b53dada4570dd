"""How much room the stores of stages 2, 3 and 5 take, before anything is written, and whether the disk has it.

Bytes follow from the seconds of utt2dur and the shape of what each stage stores. Measured on shards of 32 utterances,
an array takes 341 bytes more in HDF5 and 70 to 83 in an ark; with its entry in store.json and in the marker of its
shard less than `EACH`. Noise, babble and checkpoints are not planned: they are small beside these.
"""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from avsr.errors import AvsrError
from avsr.storage.arrays import Store

EACH = 700  # bytes of an array besides its numbers
# name -> stage, the stage's folder below dump/, bytes a second: 25 pictures, 16000 samples or 100 frames of mels
STORES = {
    "landmarks": (2, "video/{split}", 25 * 68 * 2 * 4),
    "crop80": (2, "video/{split}", 25 * 80 * 80),
    "crop112": (2, "video/{split}", 25 * 112 * 112),
    "crop128": (2, "video/{split}", 25 * 128 * 128),
    "wave": (3, "audio/{split}", 16000 * 4),
    "mel_slaney": (3, "audio/{split}", 100 * 80 * 4),
    "mel_htk": (3, "audio/{split}", 100 * 80 * 4),
    "video_feats": (5, "video_feats", 25 * 512 * 4),
    "video_feats_flipped": (5, "video_feats_flipped", 25 * 512 * 4),  # of training alone
}


@dataclass(frozen=True)
class Need:
    """Bytes of a store over all splits: in all, and of what is not there yet."""

    stage: int
    name: str
    total: int
    missing: int


def plan(
    dump: Path,
    splits: Mapping[str, Mapping[str, float]],
    lost: Callable[[Path], Collection[str]],
    stores: Mapping[str, float],
) -> list[Need]:
    """What each store takes.

    Args:
        dump: the folder of the stores, DIR/dump.
        splits: split -> utterance -> seconds.
        lost: the utterances that a stage's folder says it has dropped; nothing is stored of them.
        stores: those of STORES that the recipe makes, each with a factor of its size (0.5: float16 for float32).
    """
    needs = []
    for name, (stage, place, rate) in STORES.items():
        if name not in stores:
            continue
        total, missing, rate = 0, 0, stores[name] * rate
        for split, seconds in splits.items():
            if name.endswith("_flipped") and split != "train":
                continue
            folder = Path(dump) / place.format(split=split)
            dropped = {*lost(Path(dump) / "video" / split), *lost(folder)}
            sizes = {utt: round(rate * each) + EACH for utt, each in seconds.items() if utt not in dropped}
            total += sum(sizes.values())
            missing += _missing(folder / (split if stage == 5 else name), sizes)
        needs.append(Need(stage, name, total, missing))
    return needs


def describe(needs: Collection[Need]) -> list[str]:
    """A line for each stage, and one for all."""
    lines = []
    for stage in sorted({need.stage for need in needs}):
        mine = [need for need in needs if need.stage == stage]
        parts = ", ".join(f"{need.name} {_size(need.total)}" for need in mine)
        lines.append(f"stage {stage} stores {_size(sum(need.total for need in mine))}: {parts}")
    total, missing = sum(need.total for need in needs), sum(need.missing for need in needs)
    return [*lines, f"{_size(total)} in all, of which {_size(missing)} are not there yet"]


def check_room(dump: Path, needs: Collection[Need]) -> None:
    """Raises AvsrError when the disk of a folder, which is there, has no room for what is not there yet."""
    missing, free = sum(need.missing for need in needs), shutil.disk_usage(dump).free
    if missing > free:
        raise AvsrError(
            f"{dump}: stages 2, 3 and 5 store {_size(missing)} more, {_size(free)} are free; "
            "free space, choose a --work-dir on another disk, or keep fewer utterances (prepare.train)"
        )


def _missing(folder: Path, sizes: Mapping[str, int]) -> int:
    """Bytes of the utterances that a finished store does not hold; of one that is not finished, what its shards leave
    of all."""
    try:
        store = Store(folder)
    except AvsrError:
        return max(0, sum(sizes.values()) - sum(path.stat().st_size for path in folder.glob("shard-*")))
    return sum(size for utt, size in sizes.items() if utt not in store)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
