import numpy as np
import pytest

from avsr.features.stft import BINS, HOP, WINDOW, hann, istft, stft


def test_a_frame_is_the_fourier_sum_of_its_windowed_samples():
    wave_n = np.random.default_rng(1).standard_normal(3200)
    spectrum_tf = stft(wave_n)
    assert spectrum_tf.shape == (21, 321)
    n = np.arange(WINDOW)
    window_n = np.sin(np.pi * n / WINDOW) ** 2  # the periodic Hann window written otherwise
    for frame, low in ((3, 3 * 160 - 320), (10, 10 * 160 - 320), (18, 18 * 160 - 320)):
        cut_n = wave_n[low : low + WINDOW] * window_n
        for k in (0, 1, 7, 160, 320):
            by_hand = np.sum(cut_n * np.exp(-2j * np.pi * k * n / WINDOW))
            assert spectrum_tf[frame, k] == pytest.approx(by_hand, abs=1e-9)


def test_the_edges_are_reflected_without_doubling_the_edge_sample():
    wave_n = np.random.default_rng(2).standard_normal(1600)
    left_n = np.concatenate([wave_n[320:0:-1], wave_n[:320]])
    assert np.allclose(stft(wave_n)[0], np.fft.rfft(left_n * hann()))


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    wave_n = np.random.default_rng(3).standard_normal(6400).astype(np.float32)
    theirs = torch.stft(
        torch.from_numpy(wave_n), WINDOW, HOP, window=torch.hann_window(WINDOW), center=True, return_complex=True
    )
    assert stft(wave_n).dtype == np.complex64
    assert np.abs(stft(wave_n) - theirs.numpy().T).max() < 2e-4


@pytest.mark.parametrize(("window", "bins"), [(640, BINS), (320, 161)])
@pytest.mark.parametrize("samples", [640, 1280, 48000, 48000 - 37])
def test_the_inverse_is_exact(samples, window, bins):
    wave_n = np.random.default_rng(4).standard_normal(samples)
    spectrum_tf = stft(wave_n, window)
    assert spectrum_tf.shape == (1 + samples // HOP, bins)
    assert np.abs(istft(spectrum_tf, samples) - wave_n).max() < 1e-12


def test_the_inverse_needs_the_right_length():
    with pytest.raises(ValueError, match="cannot give"):
        istft(np.zeros((20, BINS), complex), 3200)
    with pytest.raises(ValueError, match="too short"):
        stft(np.zeros(320))
