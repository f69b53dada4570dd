"""How fast and how exact the landmarks of stage 2 are, against dlib's detector on every picture of the same clips."""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from avsr.bench.common import Options, Row
from avsr.errors import AvsrError
from avsr.media.landmarks import Box, DetectConf, FaceFinder, detect, fill_gaps
from avsr.media.video import read_frames

CLIPS = 12
EXTENSIONS = (".mpg", ".mp4", ".avi", ".mkv")


def run(options: Options, clips: int = CLIPS) -> list[Row]:
    """Clips are chosen from the folder of the options; without one a small clip is made.

    Times are those of this process on its processor, decoding included; each clip is read by both ways in turn.
    """
    with tempfile.TemporaryDirectory() as temporary:
        paths = sample_clips(options.clips, clips, Path(temporary))
        conf = DetectConf()
        finder = FaceFinder(conf)
        ours, every, apart, seconds = [], [], [], []
        for path in [paths[0], *paths]:  # the first one warms up
            start = time.process_time()
            points_tpx, counts = detect(read_frames(path), finder, conf, str(path))
            middle = time.process_time()
            reference_tpx = _every_picture(path, finder)
            every.append(time.process_time() - middle)
            ours.append(middle - start)
            apart.append(float(np.linalg.norm(points_tpx - reference_tpx, axis=-1).mean()))
            seconds.append(counts["frames"] / 25)
    timed = list(zip(ours, every, seconds, strict=True))[1:]
    name = f"landmarks of {len(paths)} clip{'s' * (len(paths) > 1)}"
    return [
        Row(f"{name}: this stage", median(40 * o / s for o, _, s in timed), "ms a frame"),
        Row(f"{name}: detector on every frame", median(40 * e / s for _, e, s in timed), "ms a frame"),
        Row(f"{name}: faster by", median(e / o for o, e, _ in timed), "x faster", 3.0, least=True),
        Row(f"{name}: speed on one core", median(s / o for o, _, s in timed), "x real time", 6.0, least=True),
        Row(f"{name}: mean difference", float(np.mean(apart[1:])), "px", 2.0),
    ]


def sample_clips(folder: Path | None, count: int, temporary: Path) -> list[Path]:
    """So many video files of a folder, evenly taken; without a folder a small clip that is made in `temporary`."""
    return _choose(folder, count) if folder else [_make_clip(temporary / "face.mpg")]


def _every_picture(path: Path, finder: FaceFinder) -> np.ndarray:
    """(T, 68, 2): what the detector finds in the whole of every picture, and the predictor in its box."""
    points = []
    for picture in read_frames(path):
        box = max(finder.faces(picture), key=_width, default=None)
        points.append(np.full((68, 2), np.nan, np.float32) if box is None else finder.points(picture, box))
    return fill_gaps(np.stack(points))


def _width(box: Box) -> float:
    return box.width


def _choose(folder: Path, count: int) -> list[Path]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in EXTENSIONS)
    if not paths:
        raise AvsrError(f"{folder}: holds no video files ({', '.join(EXTENSIONS)})")
    return paths[:: max(len(paths) // count, 1)][:count]


def _make_clip(path: Path) -> Path:
    """A face in the public domain that sways a little, 360x288, MPEG-1, 3 s."""
    import av
    from skimage.data import astronaut

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg1video", rate=25)
        stream.width, stream.height, stream.bit_rate = 360, 288, 1_000_000
        for k in range(75):
            left = 50 + round(6 * np.sin(k / 8))
            picture = np.ascontiguousarray(astronaut()[20:308, left : left + 360])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
