"""Stage 2, crop: the face landmarks and the mouth crops of every utterance, at 25 pictures a second.

Reads  DIR/data/<split>/ (stage 1).
Writes DIR/dump/video/<split>/landmarks/  (T, 68, 2) float32, px of the source picture (x, y)
                               crop80/     (T, 80, 80) uint8 grey, for enhancement
                               crop112/    (T, 112, 112) uint8 grey, for recognition
                               crop128/    (T, 128, 128) uint8 grey, where asked for: crop80 before it is made smaller
                               info.jsonl  what was found in every utterance
                               qa.html     contact sheet, lost faces, sizes and offsets: open it in a browser
Damaged, short and faceless clips go to failed.tsv. When only the crops' options change, the landmarks stay and no
face is looked for again. With a fixed box or crops made elsewhere (crop.detect.backend box, crops) there are no
landmarks; those of before go.
"""

import json
import logging
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avsr.config import load_section, to_dict
from avsr.errors import AvsrError, TooManyFailed, UtteranceError
from avsr.media.landmarks import DetectConf
from avsr.media.video import MIN_FRAMES
from avsr.stages.common import Stage, parser, run
from avsr.stages.shards import forget, read_failed
from avsr.storage.arrays import Store
from avsr.storage.datadir import Utterance, read_splits
from avsr.storage.lip_features import FOLDERS
from avsr.storage.markers import digest, fingerprint, is_done, mark
from avsr.storage.plan import check_room, describe, plan

log = logging.getLogger("avsr")
SIZES = {"crop80": 80, "crop112": 112, "crop128": 128}  # px of a side
SMALLEST = 0.1  # of the reference face: what is smaller is a wrong landmark file


@dataclass(frozen=True)
class CropConf:
    """The section `crop` of a recipe's configuration."""

    detect: DetectConf = field(default_factory=DetectConf)
    frames: int | None = None  # of every clip at 25 fps (GRID: 75): shorter ones repeat the last; null: any number
    min_frames: int = MIN_FRAMES  # fewer: the clip is dropped (GRID: 72)
    max_frames: int | None = None  # more: the clip is dropped (LRW: 29); null: `frames` of them are used
    # Clips of these speakers (a regular expression of their whole name) have any number of frames from 5 on: those of a
    # second corpus, as TCD-TIMIT's volunteers beside GRID (protocol GT).
    any_length: str | None = None
    window80: float = 128.0  # px at 64 px between the outer eye corners; becomes 80x80 (MHCA-AVCRN section 3.1)
    window112: float = 96.0  # the same, becomes 112x112; AE-MSR gives no window (decision: see docs/decisions.md)
    # of enhancement, of lip reading; crop128: VSE as published
    stores: tuple[Literal["crop80", "crop112", "crop128"], ...] = ("crop80", "crop112")
    box: tuple[int, int, int, int] | None = None  # detect.backend box: first and last row, first and last column, px

    def __post_init__(self):
        try:
            re.compile(self.any_length or "")
        except re.error as error:
            raise ValueError(f"any_length {self.any_length!r} is no regular expression: {error}") from None
        if (self.detect.backend == "box") != (self.box is not None):
            raise ValueError("box belongs to detect.backend box: give both or none")
        if self.box and not (0 <= self.box[0] < self.box[1] and 0 <= self.box[2] < self.box[3]):
            raise ValueError("box must be [first row, last row, first column, last column] with first < last")
        if min(self.window80, self.window112) <= 0:
            raise ValueError("window80 and window112 must be above 0")
        if not {"crop80", "crop112"} & {*self.stores}:
            raise ValueError("stores must name crop80, crop112 or both")
        if self.min_frames < 1 or (self.frames is not None and self.frames < self.min_frames):
            raise ValueError("must be 1 <= min_frames <= frames")
        if self.max_frames is not None and self.max_frames < (self.frames or self.min_frames):
            raise ValueError("max_frames must be at least frames and min_frames")

    @property
    def landmarked(self) -> bool:
        """Whether the crops are cut by landmarks."""
        return self.detect.backend not in ("box", "crops")

    @property
    def sizes(self) -> dict[str, int]:
        """px of a side of each crop that is made."""
        return {name: size for name, size in SIZES.items() if name != "crop128" or name in self.stores}

    @property
    def windows(self) -> dict[str, float]:
        """px of the picture that each crop is cut from, of a face as large as the reference."""
        return {name: self.window112 if name == "crop112" else self.window80 for name in self.sizes}

    @property
    def shapes(self) -> dict[str, Any]:
        """The `media.crops.CropShape` of each crop that is made by landmarks."""
        from avsr.media.crops import CropShape

        sizes, windows = self.sizes, self.windows
        return {name: CropShape(windows[name], sizes[name], 128 if name == "crop80" else None) for name in sizes}

    @property
    def pictures(self) -> dict[str, Any]:
        """Options of `read_frames`."""
        bounds = {"exact": self.frames, "least": self.min_frames}
        return bounds if self.max_frames is None else {**bounds, "most": self.max_frames}

    def of(self, speaker: str) -> "CropConf":
        """The section as it holds for the clips of a speaker."""
        if self.any_length is None or not re.fullmatch(self.any_length, speaker):
            return self
        return replace(self, frames=None, min_frames=MIN_FRAMES, max_frames=None)


