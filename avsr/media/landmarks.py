"""The 68 face landmarks of every picture: found with dlib, or taken from files made elsewhere.

dlib's detector (HOG) costs ten times as much as its 68-point predictor (Kazemi & Sullivan 2014), so faces are looked
for in every fifth picture, reduced, and around the last one when there is one; the predictor runs on every picture,
in boxes that lie on the line between two detections. Where a box jumps or is lost between two detections,
the pictures between are searched one by one. A second face is counted where both are in a picture that is searched as
a whole: the first one, and those in which the followed face is not near its last place. So one that enters later is
seldom counted; it is not followed either. AE-MSR and MHCA-AVCRN both take their mouth crops from such landmarks.
"""

import importlib.util
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avsr.errors import AvsrError, UsageError, UtteranceError

POINTS = 68
MOUTH = slice(48, 68)
EYES = (36, 45)  # outer corners
MOUTH_CORNERS = (48, 54)
FACE = 100  # px: a known face is reduced to this for the detector, which finds none below 80
MARGIN = 0.3  # of the box, on each side of it, is searched around the last one
REACH = 0.6  # of its width is how far a face may move from one detection to the next and still be the same
CHANGE = 20  # grey levels: where the last box looks so different (mean), the picture is searched; GRID: below 10
PREDICTOR = "shape_predictor_68_face_landmarks.dat"


@dataclass(frozen=True)
class DetectConf:
    """How landmarks come about."""

    # npz: files of `folder`; box: none, crops by crop.box; crops: none, crops of `folder`
    backend: Literal["dlib", "npz", "box", "crops"] = "dlib"
    every: int = 5  # pictures from one regular detection to the next (5 = 0.2 s)
    width: int = 320  # px: wider pictures are reduced to this for the first search; doubled until a face is found
    jump: float = 0.2  # of its width: a box that moves more between two detections is followed picture by picture
    max_missed: float = 0.2  # an utterance is dropped when this share of the regular detections misses (GRID: 3 of 15)
    # of <utt>.npz. npz: `landmarks` (T, 68, 2) or (T, 20, 2) in px (x, y), lost pictures NaN; crops: `crops` (T, H, W)
    # uint8 grey mouths. Both at 25 pictures a second
    folder: Path | None = None
    predictor: Path | None = None  # another 68-point model for dlib; default: that of face_recognition_models

    def __post_init__(self):
        if self.every < 1 or self.width < 80 or not 0 < self.max_missed <= 1:
            raise ValueError("detect.every must be >= 1, detect.width >= 80, detect.max_missed in (0, 1]")
        if (self.backend in ("npz", "crops")) != (self.folder is not None):
            raise ValueError("detect.folder belongs to detect.backend npz or crops: give both or none")


@dataclass
class Counts:
    """What happened on the way: pictures and detections."""

    frames: int = 0
    detections: int = 0  # regular ones
    missed: int = 0  # regular ones in which the face was not found
    redetected: int = 0  # pictures between two regular detections that were searched
    interpolated: int = 0  # pictures whose landmarks come from their neighbours
    faces: int = 0  # most in one picture that was searched as a whole, as the first is; seldom one that enters later


