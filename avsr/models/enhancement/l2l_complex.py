"""L2L in its original form: a complex mask on the compressed spectrum, whose squared error is the loss.

Ephrat et al., "Looking to Listen at the Cocktail Party", SIGGRAPH 2018, section 4: STFT with a Hann window of 25 ms,
hop 10 ms, FFT 512; real and imaginary parts, magnitudes to the power 0.3; the mask's parts pass a sigmoid. Its frozen
face network (pictures to 1024 numbers) is not to be had: a small one is learnt. Enhances the wave itself.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avsr.features.mel import WAVE
from avsr.layers.complex_stft import BINS, HOP, compress, expand, frames_of, multiply, spectrum, wave
from avsr.layers.masking import valid_mask
from avsr.models.enhancement.avse import AVSE, SLICE_MEL, SLICE_VIDEO
from avsr.models.enhancement.l2l_network import L2LNetwork, L2LNetworkConf


@dataclass(frozen=True)
class L2LComplexConf(L2LNetworkConf):
    # tanh: as ports have it, which can also turn the phase back and the sign over
    mask: Literal["sigmoid", "tanh"] = "sigmoid"


class L2LComplex(AVSE):
    """Sound comes and goes as samples (B, 4 T, 160). Raises UsageError for sizes below 1."""

    Conf = L2LComplexConf
    mel_set = WAVE
    normalised = False

    def __init__(self, conf: L2LComplexConf):
        super().__init__(conf)
        self.net = L2LNetwork(conf, 2, BINS, 2 * BINS)

    def loss(self, noisy_btf: Tensor, clean_btf: Tensor, video: Tensor, frames_b: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error of the compressed spectrum's two parts, summed over the valid frames, and their number.

        noisy_btf, clean_btf: samples (B, 4 T, 160); video: uint8 pictures (B, T, 80, 80); frames_b: valid video frames.
        Raises UtteranceError when an utterance is shorter than a slice.
        """
        noisy_btf, video, slices_b = self._whole_slices(noisy_btf, video, frames_b)
        clean_bcft = compress(spectrum(clean_btf[:, : noisy_btf.shape[1]].flatten(1)))
        error_bcft = self._compressed(noisy_btf.flatten(1), video, slices_b) - clean_bcft
        steps_b = self._steps(slices_b)
        valid_b11t = valid_mask(steps_b, error_bcft.shape[3])[:, None, None]
        squares_bcft = torch.where(valid_b11t, error_bcft.square(), 0)
        return squares_bcft.sum(), steps_b.sum() * (2 * BINS)

    @torch.no_grad()
    def estimate(self, noisy_btf: Tensor, video: Tensor, frames_b: Tensor) -> Tensor:
        """Clean samples (B, 4 T, 160) of the noisy ones.

        Only whole slices are enhanced: the last T mod 5 video frames of an utterance pass through noisy, and so does
        padding. Raises UtteranceError when an utterance is shorter than a slice.
        """
        whole_btf, video, slices_b = self._whole_slices(noisy_btf, video, frames_b)
        compressed_bcft = self._compressed(whole_btf.flatten(1), video, slices_b)
        clean_btf = self._wave(compressed_bcft, slices_b, whole_btf.shape[1])
        estimate_btf = noisy_btf.clone().float()
        valid_bt1 = valid_mask(slices_b * SLICE_MEL, whole_btf.shape[1])[..., None]
        estimate_btf[:, : whole_btf.shape[1]] = torch.where(valid_bt1, clean_btf, whole_btf.float())
        return estimate_btf

    def _compressed(self, noisy_bn: Tensor, video: Tensor, slices_b: Tensor) -> Tensor:
        """The estimate of the clean compressed spectrum (B, 2, 257, t)."""
        steps_b = self._steps(slices_b)
        noisy_bcft = compress(spectrum(noisy_bn))
        noisy_bcft = noisy_bcft * valid_mask(steps_b, noisy_bcft.shape[3])[:, None, None]
        out_btd = self.net(noisy_bcft, self._pictures(video, slices_b), steps_b, slices_b * SLICE_VIDEO).float()
        mask_bcft = out_btd.unflatten(2, (2, BINS)).permute(0, 2, 3, 1)
        mask_bcft = torch.sigmoid(mask_bcft) if self.conf.mask == "sigmoid" else torch.tanh(mask_bcft)
        return multiply(mask_bcft, noisy_bcft)

    def _wave(self, compressed_bcft: Tensor, slices_b: Tensor, frames: int) -> Tensor:
        """Samples (B, frames, 160) of compressed spectra; frames after an utterance's end do not reach into it."""
        valid_bt = valid_mask(self._steps(slices_b), compressed_bcft.shape[3])
        return wave(expand(compressed_bcft), frames * HOP, valid_bt).unflatten(1, (frames, HOP))

    def _steps(self, slices_b: Tensor) -> Tensor:
        """Spectral frames that lie wholly within the valid slices."""
        return frames_of(slices_b * (SLICE_MEL * HOP))