def _body(args: Any, stage: Stage) -> None:
    conf = stage.conf(CropConf)
    splits = read_splits(args.data)
    _check_room(args, conf, splits)
    for data, utterances in splits.items():
        _split(stage, conf, utterances, args.out / data.name)


def _check_room(args: Any, conf: CropConf, splits: dict[Path, dict[str, Utterance]]) -> None:
    """Says what this stage and those after it will store; AvsrError where the disk is too small for it."""
    from avsr.stages.extract import ExtractConf
    from avsr.stages.pretrain import PretrainConf

    sound = load_section(ExtractConf, args.config, "extract", args.sets).stores
    lips = load_section(PretrainConf, args.config, "pretrain", args.sets)
    made = dict.fromkeys((*conf.stores, *sound, *(["landmarks"] if conf.landmarked else [])), 1.0)
    if lips.features is not None:
        half = lips.feature_dtype == "float16" and args.storage == "hdf5"  # an ark knows no float16
        made |= {FOLDERS[view]: 0.5 if half else 1.0 for view in lips.views}
    seconds = {data.name: {utt: row.duration for utt, row in rows.items()} for data, rows in splits.items()}
    dump = args.out.parent
    needs = plan(dump, seconds, lambda folder: {row["utterance"] for row in read_failed(folder)}, made)
    for line in describe(needs):
        log.info("%s: %s", dump, line)
    check_room(dump, needs)


def _split(stage: Stage, conf: CropConf, utterances: dict[str, Utterance], out: Path) -> None:
    item_keys = {utt: _item_key(conf, row) for utt, row in utterances.items()}
    landmarks_key = digest([to_dict(conf.detect), conf.pictures, item_keys])
    found = {"landmarks": {"fps": 25, "key": landmarks_key}} if conf.landmarked else {}
    stores = {**found, **{name: {"window": px, "fps": 25} for name, px in conf.windows.items() if name in conf.stores}}
    _clear(out, stores)
    common = {name: value for name, value in to_dict(conf).items() if name != "any_length"}  # it is in the items' keys
    made_by = (conf, utterances, out if _has_landmarks(out, landmarks_key) else None)
    try:
        finished = stage.process(list(utterances), Cropping, made_by, out, stores, ["crop 1", common], item_keys)
    except TooManyFailed:
        _write_qa(out, utterances)  # now it is needed most
        raise
    if finished:
        _write_qa(out, utterances)


