"""A clip's sound in pieces: the samples of the whole, for any rate and blocks of any length."""

import numpy as np
import pytest
import soundfile

from avsr.clips.sound import Resampler, measure, pieces
from avsr.errors import UtteranceError
from avsr.media import audio
from avsr.media.audio import read_sound, resample
from tests.media.clips import face_clip, tone, write_clip


@pytest.mark.parametrize("rate", [16000, 8000, 11025, 22050, 25000, 44100, 48000, 96000])
def test_pieces_are_those_of_the_whole(rate):
    draw = np.random.default_rng(rate)
    wave_n = draw.standard_normal(rate + 37)
    resampler, parts, start = Resampler(rate), [], 0
    while start < len(wave_n):
        count = int(draw.integers(1, 9000))
        parts.append(resampler.push(wave_n[start : start + count]))
        start += count
        assert len(resampler._held_n) < 9000 + 4 * resampler._margin  # it forgets
    found = np.concatenate([*parts, resampler.finish()])
    expected = resample(wave_n, rate)
    assert found.shape == expected.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["clip.wav", "clip.mp4", "clip.mkv"])
def test_the_sound_of_a_file_is_that_of_read_sound(tmp_path, monkeypatch, name):
    monkeypatch.setattr(audio, "BLOCK", 1000)
    path, draw = tmp_path / name, np.random.default_rng(0)
    if name.endswith(".wav"):
        soundfile.write(path, 0.1 * draw.standard_normal((50001, 2)) + 0.02, 48000)
    else:
        write_clip(path, face_clip(25), sound=tone(1, 44100), sound_codec="aac")
    expected, info = read_sound(path)
    measured = measure(path)
    assert (measured.rate, measured.channels) == (info.rate, info.channels)
    assert measured.seconds == pytest.approx(info.seconds) and measured.rms == pytest.approx(info.rms)
    found = np.concatenate(list(pieces(path, measured)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_cannot_be_heard_is_refused(tmp_path):
    silent, broken, mute = tmp_path / "silent.wav", tmp_path / "nan.wav", tmp_path / "mute.mp4"
    soundfile.write(silent, np.full(16000, 0.1), 16000)
    soundfile.write(broken, np.array([0.1, np.nan] * 800), 16000, subtype="FLOAT")
    write_clip(mute, face_clip(5))
    for path, words in ((silent, "is silent"), (broken, "no numbers"), (mute, "has no sound")):
        with pytest.raises(UtteranceError, match=f"{path.name}: .*{words}"):
            measure(path)
