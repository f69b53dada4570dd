"""What a network sees of a mel magnitude: g(M) = (log(M + 1e-3) - mean) / deviation for each bin, or simpler.

The papers feed magnitudes as they are (`none`); see docs/decisions.md for why `log_cmvn` is the default.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.masking import valid_mask

Transform = Literal["log_cmvn", "cbrt", "none"]
FLOOR = 1e-3  # about 60 dB under typical speech bins when the mixture's RMS is 0.05


class MelInput(nn.Module):
    """g() over linear mel magnitudes (b, t, f). The statistics are buffers, so a checkpoint carries them.

    UsageError when the magnitudes have another number of bins than the network was built for.
    """

    def __init__(self, bins: int, transform: Transform):
        super().__init__()
        self.transform = transform
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("deviation", torch.ones(bins))
        self.register_buffer("fitted", torch.tensor(False))

    def forward(self, mel_btf: Tensor) -> Tensor:
        if mel_btf.shape[-1] != len(self.mean):
            found, built = mel_btf.shape[-1], len(self.mean)
            raise UsageError(f"model.mels is {built}, but the sound comes in {found} bands; set model.mels to {found}")
        if self.transform == "none":
            return mel_btf
        if self.transform == "cbrt":
            return mel_btf.clamp(min=1e-9) ** (1 / 3)  # the clamp keeps the gradient at silence finite
        return (torch.log(mel_btf + FLOOR) - self.mean) / self.deviation

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Mean and deviation of log(M + 1e-3) over the real frames of `noisy_mel` (four to each of `frames`).

        Does nothing when they are set already: the weights were trained with them.
        """
        if self.transform != "log_cmvn" or bool(self.fitted):
            return
        count = 0
        total, squares = torch.zeros((2, len(self.mean)), dtype=torch.float64)
        for batch in batches:
            mel_btf = batch["noisy_mel"]
            self(mel_btf[:, :0])  # refuses another number of bins
            log_nf = torch.log(mel_btf[valid_mask(4 * batch["frames"], mel_btf.shape[1])] + FLOOR).double().cpu()
            count += len(log_nf)
            total += log_nf.sum(0)
            squares += log_nf.square().sum(0)
        mean = total / count
        self.mean.copy_(mean)
        self.deviation.copy_((squares / count - mean.square()).clamp(min=1e-6).sqrt())
        self.fitted.fill_(True)
