import numpy as np
import pytest

from avsr.noise.mixing import LEVEL, cut_noise, mix, power, seamless, set_level, snr_gain


def measured_snr(mixture_n, clean_n) -> float:
    """From what a listener gets: the clean target, and the rest."""
    noise_n = mixture_n.astype(np.float64) - clean_n
    return 10 * np.log10(np.var(clean_n, dtype=np.float64) / np.var(noise_n))


@pytest.fixture
def speech_n():
    generator = np.random.default_rng(0)
    time_n = np.arange(48000) / 16000
    return (0.3 * np.sin(2 * np.pi * 220 * time_n) * (time_n % 1) * generator.uniform(0.5, 1, 48000)).astype("f4")


@pytest.mark.parametrize("snr", [20, 10, 5, 0, -5, -10])
@pytest.mark.parametrize("length", [1000, 47999, 48000, 100_000])
def test_snr_is_exact(speech_n, snr, length):
    """Also with an offset, an offset of zero volts, and noise shorter than speech."""
    noise_n = (0.4 + np.random.default_rng(length).standard_normal(length)).astype("f4")
    cut_n = cut_noise(noise_n, 417, len(speech_n))
    mixture_n, clean_n = mix(speech_n, cut_n, snr_gain(speech_n, cut_n, snr))
    assert mixture_n.dtype == clean_n.dtype == np.float32
    assert measured_snr(mixture_n, clean_n) == pytest.approx(snr, abs=0.01)
    assert np.sqrt(np.mean(mixture_n.astype(np.float64) ** 2)) == pytest.approx(LEVEL, rel=1e-5)


def test_no_decibels_is_a_mixture_like_any_other(speech_n):
    noise_n = cut_noise(np.random.default_rng(3).standard_normal(48000).astype("f4"), 0, 48000)
    assert snr_gain(speech_n, noise_n, 0) == pytest.approx(np.sqrt(power(speech_n) / power(noise_n)))
    assert snr_gain(speech_n, noise_n, 0) != snr_gain(speech_n, noise_n, 20)


def test_nothing_is_clipped():
    speech_n = np.zeros(16000, "f4")
    speech_n[::1000] = 1.0  # peaks far above the RMS
    mixture_n, clean_n = set_level(speech_n, speech_n)
    assert mixture_n.max() == pytest.approx(0.05 * np.sqrt(1000), rel=1e-5) and mixture_n.max() > 1
    assert np.array_equal(mixture_n, clean_n)


def test_silence_is_refused(speech_n):
    for silent_n in (np.zeros(48000, "f4"), np.full(48000, 0.7, "f4")):
        with pytest.raises(ValueError, match="the noise is silent"):
            snr_gain(speech_n, silent_n, 5)
        with pytest.raises(ValueError, match="the speech is silent"):
            snr_gain(silent_n, speech_n, 5)


def test_a_long_recording_is_cut_as_it_is():
    noise_n = np.random.default_rng(4).standard_normal(5000).astype("f4")
    cut_n = cut_noise(noise_n, 1234, 3766)
    assert np.allclose(cut_n, noise_n[1234:5000] - noise_n[1234:5000].mean(), atol=1e-6)


def test_a_short_recording_is_repeated_without_a_click():
    """A ramp jumps by 1 where it is simply repeated; here no step is larger than the fade's."""
    ramp_n = np.linspace(0, 1, 4000, dtype="f4")
    cut_n = cut_noise(ramp_n, 3900, 12_000)
    assert len(cut_n) == 12_000
    assert np.abs(np.diff(cut_n)).max() < 0.03
    period = 4000 - 160
    assert np.allclose(cut_n[:period], cut_n[period : 2 * period], atol=1e-5)


def test_the_fade_keeps_the_power_of_noise():
    generator = np.random.default_rng(5)
    heads = np.array([seamless(generator.standard_normal(1000).astype("f4"))[:160] for _ in range(3000)])
    assert np.allclose(np.var(heads, axis=0).reshape(16, 10).mean(axis=1), 1, atol=0.04)


def test_a_recording_of_very_few_samples_can_be_repeated():
    assert cut_noise(np.array([1.0, -1.0, 0.5], "f4"), 2, 1000).std() > 0.1
