"""The STFT of L2L against a loop in float64, its inverse, compression."""

import numpy as np
import torch

from avsr.layers.complex_stft import compress, expand, frames_of, multiply, spectrum, wave


def noise(batch=2, samples=3200, seed=0):
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def test_spectrum_is_that_of_a_loop():
    waves = noise()
    found = spectrum(waves)
    assert found.shape == (2, 2, 257, 18)
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)]
    n = np.arange(400)
    for frame in (0, 7, 17):
        cut = waves[1, 160 * frame : 160 * frame + 400].double().numpy() * window
        for k in (0, 1, 100, 256):
            value = (cut * np.exp(-2j * np.pi * k * n / 512)).sum()
            np.testing.assert_allclose(found[1, :, k, frame], (value.real, value.imag), atol=1e-5)


def test_three_seconds_have_298_frames():
    assert int(frames_of(torch.tensor(48000))) == 298 == spectrum(torch.zeros(1, 48000)).shape[3]
    assert frames_of(torch.tensor([640 * 5, 640 * 75])).tolist() == [18, 298]


def test_wave_is_the_inverse():
    waves = noise()
    valid = torch.ones(2, 18, dtype=torch.bool)
    found = wave(spectrum(waves), 3200, valid)
    torch.testing.assert_close(found[:, 60:3060], waves[:, 60:3060], atol=1e-5, rtol=1e-4)
    assert found[:, :60].abs().max() <= waves[:, :60].abs().max() + 1e-5  # fades, never blows up
    assert not found[:, 17 * 160 + 400 :].any()
    valid[0, 10:] = False
    short = wave(spectrum(waves), 3200, valid)
    torch.testing.assert_close(short[1], found[1])
    assert not short[0, 9 * 160 + 400 :].any()
    torch.testing.assert_close(short[0, 60:1700], waves[0, 60:1700], atol=1e-5, rtol=1e-4)


def test_compression():
    values = spectrum(noise())
    found = compress(values).double().numpy()
    complex_values = values[:, 0].double().numpy() + 1j * values[:, 1].double().numpy()
    expected = np.abs(complex_values) ** 0.3 * np.exp(1j * np.angle(complex_values))
    np.testing.assert_allclose(found[:, 0] + 1j * found[:, 1], expected, atol=1e-4)
    torch.testing.assert_close(expand(compress(values)), values, atol=1e-4, rtol=1e-3)
    assert not compress(torch.zeros(1, 2, 3, 4)).any() and not expand(torch.zeros(1, 2, 3, 4)).any()


def test_product():
    left, right = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1), torch.tensor([5.0, -7.0]).view(1, 2, 1, 1)
    assert multiply(left, right).flatten().tolist() == [31.0, 1.0]  # (2 + 3i)(5 - 7i)
