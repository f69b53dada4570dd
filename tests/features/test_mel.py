import math

import numpy as np
import pytest

from avsr.features.mel import (
    BANDS,
    MEL_SETS,
    ae_msr_set,
    band_edges,
    bands,
    filter_bank,
    hz_to_mel,
    lift,
    mel,
    mel_to_hz,
    pseudo_inverse,
    to_decibel,
    triangles,
)
from avsr.features.stft import stft


def slaney_hz(mel_value: float) -> float:
    """Slaney's Auditory Toolbox: 3 mels for 200 Hz up to 1 kHz, then 27 mels from 1 to 6.4 kHz."""
    return mel_value * 200 / 3 if mel_value < 15 else 1000 * 6.4 ** ((mel_value - 15) / 27)


def htk_hz(mel_value: float) -> float:
    return 700 * (10 ** (mel_value / 2595) - 1)


def bank_by_loop(name: str) -> list[list[float]]:
    """Both filter banks from their published formulae, one number at a time."""
    if name == "mel_slaney":
        top, hz = 15 + 27 * math.log(8) / math.log(6.4), slaney_hz
    else:
        top, hz = 2595 * math.log10(1 + 8000 / 700), htk_hz
    edges = [hz(top * i / 81) for i in range(82)]
    bank = []
    for k in range(80):
        low, middle, high = edges[k : k + 3]
        row = []
        for b in range(321):
            f = 25.0 * b
            height = (f - low) / (middle - low) if f <= middle else (high - f) / (high - middle)
            row.append(max(0.0, height) * (2 / (high - low) if name == "mel_slaney" else 1))
        bank.append(row)
    return bank


@pytest.mark.parametrize("name", MEL_SETS)
def test_the_filter_bank_is_the_published_one(name):
    assert np.allclose(filter_bank(name), bank_by_loop(name), rtol=1e-9, atol=1e-12)


def test_known_points_of_the_two_scales():
    assert hz_to_mel(1000, "mel_htk") == pytest.approx(1000, abs=0.02)
    assert hz_to_mel(1000, "mel_slaney") == 15
    assert hz_to_mel(6400, "mel_slaney") == pytest.approx(42)
    for name in MEL_SETS:
        hz = np.array([0.0, 30, 999, 1000, 1001, 4321, 8000])
        assert np.allclose(mel_to_hz(hz_to_mel(hz, name), name), hz)
        assert band_edges(name)[[0, -1]] == pytest.approx([0, 8000])


def test_facts_known_of_the_banks():
    slaney = np.count_nonzero(filter_bank("mel_slaney"), axis=1)
    assert (slaney.min(), slaney.max(), np.median(slaney)) == (2, 23, 5)
    htk = np.count_nonzero(filter_bank("mel_htk"), axis=1)
    assert htk.min() == 1  # no empty filter, but the lowest hold one bin
    for name in MEL_SETS:
        bank = filter_bank(name)
        assert bank.shape == (BANDS, 321)
        assert not bank[:, 0].any() and not bank[:, 320].any() and bank[:, 1:320].any(axis=0).all()
        assert np.linalg.matrix_rank(bank) == 80


@pytest.mark.parametrize("name", MEL_SETS)
def test_lift_is_a_partition_of_unity_over_the_bands_of_a_bin(name):
    matrix = lift(name)
    assert np.allclose(matrix.sum(axis=1), 1)
    assert matrix[0, 0] == 1 and matrix[320, 79] == 1
    assert np.array_equal(matrix[1:320] > 0, triangles(name).T[1:320] > 0)


@pytest.mark.parametrize("name", MEL_SETS)
def test_pseudo_inverse_gives_the_mel_back(name):
    values = np.random.default_rng(5).uniform(size=80)
    assert np.allclose(filter_bank(name) @ pseudo_inverse(name) @ values, values)


@pytest.mark.parametrize("name", MEL_SETS)
def test_mel_drops_the_surplus_frame_and_is_linear(name):
    wave_n = np.random.default_rng(6).standard_normal(640 * 7).astype(np.float32)
    mel_tf = mel(wave_n, name)
    assert mel_tf.shape == (28, 80) and mel_tf.dtype == np.float32
    reference = np.abs(stft(wave_n.astype(np.float64)))[:28] @ np.array(bank_by_loop(name)).T
    assert np.allclose(mel_tf, reference, rtol=1e-4, atol=1e-5)
    assert np.allclose(mel(2 * wave_n, name), 2 * mel_tf, rtol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("stft", 640), ("stft161", 320)])
def test_the_bins_are_those_of_a_plain_fourier_transform(name, size):
    """Every frame by itself: 640 samples around its middle, the edges mirrored, a periodic Hann window, no filter."""
    wave_n = np.random.default_rng(7).standard_normal(640 * 3).astype(np.float32)
    window_n = [math.sin(math.pi * n / size) ** 2 for n in range(size)]
    expected = np.zeros((12, size // 2 + 1))
    for t in range(12):
        frame_n = np.zeros(size)
        for n in range(size):
            place = abs(160 * t + n - size // 2)
            place = place if place < 1920 else 2 * 1919 - place
            frame_n[n] = window_n[n] * float(wave_n[place])
        expected[t] = np.abs(np.fft.fft(frame_n)[: size // 2 + 1])
    found = mel(wave_n, name)
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_bands_are_sums_of_bins():
    wave_n = np.random.default_rng(7).standard_normal(640 * 3).astype(np.float32)
    found = mel(wave_n, "stft")
    np.testing.assert_allclose(mel(wave_n, "mel_htk"), found @ filter_bank("mel_htk").T, rtol=1e-4, atol=1e-5)


def test_samples_as_a_set():
    wave_n = np.random.default_rng(0).standard_normal(1280)
    found = mel(wave_n, "wave")
    assert found.dtype == np.float32 and found.shape == (8, 160) == (8, bands("wave"))
    np.testing.assert_array_equal(found[3], wave_n[480:640].astype(np.float32))


def test_the_number_of_inputs_says_what_a_network_hears():
    assert [ae_msr_set(mels) for mels in (80, 321, 40)] == ["mel_htk", "stft", "mel_htk"]  # 40 is refused: MelInput
    assert [bands(name) for name in (*MEL_SETS, "stft", "stft161")] == [80, 80, 321, 161]


def test_mel_of_part_of_a_picture_is_refused():
    with pytest.raises(ValueError, match="no whole number of pictures"):
        mel(np.zeros(1000, np.float32), "mel_htk")
    with pytest.raises(ValueError, match="no mel set 'htk'"):
        mel(np.zeros(640, np.float32), "htk")


def test_decibels_have_a_fixed_floor():
    assert to_decibel(np.array([1.0, 0.1, 1e-5, 1e-9, 0.0])) == pytest.approx([0, -20, -100, -100, -100])
