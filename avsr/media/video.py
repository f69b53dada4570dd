"""Video in: grey or colour pictures at 25 a second, in order, one at a time, whatever the file's own rate is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avsr.errors import UtteranceError

FPS = 25
MIN_FRAMES = 5  # one slice of 200 ms; nothing shorter can be used by any system
MAX_GAP = 1  # seconds between two pictures; more is a damaged file, not a slow camera
WHOLE = 0.96  # share of the announced pictures, or of their time, that must decode (72 of GRID's 75)
# formats whose first plane is 8-bit luma
LUMA_FIRST = {"gray", "nv12", "nv21", "yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"}
# luma 16..235 to grey 0..255: of yuv that was made with BT.601 weights, this is the BT.601 grey
EXPAND = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class VideoInfo:
    """What a container says about its pictures; nothing is decoded.

    `frames` at the file's own rate `fps` (pictures a second): announced, or estimated from the duration; 0: unknown.
    """

    frames: int
    fps: float
    width: int
    height: int


def probe(path: Path) -> VideoInfo:
    """Rate, size and announced number of pictures. Raises UtteranceError when there is no readable video."""
    with open_media(path) as container:
        stream = _video_stream(container, path)
        frames = stream.frames or round(_announced_seconds(stream, container) * _rate(stream))
        return VideoInfo(frames, float(_rate(stream)), stream.width, stream.height)


def read_frames(
    path: Path,
    color: Literal["gray", "rgb"] = "gray",
    fps: int = FPS,
    exact: int | None = None,
    least: int = MIN_FRAMES,
    most: int | None = None,
    part: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Pictures at `fps`: for each k the source picture nearest in time to k/fps; memory does not grow.

    Args:
        exact: number of pictures of every clip of the corpus (GRID: 75): the last one is repeated where some are
            missing, what is more is cut off. None: as many as there are.
        least: fewer than this is an error (GRID keeps a clip from 72 on).
        most: more than this is an error (LRW: 29).
        part: the first picture and the one after the last, at `fps`; None: all. What lies before is decoded too, and
            dropped: a seek would save less than it costs in clips of seconds. What lies behind is not looked at.

    Yields contiguous (H, W) uint8 grey by BT.601, or (H, W, 3) uint8.
    Raises UtteranceError: no file, empty, not a video, no pictures in it, cut short, too short, ends within the part.
    """
    count, picture = 0, None
    first, end = part or (0, None)
    for picture in islice(_resample(_decode(path, color), fps, path), first, end):
        if count == most:
            raise UtteranceError(f"{path}: more than {most} frames at {fps} fps; copy it again from the corpus")
        count += 1
        if exact is None or count <= exact:
            yield picture
        if count == exact and most is None:
            return
    if part and count < end - first:
        what = f"has no picture {first + count} at {fps} fps; its part goes on to {end}"
        raise UtteranceError(f"{path}: {what}; mend segments, or copy the file again from the corpus")
    if count < least:
        raise UtteranceError(f"{path}: only {count} frames at {fps} fps, at least {least} are needed; leave it out")
    for _ in range(count, exact or 0):
        yield picture


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """An open PyAV container; what goes wrong inside the block becomes one clear line (UtteranceError)."""
    import av

    try:
        if os.path.getsize(path) == 0:
            raise UtteranceError(f"{path}: is empty (0 bytes); copy it again from the corpus")
        with av.open(str(path)) as container:
            yield container
    except FileNotFoundError as error:
        raise UtteranceError(f"{path}: there is no such file; check the corpus folder") from error
    except av.error.FFmpegError as error:
        raise UtteranceError(
            f"{path}: not readable as video or sound ({error.strerror}); copy it again from the corpus"
        ) from error


def _decode(path: Path, color: str) -> Iterator[tuple[Fraction, Fraction, np.ndarray]]:
    """Pictures with their time and duration in seconds, as they are in the file; checks that none are missing."""
    import av

    with open_media(path) as container:
        stream = _video_stream(container, path)
        stream.codec_context.thread_count = 1  # stages run on processes; threads inside them only get in the way
        step = 1 / _rate(stream)
        count, damaged, last, first = 0, False, None, Fraction(0)
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # a damaged packet; enough of them make the clip fail below
                continue
            for frame in frames:
                time = None if frame.pts is None else frame.pts * frame.time_base
                if time is None or (last is not None and time <= last):
                    time = step * count if last is None else last + step
                first = time if last is None else first
                last, count, damaged = time, count + 1, frame.is_corrupt
                yield time, (frame.duration or 0) * frame.time_base or step, _picture(frame, color)
        if not count:
            raise UtteranceError(f"{path}: no picture can be decoded; copy it again from the corpus")
        seconds, announced = last - first + step, _announced_seconds(stream, container)
        short = count < WHOLE * stream.frames if stream.frames else seconds < WHOLE * announced - step
        if damaged or short:
            what = f"{count} frames, {float(seconds):.2f} s"
            raise UtteranceError(f"{path}: the video breaks off after {what}; copy it again from the corpus")


def _resample(
    frames: Iterator[tuple[Fraction, Fraction, np.ndarray]], fps: int, path: Path
) -> Iterator[np.ndarray]:
    """The picture nearest in time to k/fps, counted from the first one; the earlier of two equally near ones."""
    k, start, before, end, picture = 0, None, None, Fraction(0), None
    for time, duration, following in frames:
        if start is None:
            start = time
        time -= start
        if before is not None:
            if time - before > MAX_GAP:
                raise UtteranceError(f"{path}: {float(time - before):.1f} s without a picture; leave it out")
            while Fraction(k, fps) <= (before + time) / 2:
                yield picture
                k += 1
        before, picture, end = time, following, time + duration
    for _ in range(k, round(end * fps)):
        yield picture


def _picture(frame: Any, color: str) -> np.ndarray:
    if color == "rgb":
        picture = frame.to_ndarray(format="rgb24", threads=1)
    elif frame.format.name in LUMA_FIRST:
        plane = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        full_range = frame.color_range == 2 or frame.format.name.startswith(("gray", "yuvj"))
        picture = luma.copy() if full_range else EXPAND.take(luma)
    else:
        picture = frame.to_ndarray(format="gray", threads=1)
    # a telephone writes its pictures lying, with the turn (degrees, counter-clockwise) beside them
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns) if turns else picture)


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise UtteranceError(f"{path}: has no pictures, only sound; name the video file in video.scp")
    return container.streams.video[0]


def _rate(stream: Any) -> Fraction:
    return stream.average_rate or stream.guessed_rate or Fraction(FPS)


def _announced_seconds(stream: Any, container: Any) -> Fraction:
    """How long the container says its pictures last; 0 when it says nothing about them alone."""
    if stream.duration:
        return stream.duration * stream.time_base
    if clock := stream.metadata.get("DURATION"):  # Matroska: 00:00:02.960000000
        hours, minutes, seconds = (Fraction(part.rstrip("\0")) for part in clock.split(":"))
        return 3600 * hours + 60 * minutes + seconds
    return Fraction(container.duration or 0, 10**6) if len(container.streams) == 1 else Fraction(0)
