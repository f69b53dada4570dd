"""Enhancement of a clip of any length, slice by slice: the samples of the whole at once, in memory that does not grow.

The sound is looked at twice (its level, then its samples), the pictures too (the face, then its mouth). Where the
pictures end, or do not show the face, a network that sees is shown the mean mouth of its training, which says nothing.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avsr import shipped
from avsr.clips import panel
from avsr.clips.faces import Face, mouths
from avsr.clips.looking import Clip, look
from avsr.clips.sound import Measured, pieces
from avsr.clips.writing import VIDEOS, check_out, write_sound, write_video
from avsr.errors import UsageError
from avsr.features.streaming import LEAD
from avsr.media.audio import RATE
from avsr.models.enhancement.avse import SLICE_VIDEO
from avsr.noise.mixing import LEVEL
from avsr.parallel import progress
from avsr.streaming import SLICE, Stream, open_stream

log = logging.getLogger("avsr")


def enhance(
    path: Path | str,
    out: Path | str | None = None,
    *,
    checkpoint: Path | str | None = None,
    face: int | None = None,
    show: Path | str | None = None,
    overwrite: bool = False,
    device: str = "cpu",
) -> np.ndarray | None:
    """Enhances a clip. Without `out` returns the samples, float32 at 16 kHz; else writes them there.

    Args:
        path: any file with sound that FFmpeg reads; of pictures the largest face is followed.
        out: wav, flac or ogg; mp4, mov or mkv: the clip's pictures with the enhanced sound.
        checkpoint: a trained enhancement system that runs on a stream; not given: the one that comes with avsr.
        face: number from the left, in the place of the largest.
        show: a PNG of what the network saw, heard and made of it.
        overwrite: files that are there already are written over.
    Raises UtteranceError for a clip that cannot be used, UsageError for what cannot be written, AvsrError for a
    checkpoint that cannot be used.
    """
    path, out, show = Path(path), out and Path(out), show and Path(show)
    if out:
        check_out(out, path, overwrite)
    if show:
        check_out(show, path, overwrite, (".png",))
    model = open_stream(shipped.chosen(checkpoint, shipped.ENHANCER), device=device).model
    clip = look(path, sees=bool(model.video_input), face=face)
    for line in clip.remarks:
        log.info("%s", line)
    if out and out.suffix.lower() in VIDEOS and clip.pictures is None:
        raise UsageError(f"{out}: {path} has no pictures to go with the sound; name a .wav")
    stream = panel.KeepingStream(model, level_factor(path, clip.sound))
    found = progress(enhance_pieces(path, stream, clip.sound, clip.face), slices_of(clip.sound), "enhance")
    wave_n = _put(found, clip, out)
    if show:
        panel.save(panel.draw(stream.kept, path.name), show)
        log.info("look at %s", show)
    return wave_n


def _put(found: Iterator[np.ndarray], clip: Clip, out: Path | None) -> np.ndarray | None:
    if out is None:
        return np.concatenate(list(found))
    video = out.suffix.lower() in VIDEOS
    samples = write_video(out, clip.path, found) if video else write_sound(out, found)
    log.info("%s written, %.2f s", out, samples / RATE)
    return None


def slices_of(measured: Measured) -> int:
    """How many slices of 200 ms the sound takes."""
    return max(-(-measured.length // SLICE), 1)


def level_factor(path: Path, measured: Measured) -> float:
    """From the clip's sound to the common level: RMS 0.05 at 16 kHz."""
    energy = sum(float(np.square(piece_n, dtype=np.float64).sum()) for piece_n in pieces(path, measured))
    return LEVEL / float(np.sqrt(energy / measured.length))


def enhance_pieces(path: Path, stream: Stream, measured: Measured, face: Face | None) -> Iterator[np.ndarray]:
    """The enhanced sound, `measured.length` samples float32 at 16 kHz, in pieces of about 200 ms.

    stream: a new one, with `level_factor`; face: whose mouth it sees; None: it sees nothing.
    """
    sound, seen = _Queue(pieces(path, measured)), shown(path, stream.model, face)
    slices, left = slices_of(measured), measured.length
    for number in range(slices):
        last = number == slices - 1
        wave_n = sound.take(stream.samples - (LEAD if last else 0))
        pictures = np.stack([next(seen) for _ in range(SLICE_VIDEO)]) if stream.model.video_input else None
        made_n = (stream.finish if last else stream.push)(wave_n, pictures)
        yield made_n[:left]
        left -= len(made_n[:left])


def shown(path: Path, model: Any, face: Face | None) -> Iterator[np.ndarray]:
    """The pictures that a network sees, without end: the mouth, and the mean one where it is not to be seen."""
    if not model.video_input:
        return
    nothing = (255 * model.picture_mean.cpu().numpy()).round().clip(0, 255).astype(np.uint8)
    if face is not None:
        for crop, seen in zip(mouths(path, face, model.video_input), face.seen_t, strict=True):
            yield crop if seen else nothing
    while True:
        yield nothing


class _Queue:
    """Pieces of any length in, as many samples as are asked for out; zeros at the end."""

    def __init__(self, found: Iterator[np.ndarray]):
        self._found, self._held_n = found, np.zeros(0, np.float32)

    def take(self, samples: int) -> np.ndarray:
        while len(self._held_n) < samples:
            piece_n = next(self._found, None)
            if piece_n is None:
                piece_n = np.zeros(samples - len(self._held_n), np.float32)
            self._held_n = np.concatenate([self._held_n, piece_n])
        taken_n, self._held_n = self._held_n[:samples], self._held_n[samples:]
        return taken_n