def _item_key(conf: CropConf, row: Utterance) -> list:
    """What the crops of an utterance depend on, besides what all do."""
    own = conf.of(row.speaker)
    bounds = [] if own is conf else [own.pictures]
    return [*fingerprint(_inputs(conf, row)), *(row.part or ()), *bounds]


def _clear(out: Path, stores: Collection[str]) -> None:
    """Takes away what other stores these replace: before the work, for crops are written over."""
    names = ("landmarks", *SIZES)
    for others in chain.from_iterable(combinations(names, count + 1) for count in range(len(names))):
        if others != tuple(stores):
            forget(out, others)
    for name in {*names} - {*stores}:
        shutil.rmtree(out / name, ignore_errors=True)


def _inputs(conf: CropConf, utterance: Utterance) -> list[Path]:
    paths = [utterance.video, utterance.sound] if utterance.video else [utterance.sound]
    paths += [conf.detect.folder / f"{utterance.id}.npz"] if conf.detect.folder else []
    return paths + ([conf.detect.predictor] if conf.detect.predictor else [])


def _has_landmarks(out: Path, key: str) -> bool:
    """Whether landmarks from the same videos and detection options are there already."""
    try:
        return Store(out / "landmarks").meta.get("key") == key and (out / "info.jsonl").exists()
    except AvsrError:
        return False


