"""Small clips for the tests: a real face in the public domain, moved about, in files made with PyAV."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from skimage.data import astronaut

from avsr.media.video import read_frames

HEIGHT, WIDTH = 288, 360


def face_picture(dx: int = 0, dy: int = 0) -> np.ndarray:
    """(288, 360, 3) RGB with a face 90 px wide near the middle, moved by (dx, dy) px."""
    return np.ascontiguousarray(astronaut()[20 - dy : 20 - dy + HEIGHT, 50 - dx : 50 - dx + WIDTH])


def face_clip(frames: int = 75, moving: bool = True) -> np.ndarray:
    """(T, 288, 360, 3): the face sways by 12 px to both sides within two seconds."""
    steps = np.round(12 * np.sin(np.arange(frames) * 2 * np.pi / 50)).astype(int) * moving
    return np.stack([face_picture(dx) for dx in steps])


def grey(pictures: np.ndarray) -> np.ndarray:
    """(..., 3) RGB -> (...) uint8."""
    return np.round(pictures @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def read_video(path: Path, color: str = "gray", **options) -> np.ndarray:
    """All pictures of a clip at once, (T, H, W) or (T, H, W, 3) uint8; options as `read_frames`."""
    return np.stack(list(read_frames(path, color, **options)))


def tone(seconds: float, rate: int, channels: int = 1, level: float = 0.3, hertz: float = 440.0) -> np.ndarray:
    """(n, channels) float32 sine."""
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def write_clip(
    path: Path,
    pictures: np.ndarray | None,
    fps: Fraction | int = 25,
    codec: str = "mpeg1video",
    pixels: str = "yuv420p",
    sound: np.ndarray | None = None,
    rate: int = 44100,
    sound_codec: str = "mp2",
    times_ms: list[int] | None = None,
    sound_delay: float = 0.0,
) -> Path:
    """Writes (T, H, W, 3) RGB pictures and (n, channels) sound; `times_ms`: time stamps of a variable rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = audio = None
        if pictures is not None:
            stream = container.add_stream(codec, rate=fps)
            stream.height, stream.width = pictures.shape[1:3]
            stream.pix_fmt = pixels
            if codec in ("mpeg1video", "mpeg4"):
                stream.bit_rate = 2_000_000
            if times_ms:
                stream.codec_context.time_base = Fraction(1, 1000)
        if sound is not None:
            layout = "mono" if sound.shape[1] == 1 else "stereo"
            audio = container.add_stream(sound_codec, rate=rate, layout=layout)
        for number, picture in enumerate(pictures if pictures is not None else []):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=pixels)
            frame.pts = times_ms[number] if times_ms else number
            frame.time_base = Fraction(1, 1000) if times_ms else 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        if stream:
            container.mux(stream.encode())
        if audio:
            _write_sound(container, audio, sound, rate, sound_delay)
    return path


def _write_sound(container, stream, sound: np.ndarray, rate: int, delay: float) -> None:
    integers = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(integers.reshape(1, -1), format="s16", layout=stream.layout.name)
    frame.sample_rate = rate
    size = stream.codec_context.frame_size or 1024
    fifo = av.AudioFifo()
    fifo.write(frame)
    written = round(delay * rate)
    while (part := fifo.read(size, partial=True)) is not None:
        part.pts, part.time_base = written, Fraction(1, rate)
        written += part.samples
        container.mux(stream.encode(part))
    container.mux(stream.encode())
