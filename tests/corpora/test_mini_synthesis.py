"""The parts that talking faces are made of: voices, visemes, faces."""

import shutil

import numpy as np
import pytest

from avsr.corpora.grid import GRAMMAR
from avsr.corpora.mini import SAID
from avsr.corpora.synthesis import voice
from avsr.corpora.synthesis.cast import SEXES, VOICES
from avsr.corpora.synthesis.face import make_face
from avsr.corpora.synthesis.motion import CONTROLS, GLIDES, VISEMES, Articulation, base_phone, mouth_curves, targets
from avsr.corpora.synthesis.render import mouth_width, render
from avsr.corpora.synthesis.voice import speak
from avsr.errors import AvsrError
from avsr.rng import rng

SENTENCE = [(word, SAID.get(word, word)) for word in "bin blue at a nine soon".split()]
EXACT = Articulation(timing=0, gain=0, offset=0, scale=1, smoothing=0)


def test_speech_does_not_depend_on_what_was_said_before():
    for name in ("m1", "f5", "klatt"):  # f5 breathes: noise from a random generator
        first = speak(SENTENCE, name)
        speak(SENTENCE[:3], "m3")
        again = speak(SENTENCE, name)
        np.testing.assert_array_equal(first.wave, again.wave)
        assert first.phones == again.phones


def test_words_and_phones_follow_one_another():
    speech = speak(SENTENCE, "m1")
    assert [word for _, _, word in speech.words] == [word for word, _ in SENTENCE]
    for rows in (speech.words, speech.phones):
        assert all(start < end for start, end, _ in rows)
        assert all(a[1] <= b[0] for a, b in zip(rows, rows[1:], strict=False))
    start, end, _ = speech.words[3]
    inside = [name for a, b, name in speech.phones if start <= (a + b) / 2 < end]
    assert [base_phone(name) for name in inside] == ["eI"]
    assert speech.wave.dtype == np.float32 and len(speech.wave) == round(speech.words[-1][1] * speech.rate)


