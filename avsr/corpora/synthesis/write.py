"""Writes clips in the layouts of corpora. Each layout is one function from a clip to its files."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from avsr.corpora.synthesis.clip import Clip
from avsr.corpora.synthesis.face import EYES, EYES_SHARE
from avsr.storage.atomic import atomic_path, write_text

ALIGN_UNIT = 25_000  # of GRID's .align files, per second
MP4_RATE = 16_000  # of the sound in .mp4 files, unless said
MP2_FRAME, MP2_DELAY = 1152, 481  # samples of a frame; how late the encoder's sound is, made up for here


def write_grid(folder: Path, name: str, clip: Clip) -> None:
    """`<folder>/<speaker>/<name>.mpg` (MPEG-1, MP2 stereo) and `.align` (start, end in 1/25000 s, word).

    The video is written last: where it is there, the utterance is whole. Raises OSError when it cannot be written.
    """
    place = Path(folder) / clip.speaker
    write_text(place / f"{name}.align", align(clip))
    video = encode_mpeg1(clip)
    with atomic_path(place / f"{name}.mpg") as temporary:
        temporary.write_bytes(video)


def grid_files(folder: Path, speaker: str, name: str) -> tuple[Path, Path]:
    """The files of an utterance in GRID's layout."""
    return Path(folder) / speaker / f"{name}.mpg", Path(folder) / speaker / f"{name}.align"


def align(clip: Clip) -> str:
    """The words and the silences around them, one a line, in GRID's units."""
    edges = [round(clip.words[0][0] * ALIGN_UNIT)] + [round(end * ALIGN_UNIT) for _, end, _ in clip.words]
    lines = [f"0 {edges[0]} sil"]
    lines += [f"{a} {b} {word}" for a, b, (_, _, word) in zip(edges, edges[1:], clip.words, strict=False)]
    lines.append(f"{edges[-1]} {round(clip.seconds * ALIGN_UNIT)} sil")
    return "\n".join(lines) + "\n"


def encode_mpeg1(clip: Clip) -> bytes:
    """MPEG-1 video and MP2 sound (both channels the same) in a program stream, as GRID's `.mpg`. The same clip gives
    the same bytes; the sound is up to one MP2 frame (26 ms) longer than the picture."""
    import av

    file = io.BytesIO()  # so that a full disk is met by a plain write, which always says so
    with av.open(file, "w", format="mpeg", options={"preload": "0"}) as container:
        rate = Fraction(clip.fps).limit_denominator(1001)
        video = container.add_stream("mpeg1video", rate=rate)
        video.height, video.width = clip.frames_thwc.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.gop_size = 12
        video.codec_context.thread_count = 1
        video.codec_context.options = {"qmin": "2", "qmax": "6", "flags": "+bitexact"}
        video.bit_rate = 1_200_000
        sound = container.add_stream("mp2", rate=clip.rate, layout="stereo")
        sound.bit_rate = 192_000
        packets = []
        for number, picture in enumerate(clip.frames_thwc):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = number, 1 / rate
            packets += [(packet.dts * packet.time_base, packet) for packet in video.encode(frame)]
        packets += [(packet.dts * packet.time_base, packet) for packet in video.encode(None)]
        packets += [(packet.dts * packet.time_base, packet) for packet in _encode_sound(sound, clip)]
        for _, packet in sorted(packets, key=lambda item: item[0]):
            container.mux(packet)
    return file.getvalue()


def _encode_sound(stream, clip: Clip) -> list:
    """MP2 packets whose decoded samples begin with the picture."""
    import av

    frames = -(-round(clip.seconds * clip.rate) // MP2_FRAME)
    wave = np.zeros(frames * MP2_FRAME, np.int16)
    late = clip.wave[MP2_DELAY:]
    wave[: len(late)] = np.round(late * 32767).clip(-32768, 32767).astype(np.int16)
    packets = []
    for number in range(frames):
        piece = wave[number * MP2_FRAME : (number + 1) * MP2_FRAME].repeat(2)[None]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="s16", layout="stereo")
        frame.sample_rate, frame.time_base = clip.rate, Fraction(1, clip.rate)
        frame.pts = number * MP2_FRAME + MP2_DELAY
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def cut_around_mouth(clip: Clip, size: int, mouth: tuple[int, int]) -> Clip:
    """The same clip with pictures of size x size, cut so that the faces' mouths lie about `mouth` (row, column): as in
    corpora whose faces were centred. Raises ValueError where the picture is too small for that."""
    height, width = clip.frames_thwc.shape[1:3]
    # the portrait's mouth lies 9 of its pixels below the middle, see synthesis.face
    top = round(height / 2 + 9 * height * EYES_SHARE / EYES) - mouth[0]
    left = width // 2 - mouth[1]
    if min(top, left, height - size - top, width - size - left) < 0:
        raise ValueError(f"{size}x{size} with the mouth at {mouth} does not fit into {width}x{height}")
    frames = np.ascontiguousarray(clip.frames_thwc[:, top : top + size, left : left + size])
    return replace(clip, frames_thwc=frames)


def encode_mp4(clip: Clip, preset: str = "medium", sound_rate: int = MP4_RATE) -> bytes:
    """H.264 video and AAC sound, as LRW's, LRS3's and TCD-TIMIT's `.mp4`. The same clip gives the same bytes.

    preset: x264's, from `ultrafast` to `veryslow`; the quality is kept. sound_rate: samples a second."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(clip.fps).limit_denominator(1001)
        video = container.add_stream("libx264", rate=rate)
        video.height, video.width = clip.frames_thwc.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        # x264's macroblock tree reads memory that nothing has set (AVX-512): now and then other bytes
        video.codec_context.options = {"crf": "20", "preset": preset, "flags": "+bitexact", "x264-params": "mbtree=0"}
        sound = container.add_stream("aac", rate=sound_rate, layout="mono")
        sound.codec_context.options = {"flags": "+bitexact"}
        for number, picture in enumerate(clip.frames_thwc):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        wave = np.ascontiguousarray(_resampled(clip, sound_rate)[None])
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = sound_rate, Fraction(1, sound_rate), 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return file.getvalue()


def _resampled(clip: Clip, rate: int) -> np.ndarray:
    """The sound at `rate`, as long as the picture."""
    from scipy.signal import resample_poly

    factor = Fraction(rate, clip.rate)
    wave = resample_poly(clip.wave, factor.numerator, factor.denominator)
    return wave[: round(clip.seconds * rate)].astype(np.float32)