@dataclass(frozen=True)
class Box:
    """A face box in pixels of the source picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def center(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def distance(self, other: "Box") -> float:
        """Between the centres, in px."""
        return float(np.hypot(*np.subtract(self.center, other.center)))

    def towards(self, other: "Box", part: float) -> "Box":
        """The box on the way to another one; part 0 is this one, 1 the other."""
        mine, others = np.array(self._corners()), np.array(other._corners())
        return Box(*(mine + part * (others - mine)))

    def _corners(self) -> tuple[float, float, float, float]:
        return self.left, self.top, self.right, self.bottom


class FaceFinder:
    """dlib's detector and predictor. Raises AvsrError when dlib or its 68-point model is not there or is another one,
    UsageError when crop.detect.predictor names no file."""

    def __init__(self, conf: DetectConf = DetectConf()):
        try:
            import dlib
        except ImportError:
            raise AvsrError(
                "dlib is missing: run ./utils/install.sh (or pip install dlib-bin), or set crop.detect.backend to npz"
            ) from None
        self._dlib = dlib
        self._width = conf.width
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = self._load(conf.predictor or find_predictor())

    def _load(self, path: Path) -> Any:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file; mend crop.detect.predictor, or leave it out")
        wrong = f"{path}: is no 68-point shape predictor of dlib; name another one in crop.detect.predictor"
        try:
            predictor = self._dlib.shape_predictor(str(path))
        except RuntimeError:  # dlib's word for all that it cannot read
            raise AvsrError(wrong) from None
        points = predictor(np.zeros((80, 80), np.uint8), self._dlib.rectangle(10, 10, 70, 70)).num_parts
        if points != POINTS:
            raise AvsrError(f"{wrong} (it has {points} points)")
        return predictor

    def first_faces(self, picture: np.ndarray) -> list[Box]:
        """The faces in a grey (H, W) uint8 picture of which nothing is known: in small first, as that is fast."""
        scale = max(picture.shape[1] / self._width, 1.0)
        while not (found := self.faces(picture, scale)) and scale > 1:
            scale = max(scale / 2, 1.0)
        return found

    def faces(self, picture: np.ndarray, scale: float = 1.0, around: Box | None = None) -> list[Box]:
        """The faces in a grey (H, W) uint8 picture, reduced by `scale` >= 1 for the search; or those around a box."""
        left, top = 0, 0
        if around is not None:
            margin = MARGIN * around.width
            left, top = max(round(around.left - margin), 0), max(round(around.top - margin), 0)
            picture = picture[top : max(round(around.bottom + margin), 0), left : max(round(around.right + margin), 0)]
            if min(picture.shape) < around.width / 2:  # it was at the very edge
                return []
        return [
            Box(r.left() * scale + left, r.top() * scale + top, r.right() * scale + left, r.bottom() * scale + top)
            for r in self._detector(_reduce(picture, scale))
        ]

    def points(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """(68, 2) float32 landmarks (x, y) in px of the face in the box."""
        rectangle = self._dlib.rectangle(round(box.left), round(box.top), round(box.right), round(box.bottom))
        return np.array([(p.x, p.y) for p in self._predictor(picture, rectangle).parts()], np.float32)


def find_predictor() -> Path:
    """The 68-point model in face_recognition_models, which is not imported: it asks for pkg_resources, now gone."""
    spec = importlib.util.find_spec("face_recognition_models")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    path = folder / "models" / PREDICTOR if folder else None
    if path is None or not path.exists():
        raise AvsrError(
            f"{PREDICTOR} is missing: run ./utils/install.sh (or pip install face_recognition_models), "
            "or name the file in crop.detect.predictor"
        )
    return path


@dataclass
class Tracker:
    """Follows one face through the pictures of an utterance: the largest at first, then the nearest to the last.

    `face`: at first not the largest but that number from the left, from 1 on, in the first picture with so many.
    """

    finder: FaceFinder
    conf: DetectConf
    counts: Counts = field(default_factory=Counts)
    face: int | None = None
    _last: Box | None = None  # where the face was seen last
    _lost: int = 0  # searches since then
    _look: np.ndarray | None = None  # the face in the last regular detection that found it

    def track(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """(H, W) pictures -> (68, 2) landmarks each, NaN where the face is lost; holds `every` pictures at a time."""
        before: Box | None = None
        waiting: list[np.ndarray] = []  # the pictures between the last detection and the next
        for number, picture in enumerate(pictures):
            self.counts.frames += 1
            if number % self.conf.every:
                waiting.append(picture)
                continue
            box = self._search(picture)
            self.counts.detections += 1
            self.counts.missed += box is None
            yield from self._between(waiting, before, box)
            yield self._points(picture, box)
            before, waiting = box, []
            self._look = None if box is None else patch_of(picture, box)
        if waiting:  # the last picture is searched too, so that every one lies between two detections
            yield from self._between(waiting, before, self._search(waiting[-1]), last=True)

    def _between(
        self, pictures: list[np.ndarray], before: Box | None, after: Box | None, last: bool = False
    ) -> Iterator[np.ndarray]:
        steady = before and after and before.distance(after) <= self.conf.jump * before.width
        steps = len(pictures) + (not last)
        if not steady and (before or after):
            self._last = before or self._last
        for step, picture in enumerate(pictures, 1):
            if steady:
                box = before.towards(after, step / steps)
                if np.abs(patch_of(picture, before) - self._look).mean() > CHANGE:  # hidden, or moving fast
                    self.counts.redetected += 1
                    box = self._search(picture)
            elif last and step == steps:
                box = after
            elif before or after:
                self.counts.redetected += 1
                box = self._search(picture)
            else:
                box = None
            yield self._points(picture, box)
        if pictures and after:
            self._last, self._lost = after, 0

    def _search(self, picture: np.ndarray) -> Box | None:
        """The tracked face: near its last place, else in the whole picture; None when it is not there."""
        if self._last is None:
            everywhere = self.finder.first_faces(picture)
            box = max(everywhere, key=lambda box: box.width, default=None)
            if self.face:
                box = dict(enumerate(sorted(everywhere, key=lambda box: box.left), 1)).get(self.face)
            self.counts.faces = max(self.counts.faces, len(everywhere))
        else:
            scale = max(self._last.width / FACE, 1.0)
            box = self._same(self.finder.faces(picture, scale, around=self._last))
            if box is None:
                everywhere = self.finder.faces(picture, scale)
                box = self._same(everywhere)
                self.counts.faces = max(self.counts.faces, len(everywhere))
        self._lost = 0 if box else self._lost + 1
        self._last = box or self._last
        return box

    def _same(self, boxes: list[Box]) -> Box | None:
        """Of some faces the nearest to the last place, if it is near enough and about as large."""
        reach = REACH * self._last.width * (1 + self._lost / self.conf.every)
        same = [b for b in boxes if b.distance(self._last) <= reach and 0.6 < b.width / self._last.width < 1.67]
        return min(same, key=self._last.distance, default=None)

    def _points(self, picture: np.ndarray, box: Box | None) -> np.ndarray:
        return np.full((POINTS, 2), np.nan, np.float32) if box is None else self.finder.points(picture, box)


def detect(pictures: Iterable[np.ndarray], finder: FaceFinder, conf: DetectConf, name: str) -> tuple[np.ndarray, dict]:
    """(H, W) uint8 pictures -> (T, 68, 2) float32 landmarks in px without gaps, and the counts as plain data.

    Raises UtteranceError when no face is found, or too many regular detections miss it (`conf.max_missed`).
    """
    tracker = Tracker(finder, conf)
    points_tpx = np.stack(list(tracker.track(pictures)))
    counts = tracker.counts
    if counts.missed >= conf.max_missed * counts.detections:
        none = counts.missed == counts.detections
        what = "no face was found in any" if none else f"the face was lost in {counts.missed}"
        raise UtteranceError(
            f"{name}: {what} of {counts.detections} detections (damaged picture? face turned away?); "
            "leave it out, or give landmarks (crop.detect.backend npz)"
        )
    counts.interpolated = count_lost(points_tpx)
    return fill_gaps(points_tpx), dict(vars(counts))


def read_npz(path: Path, frames: int, max_missed: float) -> tuple[np.ndarray, dict]:
    """Landmarks made elsewhere: (T, 68, 2); of a mouth-only file (T, 20, 2), the other 48 points are NaN.

    Raises UtteranceError: no file, other contents, other length than `frames` pictures at 25 fps, too many lost.
    """
    points = read_made_elsewhere(path, "landmarks")
    if points.dtype.kind not in "iuf":
        raise UtteranceError(f"{path}: landmarks are of type {points.dtype}, not numbers; make it again")
    points = points.astype(np.float32)
    if points.ndim != 3 or points.shape[1:] not in ((POINTS, 2), (20, 2)) or len(points) != frames:
        raise UtteranceError(
            f"{path}: landmarks have shape {points.shape}, not ({frames}, 68, 2) or ({frames}, 20, 2) for the "
            f"{frames} pictures at 25 fps; make it again"
        )
    points = np.where(np.isfinite(points), points, np.nan)
    if points.shape[1] == 20:
        whole = np.full((frames, POINTS, 2), np.nan, np.float32)
        whole[:, MOUTH] = points
        points = whole
    lost = count_lost(points)
    if lost >= max_missed * frames:
        raise UtteranceError(f"{path}: landmarks are missing in {lost} of {frames} pictures; leave it out")
    return fill_gaps(points), {"frames": frames, "interpolated": lost}


def read_made_elsewhere(path: Path, name: str) -> np.ndarray:
    """The array of this name in an npz file. Raises UtteranceError: no file, not readable, no such array, a pickle."""
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            raise ValueError("an npy file")
        with data:
            return np.asarray(data[name])
    except FileNotFoundError as error:
        raise UtteranceError(f"{path}: there is no such file; make it, or use crop.detect.backend dlib") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UtteranceError(f"{path}: not an npz file with an array `{name}`; make it again") from error


def count_lost(points_tpx: np.ndarray) -> int:
    """Pictures without mouth landmarks."""
    return int(np.isnan(points_tpx[:, MOUTH]).any(axis=(1, 2)).sum())


def fill_gaps(points_tpx: np.ndarray) -> np.ndarray:
    """Pictures with NaN at the mouth get what lies linearly between their neighbours; held at both ends."""
    good = np.flatnonzero(~np.isnan(points_tpx[:, MOUTH]).any(axis=(1, 2)))
    times = np.arange(len(points_tpx))
    after = np.clip(np.searchsorted(good, times), 0, len(good) - 1)
    right, left = good[after], good[np.maximum(after - 1, 0)]
    left = np.where((right <= times) | (after == 0), right, left)
    part = np.where(right > left, (times - left) / np.maximum(right - left, 1), 0.0).clip(0, 1)[:, None, None]
    return ((1 - part) * points_tpx[left] + part * points_tpx[right]).astype(np.float32)


def patch_of(picture: np.ndarray, box: Box, size: int = 24) -> np.ndarray:
    """(H, W) uint8 -> (size, size) int16: single pixels of the box, enough to tell a face from what hides it."""
    rows = np.linspace(box.top, box.bottom, size).clip(0, picture.shape[0] - 1).astype(int)
    columns = np.linspace(box.left, box.right, size).clip(0, picture.shape[1] - 1).astype(int)
    return picture[rows[:, None], columns].astype(np.int16)


def _reduce(picture: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return np.ascontiguousarray(picture)  # dlib reads a strided view wrongly, without a word
    from PIL import Image

    size = (max(round(picture.shape[1] / scale), 1), max(round(picture.shape[0] / scale), 1))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