class Cropping:
    """The work on one utterance: video -> landmarks and crops. Made once in every process.

    Args:
        conf: the section of the configuration.
        utterances: of the split.
        kept: the folder of this stage where its landmarks are to be used again, or None.
    """

    def __init__(self, conf: CropConf, utterances: dict[str, Utterance], kept: Path | None):
        self.conf, self.utterances = conf, utterances
        self._finder = None
        self._kept = Store(kept / "landmarks") if kept else {}
        self._found = {row["utt"]: row["found"] for row in read_info(kept)} if kept else {}

    def __call__(self, utt: str) -> dict[str, Any]:
        """Arrays of the stores, and info. Raises UtteranceError."""
        from avsr.media.video import probe

        utterance = self.utterances[utt]
        path = utterance.video
        if self.conf.detect.backend == "crops":  # no video is needed
            arrays, info = self._made_elsewhere(utt)
            return self._kept_of(arrays, {**info, "sound": _seconds(utterance)})
        if path is None:
            raise UtteranceError(f"{utterance.sound}: {utt} has sound but no video; name one in video.scp")
        source = probe(path)
        info = {"fps": round(source.fps, 3), "width": source.width, "height": source.height}
        pictures = {**self.conf.of(utterance.speaker).pictures, "part": utterance.pictures}
        if self.conf.box:
            arrays = self._fixed(path, pictures)
        else:
            points_tpx, info["found"] = self._landmarks(utt, path, pictures)
            arrays, measured = self._crops(path, pictures, points_tpx)
            info |= measured
        return self._kept_of(arrays, {**info, "frames": len(arrays["crop112"]), "sound": _seconds(utterance)})

    def _kept_of(self, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> dict[str, Any]:
        """The arrays that are stored, and the info."""
        names = [name for name in arrays if name in ("landmarks", *self.conf.stores)]
        return {**{name: arrays[name] for name in names}, "info": info}

    def _landmarks(self, utt: str, path: Path, pictures: dict[str, Any]) -> tuple[np.ndarray, dict]:
        from avsr.media import landmarks
        from avsr.media.video import read_frames

        detect = self.conf.detect
        if utt in self._kept and utt in self._found:
            return self._kept.read(utt), self._found[utt]
        if detect.backend == "npz":
            frames = sum(1 for _ in read_frames(path, **pictures))
            return landmarks.read_npz(detect.folder / f"{utt}.npz", frames, detect.max_missed)
        if self._finder is None:
            self._finder = landmarks.FaceFinder(detect)
        return landmarks.detect(read_frames(path, **pictures), self._finder, detect, str(path))

    def _crops(
        self, path: Path, pictures: dict[str, Any], points_tpx: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict]:
        from avsr.media import crops
        from avsr.media.video import read_frames

        scale = crops.face_scale(points_tpx)
        if not scale > SMALLEST:
            eyes = scale * crops.EYE_DISTANCE
            raise UtteranceError(f"{path}: the face is only {eyes:.0f} px from eye to eye; leave it out")
        sizes = self.conf.sizes
        cropper = crops.Cropper(points_tpx, tuple(self.conf.shapes.values()))
        arrays = {name: np.empty((len(points_tpx), size, size), np.uint8) for name, size in sizes.items()}
        for number, picture in enumerate(read_frames(path, **pictures)):
            for name, crop in zip(sizes, cropper.crop(number, picture), strict=True):
                arrays[name][number] = crop
        measured = {
            "eyes": _rounded(crops.eye_distance(points_tpx)),
            "mouth": _rounded(crops.mouth_width(points_tpx)),
            "outside": round(cropper.outside(*picture.shape)[0], 4),
        }
        return {"landmarks": points_tpx, **arrays}, measured

    def _fixed(self, path: Path, pictures: dict[str, Any]) -> dict[str, np.ndarray]:
        from avsr.media.crops import FixedCrop, fixed_crop
        from avsr.media.video import read_frames

        top, bottom, left, right = self.conf.box
        cuts = [FixedCrop((top, bottom), (left, right), size) for size in self.conf.sizes.values()]
        rows = [[fixed_crop(picture, cut) for cut in cuts] for picture in read_frames(path, **pictures)]
        return {name: np.stack(column) for name, column in zip(self.conf.sizes, zip(*rows, strict=True), strict=True)}

    def _made_elsewhere(self, utt: str) -> tuple[dict[str, np.ndarray], dict]:
        from avsr.media.crops import cut, read_crops

        bounds = self.conf.of(self.utterances[utt].speaker).pictures
        crops_thw = read_crops(self.conf.detect.folder / f"{utt}.npz", **bounds)
        frames, height, width = crops_thw.shape
        arrays = {
            name: np.stack([cut(picture, 0, 0, height, width, size) for picture in crops_thw])
            for name, size in self.conf.sizes.items()
        }
        return arrays, {"fps": 25, "width": width, "height": height, "frames": frames}


def read_info(out: Path) -> list[dict[str, Any]]:
    """The rows of info.jsonl, one an utterance."""
    return [json.loads(line) for line in (out / "info.jsonl").read_text(encoding="utf-8").splitlines()]


def _seconds(utterance: Utterance) -> float | None:
    """Length of the sound, of a part what there is of it; None where there is none (stage 3 drops the utterance)."""
    from avsr.media.audio import sound_seconds

    try:
        seconds = sound_seconds(utterance.sound)
    except UtteranceError:
        return None
    if seconds is not None and utterance.part:
        start, end = utterance.part
        seconds = max(0.0, min(seconds, end) - start)
    return None if seconds is None else round(seconds, 4)


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 2)


def _shown(out: Path) -> Store:
    """The crops that the page shows: those of enhancement where both are there."""
    return Store(out / ("crop80" if (out / "crop80" / "store.json").exists() else "crop112"))


def _write_qa(out: Path, utterances: dict[str, Utterance]) -> None:
    store = _shown(out)
    marker, key = out / ".done" / "qa.json", ["qa 1", store.digest, out.name]
    if is_done(marker, key):
        return
    from avsr.media import qa

    rows = [row for row in read_info(out) if row["utt"] in store] if len(store) else []
    for line in qa.remarks(rows):
        log.info("%s: %s", out.name, line)
    qa.write_page(out, rows, read_failed(out), utterances)
    mark(marker, key, [out / "qa.html"])
    log.info("look at %s", out / "qa.html")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    made = parser("crop", __doc__)
    made.add_argument("--data", type=Path, nargs="+", required=True, help="splits, DIR/data/<split> ...")
    made.add_argument("--out", type=Path, required=True, help="DIR/dump/video")
    return run(made, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
