"""Sound in and out: any file, any rate, any channels -> 16 kHz mono float32 without DC."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.errors import UtteranceError
from avsr.media.video import FPS, open_media

RATE = 16000
SILENCE = 1e-4  # RMS (full scale 1) below which a recording counts as silent
FULL_SCALE = 0.999
BLOCK = 1 << 16  # samples of a recording that are read at once
SOUND_FILES = {".wav", ".flac", ".ogg"}  # read by libsndfile; all others by FFmpeg


@dataclass(frozen=True)
class SoundInfo:
    """The recording as it was: rate (Hz), channels, seconds, share of samples at full scale, RMS (full scale 1)."""

    rate: int
    channels: int
    seconds: float
    clipped: float
    rms: float


def read_sound(
    path: Path, rate: int = RATE, silence: float = SILENCE, part: tuple[int, int] | None = None
) -> tuple[np.ndarray, SoundInfo]:
    """The sound of a recording or a video: mono (mean of the channels), DC removed, resampled (polyphase).

    In a video it begins with the first picture: where the container starts it later, zeros stand in front, and what
    comes before the first picture is cut off.

    A `part` is the first picture and the one after the last, at 25 a second: the sound is then that of these pictures,
    as if the file held nothing else; where the file ends before, it is shorter. The whole file is decoded.

    Returns (n,) float32 at `rate` and what the recording was.
    Raises UtteranceError: no file, empty, unreadable, no sound in it, silent (RMS below `silence`).
    """
    path = Path(path)
    blocks = list(sound_blocks(path))
    samples_nc = np.concatenate([block for block, _ in blocks] or [np.zeros((0, 1), np.float32)])
    source_rate = blocks[0][1] if blocks else rate
    if part:
        first, end = (round(picture * source_rate / FPS) for picture in part)
        samples_nc = samples_nc[first:end]
    if not len(samples_nc):
        raise UtteranceError(f"{path}: holds no sound; give a file with sound in wav.scp")
    if not np.isfinite(samples_nc).all():
        raise UtteranceError(f"{path}: holds samples that are no numbers (NaN or infinite); convert it again")
    clipped = float(np.mean(np.abs(samples_nc) >= FULL_SCALE))
    wave = samples_nc.mean(axis=1, dtype=np.float64)
    wave -= wave.mean()
    rms = math.sqrt(np.mean(wave**2))
    if rms < silence:
        raise UtteranceError(f"{path}: is silent (RMS {rms:.1e}, at least {silence:g} is needed); leave it out")
    info = SoundInfo(source_rate, samples_nc.shape[1], len(wave) / source_rate, clipped, rms)
    return resample(wave, source_rate, rate), info


def resample(wave: np.ndarray, source_rate: int, rate: int = RATE) -> np.ndarray:
    """(n,) at `source_rate` Hz -> (ceil(n * rate / source_rate),) float32 at `rate`, polyphase FIR."""
    if source_rate == rate:
        return wave.astype(np.float32)
    from scipy.signal import resample_poly

    common = math.gcd(source_rate, rate)
    return resample_poly(wave, rate // common, source_rate // common).astype(np.float32)


def sound_seconds(path: Path) -> float | None:
    """Length of the sound in seconds by the container, nothing decoded; None when there is no sound in it."""
    path = Path(path)
    if path.suffix.lower() in SOUND_FILES:
        import soundfile

        try:
            return soundfile.info(path).duration
        except soundfile.LibsndfileError as error:
            raise _unreadable(path, error) from error
    with open_media(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        total = sum(packet.duration or 0 for packet in container.demux(stream))
        return float(total * stream.time_base)


def sound_blocks(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """The sound of a recording or a video as it is, piece by piece: (n, channels) float32 and the rate in Hz.

    It begins as `read_sound` says. Raises UtteranceError: no file, empty, unreadable, no sound stream in it.
    """
    path = Path(path)
    return _file_blocks(path) if path.suffix.lower() in SOUND_FILES else _container_blocks(path)


def _file_blocks(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    import soundfile

    if not path.exists():
        raise UtteranceError(f"{path}: there is no such file; check the corpus folder")
    if path.stat().st_size == 0:
        raise UtteranceError(f"{path}: is empty (0 bytes); copy it again from the corpus")
    try:
        with soundfile.SoundFile(path) as file:
            for samples_nc in file.blocks(BLOCK, dtype="float32", always_2d=True):
                yield samples_nc, file.samplerate
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UtteranceError:
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    return UtteranceError(f"{path}: not readable as sound ({reason}); convert it to wav")


def _container_blocks(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """The first sound stream, from the first picture on."""
    import av

    with open_media(path) as container:
        if not container.streams.audio:
            raise UtteranceError(f"{path}: has no sound; give a file with sound in wav.scp")
        stream = container.streams.audio[0]
        pictures = container.streams.video[0] if container.streams.video else None
        rate, shift = stream.rate, None  # samples of silence in front; below zero: samples to leave out
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)  # changes the sample type alone
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # damaged packets leave the sound short; the length rule judges it
                continue
            for frame in frames:
                if shift is None:
                    late = 0.0
                    if pictures is not None and None not in (frame.pts, pictures.start_time):
                        late = float(frame.pts * frame.time_base - pictures.start_time * pictures.time_base)
                    shift = round(late * rate)
                for made in resampler.resample(frame):
                    samples_nc = made.to_ndarray().T
                    if shift > 0:
                        yield np.zeros((shift, samples_nc.shape[1]), np.float32), rate
                        shift = 0
                    kept_nc = samples_nc[-shift:] if shift else samples_nc
                    shift = min(shift + len(samples_nc), 0)
                    if len(kept_nc):
                        yield kept_nc, rate