def test_voices_differ():
    spectra = {}
    for name in set(sum(VOICES.values(), ())):
        wave = speak(SENTENCE, name).wave
        power = np.abs(np.fft.rfft(wave[: len(wave) // 512 * 512].reshape(-1, 512) * np.hanning(512))) ** 2
        bands = np.log(power.mean(0)[4:96].reshape(23, 4).mean(1) + 1e-9)
        spectra[name] = bands - bands.mean()
    names = list(spectra)
    nearest = min(np.abs(spectra[a] - spectra[b]).mean() for i, a in enumerate(names) for b in names[:i])
    assert len(names) == 16 and nearest > 0.2  # the same voice at another pitch: about 0.1


def pitch(wave: np.ndarray, rate: int) -> float:
    """Median fundamental in Hz of the voiced stretches, by autocorrelation."""
    size, found = rate // 25, []
    for start in range(0, len(wave) - size, size // 2):
        part = wave[start : start + size] - wave[start : start + size].mean()
        products = np.correlate(part, part, "full")[size - 1 :]
        lag = rate // 400 + int(products[rate // 400 : rate // 60].argmax())
        if products[lag] > 0.5 * products[0] > 0.01 * size * np.abs(wave).max() ** 2:
            found.append(rate / lag)
    return float(np.median(found))


def test_men_and_women_sound_like_it():
    names = sum(VOICES.values(), ())
    assert list(SEXES) == [f"m{number:02d}" for number in range(1, 27)]
    for name, sex in zip(names, SEXES.values(), strict=True):
        speech = speak(SENTENCE, name)
        assert (pitch(speech.wave, speech.rate) > 145) == (sex == "f"), name


def test_data_in_a_folder_with_a_long_name(tmp_path, monkeypatch):
    espeakng_loader = pytest.importorskip("espeakng_loader")
    expected = speak(SENTENCE, "m1")
    data = tmp_path / ("a folder " * 15) / "espeak-ng-data"
    data.parent.mkdir()
    data.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(data))
    assert len(str(data)) > voice._LONGEST_PATH
    np.testing.assert_array_equal(speak(SENTENCE, "m1").wave, expected.wave)
    shutil.rmtree(data.parent, ignore_errors=True)


def test_refusals_of_voice():
    with pytest.raises(AvsrError, match="no voice 'nobody'"):
        speak(SENTENCE, "nobody")
    with pytest.raises(AvsrError, match="spoke 2 words, not 1"):
        speak([("bin blue", "bin blue")], "m1")


def test_every_phone_of_the_grammar_has_a_viseme():
    """One pass over every word: nothing falls back to a guess."""
    words = [word for column in GRAMMAR for word in column.values()]
    known = {phone for phones in VISEMES for phone in phones.split()} | set(GLIDES)
    for at in range(0, len(words), 8):
        spoken = [("set", "set")] + [(word, SAID.get(word, word)) for word in words[at : at + 8]]
        for _, _, phone in speak(spoken, "m1").phones:
            assert base_phone(phone) in known, phone
    assert targets("?!") == [VISEMES["t d n"]]  # a phoneme of another language


def test_curves_without_noise_reach_their_targets():
    phones = [(0.4, 0.6, "m"), (0.6, 1.0, "A:"), (1.0, 1.2, "p"), (1.2, 1.6, "u:")]
    curves = mouth_curves(phones, 50, 25, EXACT, rng(0))
    assert set(curves) == set(CONTROLS) and curves["opening"].shape == (50,)
    at = {name: [float(curve[int(t * 25)]) for t in (0.5, 0.8, 1.1, 1.4)] for name, curve in curves.items()}
    np.testing.assert_allclose(at["opening"], [0, 1, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(at["width"], [0, -0.1, 0, -1], atol=1e-6)
    assert curves["opening"][:7].max() == curves["opening"][-7:].max() == 0


def test_articulation_differs_from_one_utterance_to_the_next():
    phones = [(0.4 + 0.1 * n, 0.5 + 0.1 * n, name) for n, name in enumerate("bInpleIs")]
    curves = np.stack([mouth_curves(phones, 50, 25, Articulation(), rng(n))["opening"] for n in range(40)])
    spread = curves.std(0).max() / curves.mean(0).max()
    assert 0.1 < spread < 0.8


@pytest.mark.parametrize("number", [0, 1])
def test_picture_of_a_mouth(number):
    """Shut lips show no gap; an open mouth is dark where the lips are apart, and nothing moves far from it."""
    face = make_face(number, 180, 144, 1.0)
    zero = np.zeros(2, np.float32)
    curves = {name: zero for name in CONTROLS} | {"opening": np.array([0, 1.0], np.float32)}

    shut, wide = render(face, curves, np.zeros((4, 2))).astype(float)
    x, y = (int(round(value)) for value in face.centre)
    assert wide[y + 4 : y + 6, x - 2 : x + 3].mean() < 0.5 * shut[y + 4 : y + 6, x - 2 : x + 3].mean()
    assert np.abs(wide - shut)[: y - 20].max() == 0 and np.abs(wide - shut)[:, : x - 40].max() == 0
    np.testing.assert_allclose(mouth_width({"width": np.array([1.0, -1.0]), "opening": 0}), [1.1, 0.7])


def test_faces_differ():
    small = [make_face(number, 90, 72, 1.0) for number in range(6)]
    pictures = np.stack([face.still.view(np.uint8).reshape(288, 360, 4)[100:200, 130:230, :3] for face in small])
    for a in range(6):
        for b in range(a):
            flipped = pictures[b][:, ::-1] if (a + b) % 2 else pictures[b]
            assert np.abs(pictures[a].astype(int) - flipped).mean() > 5
    assert len({round(face.half_width, 2) for face in small}) == 6
