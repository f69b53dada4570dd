import wave

import numpy as np
import pytest

from avsr.features.frames import fit_length
from avsr.features.inversion import RECONSTRUCTIONS, griffin_lim, reconstruct
from avsr.features.mel import MEL_SETS, STFT_20MS, mel
from avsr.features.stft import istft, stft


def read_16k(path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def si_sdr(estimate_n: np.ndarray, clean_n: np.ndarray) -> float:
    target_n = clean_n * (estimate_n @ clean_n) / (clean_n @ clean_n)
    return 10 * np.log10(np.sum(target_n**2) / np.sum((estimate_n - target_n) ** 2))


@pytest.fixture
def noisy_n():
    return (0.05 * np.random.default_rng(0).standard_normal(640 * 20)).astype(np.float32)


@pytest.mark.parametrize("name", [*MEL_SETS, STFT_20MS])
def test_gain_is_exact_where_nothing_is_removed(name, noisy_n):
    assert np.abs(reconstruct(noisy_n, mel(noisy_n, name), name) - noisy_n).max() < 1e-6


@pytest.mark.parametrize("name", [*MEL_SETS, STFT_20MS])
def test_gain_and_capped_cannot_amplify(name, noisy_n):
    far_too_much_tf = 100 * mel(noisy_n, name)
    assert np.abs(reconstruct(noisy_n, far_too_much_tf, name) - noisy_n).max() < 1e-6
    capped_n = reconstruct(noisy_n, far_too_much_tf, name, "capped")
    assert np.mean(capped_n**2) <= 1.0001 * np.mean(noisy_n**2)
    assert np.mean(reconstruct(noisy_n, far_too_much_tf, name, "pinv") ** 2) > 1000 * np.mean(noisy_n**2)
    assert np.allclose(reconstruct(noisy_n, far_too_much_tf, name, gain_cap=2.0), 2 * noisy_n, atol=1e-6)


@pytest.mark.parametrize("recon", RECONSTRUCTIONS)
def test_silence_estimated_is_silence_heard_to_the_last_sample(recon, noisy_n):
    out_n = reconstruct(noisy_n, np.zeros((80, 80), np.float32), "mel_slaney", recon)
    assert out_n.shape == noisy_n.shape and out_n.dtype == np.float32
    assert np.abs(out_n).max() < 1e-9


def test_a_band_removed_is_removed_in_its_bins_only():
    hertz = np.arange(321) * 25
    noisy_n = np.random.default_rng(1).standard_normal(640 * 20)
    estimate_tf = mel(noisy_n, "mel_htk")
    estimate_tf[:, 60:] = 0  # HTK's 61st triangle starts at 3827 Hz, the 60th ends at 3975 Hz
    ratio_f = np.abs(stft(reconstruct(noisy_n, estimate_tf, "mel_htk"))).mean(0) / np.abs(stft(noisy_n)).mean(0)
    assert ratio_f[hertz < 3700] == pytest.approx(1, abs=1e-3) and ratio_f[hertz > 4100].max() < 0.05


@pytest.mark.parametrize("recon", ["gain", "capped", "pinv"])
def test_magnitudes_of_bins_are_taken_as_they_are(recon, noisy_n):
    """A mask of bins: the mixture's own spectrum times the mask, whichever way back is asked for."""
    spectrum_tf = stft(noisy_n.astype(np.float64), 320)
    mask_tf = np.random.default_rng(1).uniform(size=(80, 161))
    found_n = reconstruct(noisy_n, mask_tf * np.abs(spectrum_tf[:-1]), "stft161", recon)
    expected_tf = spectrum_tf * np.append(mask_tf, mask_tf[-1:], axis=0)
    if recon != "gain":  # the surplus frame repeats the last magnitude, not the last gain
        last_f = np.abs(spectrum_tf[-2]) * mask_tf[-1]
        last_f = np.minimum(last_f, np.abs(spectrum_tf[-1])) if recon == "capped" else last_f
        expected_tf[-1] = last_f * np.exp(1j * np.angle(spectrum_tf[-1]))
    np.testing.assert_allclose(found_n, istft(expected_tf, len(noisy_n)), atol=1e-6)


def test_griffin_lim_finds_a_wave_with_the_magnitudes():
    """A gliding tone: the magnitudes of what comes out are near those asked for, and it is the same each time."""
    time_n = np.arange(640 * 20) / 16000
    magnitude_tf = np.abs(stft(np.sin(2 * np.pi * (400 * time_n + 800 * time_n**2))))
    out_n = griffin_lim(magnitude_tf, 640 * 20)
    error = np.linalg.norm(np.abs(stft(out_n.astype(np.float64))) - magnitude_tf) / np.linalg.norm(magnitude_tf)
    assert error < 0.1
    assert np.array_equal(out_n, griffin_lim(magnitude_tf, 640 * 20))


@pytest.mark.parametrize("recon", RECONSTRUCTIONS)
def test_a_wave_is_left_as_it_is(noisy_n, recon):
    estimate_tf = 3 * mel(noisy_n, "wave")
    assert np.array_equal(reconstruct(noisy_n, estimate_tf, "wave", recon), 3 * noisy_n)


def test_arguments_that_do_not_fit_are_refused(noisy_n):
    with pytest.raises(ValueError, match="no reconstruction 'wiener'"):
        reconstruct(noisy_n, mel(noisy_n, "mel_htk"), "mel_htk", "wiener")
    with pytest.raises(ValueError, match="79 mel frames do not fit"):
        reconstruct(noisy_n, mel(noisy_n, "mel_htk")[:-1], "mel_htk")


def test_order_of_the_reconstructions_on_real_speech(real_data):
    """With the true clean mel: pinv leads gain with the mixture's phase, both far above the mixture; Griffin-Lim,
    which ignores the phase, has no wave to compare. With a badly blurred mel, what may exceed the mixture loses."""
    from pystoi import stoi
    from scipy.ndimage import uniform_filter

    files = sorted((real_data / "speech" / "speechbrain_asr").glob("spk1_snt*.wav"))[:4]
    rain_n = read_16k(real_data / "noise/water/esc10_rain_1-17367-A.wav")
    scores = {key: [] for key in ("noisy", "gain", "pinv", "capped", "griffinlim", "blur gain", "blur pinv")}
    for path in files:
        clean_n = read_16k(path)
        clean_n = fit_length(clean_n - clean_n.mean(), len(clean_n) // 640)[: 640 * 75]
        noise_n = np.resize(rain_n - rain_n.mean(), len(clean_n))
        noisy_n = clean_n + noise_n * np.sqrt(np.mean(clean_n**2) / np.mean(noise_n**2)) * 10 ** (5 / 20)
        truth_tf = mel(clean_n, "mel_slaney")
        blurred_tf = 10 ** uniform_filter(np.log10(np.maximum(truth_tf, 1e-5)), 5)
        scores["noisy"].append(stoi(clean_n, noisy_n, 16000))
        for recon in RECONSTRUCTIONS:
            out_n = reconstruct(noisy_n, truth_tf, "mel_slaney", recon)
            scores[recon].append(stoi(clean_n, out_n, 16000))
        for recon in ("gain", "pinv"):
            out_n = reconstruct(noisy_n, blurred_tf, "mel_slaney", recon)
            scores[f"blur {recon}"].append(stoi(clean_n, out_n, 16000))
    mean = {key: np.mean(values) for key, values in scores.items()}
    assert mean["pinv"] > mean["gain"] > mean["noisy"] + 0.1
    assert mean["griffinlim"] > 0.95
    assert mean["blur gain"] > mean["blur pinv"]
