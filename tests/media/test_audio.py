"""Reading sound: any rate and channel count to 16 kHz mono, in step with the picture; clear words on bad files."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile

from avsr.errors import UtteranceError
from avsr.media.audio import read_sound, resample, sound_seconds
from tests.media.clips import face_clip, tone, write_clip


def sine_16k(count: int, level: float, hertz: float = 440.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(count) / 16000)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest one, without the ends, where a resampling filter sees zeros."""
    return float(np.abs(found - expected)[400:-400].max())


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 25000, 44100, 48000])
def test_every_rate_becomes_16_khz(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(1.5, rate), rate, subtype="FLOAT")
    wave, info = read_sound(tmp_path / "a.wav")
    assert wave.dtype == np.float32 and len(wave) == 24000
    assert (info.rate, info.channels, info.seconds) == (rate, 1, 1.5)
    assert difference(wave, sine_16k(24000, 0.3)) < 3e-3
    assert info.rms == pytest.approx(0.3 / 2**0.5, rel=1e-3)


def test_what_16_khz_cannot_hold_is_filtered_out():
    wave = tone(1, 48000, hertz=11000)[:, 0]  # would fold to 5 kHz
    assert np.sqrt(np.mean(resample(wave, 48000)[400:-400] ** 2)) < 0.01 * np.sqrt(np.mean(wave**2))


def test_stereo_is_the_mean_without_dc(tmp_path):
    left, right = tone(1, 16000), 0.5 * tone(1, 16000, hertz=660)
    soundfile.write(tmp_path / "a.wav", np.hstack([left + 0.2, right - 0.05]), 16000, subtype="FLOAT")
    wave, info = read_sound(tmp_path / "a.wav")
    assert info.channels == 2
    assert np.allclose(wave, (left + right)[:, 0] / 2, atol=1e-4)
    assert abs(wave.mean()) < 1e-6


def test_clipped_sound_is_taken_and_said(tmp_path):
    loud = np.clip(tone(1, 16000, level=2.0), -1, 1)
    soundfile.write(tmp_path / "loud.wav", loud, 16000)
    expected = np.mean(np.abs(loud) >= 0.999)
    assert expected > 0.5
    assert read_sound(tmp_path / "loud.wav")[1].clipped == pytest.approx(expected, abs=1e-3)
    soundfile.write(tmp_path / "fine.wav", tone(1, 16000, level=0.9), 16000)
    assert read_sound(tmp_path / "fine.wav")[1].clipped == 0


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels"),
    [
        ("a.mpg", "mp2", 44100, 2),
        ("a.mkv", "pcm_s16le", 8000, 1),
        ("a.mkv", "pcm_s16le", 48000, 2),
        ("a.mp4", "aac", 44100, 2),
    ],
)
def test_sound_of_a_video(tmp_path, name, codec, rate, channels):
    video = "mpeg1video" if name.endswith("mpg") else "mpeg4"
    path = write_clip(
        tmp_path / name, face_clip(50), codec=video, sound=tone(2, rate, channels), rate=rate, sound_codec=codec
    )
    wave, info = read_sound(path)
    assert (info.rate, info.channels) == (rate, channels)
    assert abs(len(wave) - 32000) < 1200  # codecs work in blocks and have a delay of their own
    assert np.sqrt(np.mean(wave[2000:-3000] ** 2)) == pytest.approx(0.3 / 2**0.5, rel=0.05)
    assert sound_seconds(path) == pytest.approx(info.seconds, abs=0.06)


@pytest.mark.parametrize("delay", [0.2, 0.0])
def test_sound_begins_with_the_first_picture(tmp_path, delay):
    sound = tone(2, 16000)
    path = write_clip(
        tmp_path / "a.mkv", face_clip(50), codec="mpeg4", sound=sound, rate=16000, sound_codec="pcm_s16le",
        sound_delay=delay,
    )  # fmt: skip
    wave, _ = read_sound(path)
    zeros = round(delay * 16000)
    assert len(wave) == 32000 + zeros
    assert np.abs(wave[:zeros]).max(initial=0) < 1e-3
    assert np.allclose(wave[zeros:], sound[:, 0], atol=1e-3)


def test_sound_before_the_first_picture_is_cut_off(tmp_path):
    sound = tone(2, 16000)
    path = write_clip(
        tmp_path / "a.mkv", face_clip(10), codec="mpeg4", times_ms=list(range(400, 800, 40)), sound=sound,
        rate=16000, sound_codec="pcm_s16le",
    )  # fmt: skip
    wave, _ = read_sound(path)
    assert np.allclose(wave, sound[6400:, 0], atol=1e-3)


def test_bad_sound(tmp_path):
    (tmp_path / "zero.wav").touch()
    (tmp_path / "text.wav").write_text("these are words\n" * 100)
    soundfile.write(tmp_path / "silent.wav", np.full(16000, 0.25), 16000)  # DC alone is silence
    soundfile.write(tmp_path / "nan.wav", np.full((100, 1), np.nan), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), 16000)
    write_clip(tmp_path / "mute.mpg", face_clip(6))
    for name, words in (
        ("zero.wav", "is empty"),
        ("text.wav", "not readable as sound"),
        ("silent.wav", "is silent"),
        ("nan.wav", "no numbers"),
        ("none.wav", "no sound"),
        ("mute.mpg", "has no sound"),
        ("absent.wav", "no such file"),
        ("absent.mpg", "no such file"),
    ):
        with pytest.raises(UtteranceError, match=words) as caught:
            read_sound(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert sound_seconds(tmp_path / "mute.mpg") is None


def test_real_sound(real_data):
    for name in ("bbaf2n.mp4", "bbaf5a.mpg"):
        wave, info = read_sound(real_data / "grid" / "s1" / name)
        assert (info.rate, info.channels, len(wave)) == (44100, 2, 47648)  # 2.978 s, as the corpus is known to have
    assert Fraction(len(wave), 16000) < 3


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_part_is_the_sound_of_its_pictures(tmp_path, rate):
    draw = np.random.default_rng(0)
    whole = np.convolve(draw.standard_normal(3 * rate), np.ones(16) / 16, "same").astype(np.float32) * 0.1
    soundfile.write(tmp_path / "a.wav", whole, rate, subtype="FLOAT")
    wave_n, info = read_sound(tmp_path / "a.wav", part=(25, 40))
    assert len(wave_n) == 15 * 640 and info.seconds == pytest.approx(0.6)
    expected = read_sound(tmp_path / "a.wav")[0][25 * 640 : 40 * 640]
    inner = slice(50, -50)  # resampling hears beyond the ends of the whole alone
    np.testing.assert_allclose(wave_n[inner], (expected - expected.mean())[inner], atol=2e-3)
    assert len(read_sound(tmp_path / "a.wav", part=(70, 80))[0]) == 5 * 640  # as far as it goes


def test_a_silent_part_and_one_behind_the_end(tmp_path):
    wave = np.concatenate([tone(1, 16000), np.zeros((16000, 1), np.float32)])
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    assert len(read_sound(tmp_path / "a.wav", part=(0, 25))[0]) == 16000
    with pytest.raises(UtteranceError, match="is silent"):
        read_sound(tmp_path / "a.wav", part=(25, 50))
    with pytest.raises(UtteranceError, match="holds no sound"):
        read_sound(tmp_path / "a.wav", part=(50, 75))
