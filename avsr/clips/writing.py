"""What a clip becomes: a sound file, or the video with the enhanced sound. Whole, or not at all."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from avsr.errors import UsageError
from avsr.media.audio import RATE
from avsr.media.video import open_media
from avsr.storage.atomic import atomic_path

SOUNDS = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "VORBIS"}
VIDEOS = {".mp4": "aac", ".mov": "aac", ".mkv": "flac"}


def check_out(out: Path, clip: Path, overwrite: bool, suffixes: tuple[str, ...] = (*SOUNDS, *VIDEOS)) -> None:
    """Raises UsageError for a file that cannot be written, the clip itself, and one that is there already."""
    if out.suffix.lower() not in suffixes:
        raise UsageError(f"{out}: cannot write {out.suffix or 'a file without an extension'}; name one of "
                         f"{' '.join(suffixes)}")  # fmt: skip
    if not out.parent.is_dir():
        raise UsageError(f"{out}: there is no folder {out.parent}; make it first")
    if out.exists() and clip.exists() and os.path.samefile(out, clip):
        raise UsageError(f"{out}: is the clip itself; name another file")
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: is there already; name another file, or say --overwrite")


def write_sound(out: Path, found: Iterable[np.ndarray]) -> int:
    """Pieces (n,) float32 at 16 kHz into a sound file; returns the number of samples."""
    import soundfile

    samples = 0
    with atomic_path(out) as temporary:
        with soundfile.SoundFile(temporary, "w", RATE, 1, SOUNDS[out.suffix.lower()]) as file:
            for piece_n in found:
                file.write(np.clip(piece_n, -1, 1))
                samples += len(piece_n)
    return samples


def write_video(out: Path, clip: Path, found: Iterable[np.ndarray]) -> int:
    """The clip's pictures as they are, and pieces (n,) float32 at 16 kHz as their sound, which begins with them.

    Raises UsageError where the pictures' codec does not fit the container; returns the number of samples.
    """
    import av

    samples = 0
    with atomic_path(out) as temporary, open_media(clip) as source, av.open(str(temporary), "w") as target:
        pictures = source.streams.video[0]
        try:
            copied = target.add_stream_from_template(pictures)
        except ValueError:
            name = pictures.codec_context.name
            raise UsageError(f"{out}: cannot hold the clip's pictures ({name}); name a file .mkv") from None
        sound = target.add_stream(VIDEOS[out.suffix.lower()], rate=RATE, layout="mono")
        first = Fraction(pictures.start_time or 0) * pictures.time_base
        packets = (packet for packet in source.demux(pictures) if packet.dts is not None)
        waiting = next(packets, None)
        size = sound.frame_size or 1024
        resampler = av.AudioResampler(format=sound.format, layout="mono", rate=RATE, frame_size=size)
        for piece_n in found:
            while waiting is not None and (waiting.dts * waiting.time_base - first) * RATE <= samples:
                waiting = _copy(target, copied, waiting, packets)
            frame = av.AudioFrame.from_ndarray(np.clip(piece_n, -1, 1)[None].astype(np.float32), "flt", "mono")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = samples + round(first * RATE)
            samples += len(piece_n)
            for made in resampler.resample(frame):
                target.mux(sound.encode(made))
        while waiting is not None:
            waiting = _copy(target, copied, waiting, packets)
        for made in resampler.resample(None):
            target.mux(sound.encode(made))
        target.mux(sound.encode())
    return samples


def _copy(target, stream, packet, packets):
    """Puts a packet of pictures into the file as it is; returns the next one, None at the end."""
    packet.stream = stream
    target.mux(packet)
    return next(packets, None)
