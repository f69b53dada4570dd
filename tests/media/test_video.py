"""Reading pictures: rate by time stamps, grey, memory, and clear words on damaged files."""

import weakref
from fractions import Fraction

import numpy as np
import pytest

from avsr.errors import UtteranceError
from avsr.media.video import probe, read_frames
from tests.media.clips import face_clip, grey, read_video, tone, write_clip

LOSSLESS = {"codec": "ffv1", "pixels": "bgr0"}


def numbered(count: int) -> np.ndarray:
    """Pictures whose grey value is their number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 32, 48, 3)).copy()


def numbers(path, **options) -> list[int]:
    pictures = read_video(path, **options)
    assert (pictures == pictures[:, :1, :1]).all()
    return pictures[:, 0, 0].tolist()


def nearest(times: list[Fraction], count: int) -> list[int]:
    """By brute force: the source picture nearest to k/25, the earlier of two."""
    return [min(range(len(times)), key=lambda j: (abs(times[j] - Fraction(k, 25)), j)) for k in range(count)]


def test_25_fps_passes_through(tmp_path):
    path = write_clip(tmp_path / "a.mkv", numbered(75), **LOSSLESS)
    assert numbers(path) == list(range(75))
    info = probe(path)
    assert (info.fps, info.width, info.height) == (25, 48, 32)


@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30000, 1001), Fraction(50), Fraction(15)])
def test_other_rates_take_the_nearest_picture_in_time(tmp_path, fps):
    count = round(3 * fps)
    path = write_clip(tmp_path / "a.mp4", numbered(count), fps=fps, codec="libx264rgb", pixels="rgb24")
    times = [j / fps for j in range(count)]
    assert numbers(path) == nearest(times, 75)


def test_variable_rate(tmp_path):
    times_ms = [0, 10, 90, 200, 210, 215, 400, 440, 480, 520, 900, 940, 980]
    path = write_clip(tmp_path / "a.mkv", numbered(len(times_ms)), times_ms=times_ms, **LOSSLESS)
    found = numbers(path)
    assert len(found) in (25, 26)  # the last picture's own length is not stored
    assert found == nearest([Fraction(t, 1000) for t in times_ms], len(found))


def test_a_hole_of_seconds_is_refused(tmp_path):
    times_ms = [*range(0, 400, 40), *range(9000, 9400, 40)]
    path = write_clip(tmp_path / "a.mkv", numbered(20), times_ms=times_ms, **LOSSLESS)
    with pytest.raises(UtteranceError, match="8.6 s without a picture"):
        read_video(path)


def test_grey_is_bt601_in_every_pixel_format(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    pictures = colours.repeat(16, axis=1).repeat(16, axis=2)  # patches: chroma is stored at half the size
    expected = pictures @ np.array([0.299, 0.587, 0.114])
    for name, options, limit in (
        ("rgb.mkv", LOSSLESS, 1.5),
        ("y420.mkv", {"codec": "ffv1", "pixels": "yuv420p"}, 1.6),  # luma has 219 steps
        ("j420.mkv", {"codec": "mjpeg", "pixels": "yuvj420p"}, 12),  # lossy at the patches' edges
    ):
        path = write_clip(tmp_path / name, pictures, **options)
        inner = (slice(None), slice(6, None, 16), slice(6, None, 16))
        assert np.abs(read_video(path)[inner] - expected[inner]).max() < limit, name
        colour = read_video(path, "rgb")
        assert colour.shape == (*expected.shape, 3) and colour.flags.c_contiguous


def test_pictures_are_contiguous_whatever_the_width(tmp_path):
    path = write_clip(tmp_path / "a.mpg", face_clip(6)[:, :, :346])  # the decoder pads rows to a multiple of 16
    for picture in read_frames(path):
        assert picture.shape == (288, 346) and picture.flags.c_contiguous and picture.dtype == np.uint8
    difference = np.abs(read_video(path).astype(int) - grey(face_clip(6)[:, :, :346]))
    assert difference.mean() < 4  # MPEG-1's losses, and no skewed rows


@pytest.mark.parametrize("exact", [None, 29])
def test_more_pictures_than_there_may_be_are_refused(tmp_path, exact):
    for count in (29, 31):
        write_clip(tmp_path / f"{count}.mkv", numbered(count), **LOSSLESS)
    assert len(read_video(tmp_path / "29.mkv", exact=exact, least=29, most=29)) == 29
    with pytest.raises(UtteranceError, match="31.mkv: more than 29 frames at 25 fps"):
        read_video(tmp_path / "31.mkv", exact=exact, least=29, most=29)


def test_memory_does_not_grow(tmp_path):
    path = write_clip(tmp_path / "a.mkv", numbered(200), **LOSSLESS)
    seen, alive = [], 0
    for picture in read_frames(path):
        seen.append(weakref.ref(picture))
        del picture
        alive = max(alive, sum(reference() is not None for reference in seen))
    assert len(seen) == 200 and alive <= 3


def test_a_telephone_held_upright(tmp_path):
    pictures = numbered(6)
    pictures[:, :8, :8] = 255  # a light corner at the top left
    path = write_clip(tmp_path / "a.mp4", pictures, codec="libx264rgb", pixels="rgb24")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    a, b, c, d = (int.from_bytes(data[matrix + i : matrix + i + 4], "big", signed=True) for i in (0, 4, 12, 16))
    assert (a, b, c, d) == (65536, 0, 0, 65536)
    for offset, value in ((0, 0), (4, 65536), (12, -65536), (16, 0)):  # to be shown turned clockwise by 90 degrees
        data[matrix + offset : matrix + offset + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    first = next(read_frames(path))
    assert first.shape == (48, 32)
    assert first[:8, -8:].mean() > 250 and first[:8, :8].mean() < 5


@pytest.mark.parametrize(("count", "found"), [(75, 75), (74, 75), (72, 75), (77, 75)])
def test_every_clip_of_a_corpus_as_long_as_the_others(tmp_path, count, found):
    path = write_clip(tmp_path / "a.mkv", numbered(count), **LOSSLESS)
    values = numbers(path, exact=75, least=72)
    assert values == [min(k, count - 1) for k in range(found)]


def test_too_short_clips(tmp_path):
    path = write_clip(tmp_path / "a.mkv", numbered(71), **LOSSLESS)
    with pytest.raises(UtteranceError, match="a.mkv: only 71 frames at 25 fps, at least 72"):
        read_video(path, exact=75, least=72)
    one = write_clip(tmp_path / "one.mpg", face_clip(1))
    with pytest.raises(UtteranceError, match="one.mpg: only 1 frames"):
        read_video(one)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mpg", "mpeg1video"), ("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.mkv", "mpeg4")]
)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.85])
def test_truncated_video(tmp_path, name, codec, part):
    path = write_clip(tmp_path / name, face_clip(50), codec=codec, sound=tone(2, 44100))
    assert len(read_video(path)) == 50
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(UtteranceError, match=name) as caught:
        read_video(path)
    assert "\n" not in str(caught.value) and "copy it again" in str(caught.value)


def test_files_that_are_no_video(tmp_path):
    (tmp_path / "zero.mpg").touch()
    (tmp_path / "text.mp4").write_text("these are words\n" * 100)
    sound = write_clip(tmp_path / "sound.mp4", None, sound=tone(1, 44100), sound_codec="aac")
    for path, words in (
        (tmp_path / "zero.mpg", "is empty"),
        (tmp_path / "text.mp4", "not readable as video"),
        (tmp_path / "absent.mpg", "no such file"),
        (sound, "has no pictures, only sound"),
    ):
        for read in (probe, read_video):
            with pytest.raises(UtteranceError, match=words) as caught:
                read(path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_real_clips(real_data):
    clips = real_data / "grid" / "s1"
    assert len(read_video(clips / "bbaf2n.mp4")) == 75
    assert len(read_video(clips / "bbaf5a.mpg")) == 75
    for name in ("lrae3s", "sbbbzp", "srbb4n"):
        assert len(read_video(clips / f"{name}.mpg")) == 74
        assert len(read_video(clips / f"{name}.mpg", exact=75, least=72)) == 75


@pytest.mark.parametrize("name", ["bbaf2n.mp4", "bbaf5a.mpg"])
@pytest.mark.parametrize("part", [0.01, 0.1, 0.5, 0.9])
def test_real_clips_cut_short(real_data, tmp_path, name, part):
    data = (real_data / "grid" / "s1" / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(part * len(data))])
    with pytest.raises(UtteranceError, match="copy it again|at least"):
        read_video(tmp_path / name)


def test_a_part_is_what_stands_there_in_the_whole(tmp_path):
    path = write_clip(tmp_path / "a.mkv", numbered(75), **LOSSLESS)
    assert numbers(path, part=(10, 31)) == list(range(10, 31))
    assert numbers(path, part=(70, 75)) == list(range(70, 75))
    slow = write_clip(tmp_path / "b.mp4", numbered(90), fps=30, codec="libx264rgb", pixels="rgb24")
    assert numbers(slow, part=(20, 40)) == numbers(slow)[20:40]


@pytest.mark.parametrize("part", [(70, 76), (75, 90), (100, 120)])
def test_a_file_that_ends_within_the_part_is_refused(tmp_path, part):
    path = write_clip(tmp_path / "a.mkv", numbered(75), **LOSSLESS)
    with pytest.raises(UtteranceError, match=f"has no picture {max(part[0], 75)} at 25 fps; .* to {part[1]}"):
        numbers(path, part=part)


def test_pictures_before_and_behind_a_part_are_not_held(tmp_path):
    path = write_clip(tmp_path / "a.mkv", numbered(75), **LOSSLESS)
    seen, alive = [], []
    for picture in read_frames(path, part=(30, 60)):
        seen.append(weakref.ref(picture))
        del picture
        alive.append(sum(one() is not None for one in seen))
    assert len(seen) == 30 and max(alive) <= 3
