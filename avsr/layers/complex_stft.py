"""Short-time Fourier transform of L2L, as a network's own: 25 ms Hann window, hop 10 ms, FFT of 512 points, 16 kHz.

Frames lie wholly within the wave, so 3 s give 298 of them (Ephrat et al. 2018 section 4); none depends on what
follows an utterance in a padded batch. A spectrum is two channels, real and imaginary: (b, 2, f, t).
"""

import torch
from torch import Tensor

WINDOW = 400
HOP = 160
FFT = 512
BINS = FFT // 2 + 1
POWER = 0.3
TINY = 1e-8
THIN = 1e-2  # sum of squared windows below which a sample fades: dividing by less would blow up what a mask adds there


def frames_of(samples_b: Tensor) -> Tensor:
    """Frames that lie wholly within so many samples."""
    return (samples_b - WINDOW) // HOP + 1


def spectrum(wave_bn: Tensor) -> Tensor:
    """Waves (b, n) to spectra (b, 2, 257, t)."""
    frames_btn = wave_bn.float().unfold(1, WINDOW, HOP) * _window(wave_bn)
    return _channels(torch.fft.rfft(frames_btn, FFT).mT)


def wave(spectrum_bcft: Tensor, samples: int, valid_bt: Tensor) -> Tensor:
    """Spectra (b, 2, 257, t) to the waves (b, samples) whose spectra are nearest to them: weighted overlap-add.

    valid_bt: the frames that count. The first and last samples that they reach fade, for windows hardly reach them;
    those beyond are zero.
    """
    window_n1 = _window(spectrum_bcft)[:, None]
    frames_bnt = torch.fft.irfft(_complex(spectrum_bcft).mT, FFT)[..., :WINDOW].mT
    summed_bn = _overlap_add(frames_bnt * window_n1 * valid_bt[:, None], samples)
    weights_bn = _overlap_add(window_n1.square() * valid_bt[:, None], samples)
    return summed_bn / weights_bn.clamp(min=THIN)


def compress(spectrum_bcft: Tensor) -> Tensor:
    """Magnitudes to the power 0.3, the phase as it was."""
    return spectrum_bcft * _magnitude(spectrum_bcft) ** (POWER - 1)


def expand(compressed_bcft: Tensor) -> Tensor:
    """The inverse of `compress`."""
    return compressed_bcft * _magnitude(compressed_bcft) ** (1 / POWER - 1)


def multiply(left_bcft: Tensor, right_bcft: Tensor) -> Tensor:
    """The complex product of every cell."""
    return _channels(_complex(left_bcft) * _complex(right_bcft))


def _magnitude(spectrum_bcft: Tensor) -> Tensor:
    return spectrum_bcft.square().sum(1, keepdim=True).sqrt().clamp(min=TINY)


def _window(like: Tensor) -> Tensor:
    return torch.hann_window(WINDOW, device=like.device)


def _complex(x_bcft: Tensor) -> Tensor:
    return torch.complex(x_bcft[:, 0], x_bcft[:, 1])


def _channels(x_bft: Tensor) -> Tensor:
    return torch.stack([x_bft.real, x_bft.imag], 1)


def _overlap_add(frames_bnt: Tensor, samples: int) -> Tensor:
    """(b, 400, t) to (b, samples)."""
    folded = torch.nn.functional.fold(frames_bnt, (1, samples), (1, WINDOW), stride=(1, HOP))
    return folded[:, 0, 0]
