"""python -m avsr.media.convert_pickles IN OUT: other people's pickles of landmarks or mouth pictures to npz files.

Every IN/**/<name>.pkl becomes OUT/<utterance>.npz, folders joined with '-': IN/s1/bbaf2n.pkl is OUT/s1-bbaf2n.npz. With
--data the tables of stage 1 say which utterances those are: the ones whose video has the same end of its path, so that
IN/ABOUT/train/ABOUT_00001.pkl goes with .../ABOUT/train/ABOUT_00001.mp4; of a long clip that was cut, each part becomes
a file. A pickle holds, for one clip, an array or a list with an entry a picture, at 25 pictures a second:
  landmarks       (68, 2) or, of the mouth alone, (20, 2) in px (x, y); None where the face was lost
  mouth pictures  (H, W) uint8 grey
or a dict of it, of which --key names the one to take. OUT is then crop.detect.folder, with crop.detect.backend npz for
landmarks, crops for mouth pictures. Nothing in a pickle is run: what is no plain data or array of numbers is refused.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsr.errors import AvsrError
from avsr.storage.atomic import atomic_path
from avsr.storage.datadir import Utterance, check_id, read_datadir
from avsr.storage.pickled_arrays import read_pickle

SUFFIXES = (".pkl", ".pickle")
LANDMARKS = ((68, 2), (20, 2))


Pictures = tuple[int, int] | None  # the first of an utterance and the one after its last; None: all


def convert(path: Path, outs: Mapping[Path, Pictures], key: str | None = None) -> str:
    """Writes one pickle as npz files, each with its pictures; returns what it holds: landmarks or crops. Raises
    AvsrError with one line."""
    try:
        name, array = understand(read_pickle(path), key)
    except _Unclear as error:
        raise AvsrError(f"{path}: {error}") from None
    for out, pictures in outs.items():
        if pictures and len(array) < pictures[1]:
            raise AvsrError(f"{path}: holds {len(array)} pictures, {out.stem} ends with {pictures[1]}; make it again")
        with atomic_path(out) as temporary:
            np.savez(temporary, **{name: array[slice(*pictures)] if pictures else array})
    return name


class Tables:
    """Which utterances of data directories a pickle belongs to."""

    def __init__(self, folders: Sequence[Path]):
        self.rows = [row for folder in folders for row in read_datadir(folder).values() if row.video]
        self.by_end: dict[int, dict[tuple[str, ...], list[Utterance]]] = {}  # length of an end of a path -> end -> rows

    def utterances(self, path: Path, parts: tuple[str, ...]) -> dict[str, Pictures]:
        """Ids and pictures of those whose video's path ends with `parts`. Raises AvsrError: none, or of two videos."""
        if len(parts) not in self.by_end:
            ends = self.by_end[len(parts)] = {}
            for row in self.rows:
                ends.setdefault(row.video.with_suffix("").parts[-len(parts) :], []).append(row)
        found = self.by_end[len(parts)].get(parts, [])
        if len({row.video for row in found}) != 1:
            what = f"{found[0].video} and others end so" if found else "no video of --data ends so"
            raise AvsrError(f"{path}: {what}; give IN the folders of the corpus that tell clips apart")
        return {row.id: row.pictures for row in found}


class _Unclear(Exception):
    """Why the contents of a pickle are no landmarks and no mouth pictures."""


def understand(content: Any, key: str | None) -> tuple[str, np.ndarray]:
    """`landmarks`, (T, 68 or 20, 2) float32 with NaN for lost pictures, or `crops`, (T, H, W) uint8."""
    content = _inside(content, key)
    entries = list(content) if isinstance(content, (list, tuple, np.ndarray)) else []
    if not entries:
        raise _Unclear("holds no list or array with an entry for each picture")
    arrays = [None if entry is None else _numbers(_inside(entry, key)) for entry in entries]
    known = [array for array in arrays if array is not None]
    shapes = sorted({array.shape for array in known})
    if len(shapes) != 1:
        raise _Unclear(f"its pictures have {'several shapes, ' + str(shapes[:3]) if shapes else 'no entry but None'}")
    kinds = {array.dtype.name for array in known}
    if shapes[0] in LANDMARKS:
        lost = np.full(shapes[0], np.nan, np.float32)
        return "landmarks", np.stack([lost if array is None else array.astype(np.float32) for array in arrays])
    if len(shapes[0]) == 2 and kinds == {"uint8"}:
        if len(known) < len(arrays):
            raise _Unclear(f"{len(arrays) - len(known)} of {len(arrays)} mouth pictures are None; leave the clip out")
        return "crops", np.stack(known)
    raise _Unclear(
        f"its pictures have shape {shapes[0]} and type {', '.join(sorted(kinds))}, "
        "not (68, 2) or (20, 2) landmarks or (H, W) uint8 grey"
    )


def _inside(content: Any, key: str | None) -> Any:
    """The value that is meant of a dict; anything else is itself."""
    if not isinstance(content, dict):
        return content
    if key is None and len(content) == 1:
        return next(iter(content.values()))
    if key not in content:
        raise _Unclear(f"holds a dict of {', '.join(map(str, list(content)[:8]))}: name one with --key")
    return content[key]


def _numbers(entry: Any) -> np.ndarray:
    try:
        array = np.asarray(entry)
    except ValueError:  # lists of unequal length
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise _Unclear("an entry is no array of numbers")
    return array


def main(argv: list[str] | None = None) -> int:
    """Converts all; says what is refused, one line each. Returns 0, 1 where any was refused, 2 for a wrong folder."""
    parser = argparse.ArgumentParser(
        prog="python -m avsr.media.convert_pickles",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pickles", metavar="IN", type=Path, help="folder of .pkl or .pickle files")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the npz files")
    parser.add_argument("--data", type=Path, nargs="+", help="data directories, W/data/train W/data/valid W/data/test")
    parser.add_argument("--key", help="of a dict, in the file or for each picture: the value that is meant")
    args = parser.parse_args(argv)
    paths = sorted(path for path in args.pickles.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not paths:
        print(f"convert_pickles: {args.pickles}: holds no {' or '.join(SUFFIXES)} file; see --help", file=sys.stderr)
        return 2
    try:
        tables = Tables(args.data) if args.data else None
    except AvsrError as error:
        print(f"convert_pickles: {error}", file=sys.stderr)
        return 1
    made: dict[str, Path] = {}
    failed = 0
    for path in paths:
        parts = path.relative_to(args.pickles).with_suffix("").parts
        try:
            utts = tables.utterances(path, parts) if tables else {"-".join(parts): None}
            for utt in utts:
                check_id(utt, where=f"{path}: ")
                if utt in made:
                    raise AvsrError(f"{path}: {made[utt]} is named {utt} too; rename one")
            convert(path, {args.out / f"{utt}.npz": pictures for utt, pictures in utts.items()}, args.key)
            made |= dict.fromkeys(utts, path)
        except AvsrError as error:
            print(f"convert_pickles: {error}", file=sys.stderr)
            failed += 1
    print(f"{args.out}: {len(made)} ok, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
