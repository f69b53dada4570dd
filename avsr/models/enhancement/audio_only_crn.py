"""Audio-only CRN: convolutional recurrent network of Tan & Wang, "A Convolutional Recurrent Neural Network for
Real-Time Speech Enhancement", Interspeech 2018, on the mel features of MHCA-AVCRN and in its published layout.

The defaults are the comparable version; the original hears linear magnitudes of a mixture of RMS 1 and gives those of
clean speech (`domain`).
Causal: no frame depends on a later one. Tensors are (b, c, t, f): time before frequency, as in the original.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.features.mel import STFT_20MS
from avsr.layers.conv2d import MaskedBatchNorm2d, column_mask, keep_valid
from avsr.layers.recurrence import Memory, recur
from avsr.models.enhancement.avse import AVSE, SLICE_MEL, AVSEConf

TO_RMS_1 = 20.0  # from the level of all mixtures, RMS 0.05, to the original's


@dataclass(frozen=True)
class AudioOnlyCRNConf(AVSEConf):
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    # magnitude: 161 bins of a 20 ms STFT at an RMS of 1, regressed as they are (head direct), as in the original
    domain: Literal["log_mel", "magnitude"] = "log_mel"


class CRN(nn.Module):
    """Five causal convolutions, two LSTM layers as wide as their input, five transposed ones with skip connections.

    (b, t, bins) -> (b, t, bins). `domain` "linear": the original on magnitudes, 161 bins, with batch norm and
    softplus at the output; "mel": frequency padded so that 80 bands halve evenly, and a linear output.
    """

    def __init__(self, bins: int, channels: tuple[int, ...], domain: Literal["mel", "linear"]):
        super().__init__()
        pad = 1 if domain == "mel" else 0
        sizes = [bins]
        for _ in channels:
            sizes.append((sizes[-1] + 2 * pad - 3) // 2 + 1)
        wide = (1, *channels)
        levels = range(len(channels))
        # Time is padded on both sides and the last frame dropped: only the past is seen.
        self.encoder = nn.ModuleList(nn.Conv2d(wide[i], wide[i + 1], (2, 3), (1, 2), (1, pad)) for i in levels)
        self.encoder_norm = nn.ModuleList(MaskedBatchNorm2d(c) for c in channels)
        hidden = channels[-1] * sizes[-1]
        self.lstm = nn.LSTM(hidden, hidden, 2, batch_first=True)
        # Each transposed convolution must reach the size that its encoder layer started from.
        missing = [sizes[i] - (2 * sizes[i + 1] + 1 - 2 * pad) for i in levels]
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(2 * wide[i + 1], wide[i], (2, 3), (1, 2), (1, pad), (0, missing[i])) for i in levels
        )
        self.linear_output = domain == "mel"
        normed = levels[1:] if self.linear_output else levels
        self.decoder_norm = nn.ModuleDict({str(i): MaskedBatchNorm2d(wide[i]) for i in normed})

    def forward(self, x_btf: Tensor, mask_bt: Tensor | None = None, memory: Memory | None = None) -> Tensor:
        """mask_bt: valid frames where some are padding (they stay out of the batch statistics).

        With a `memory` the input is the next piece of a stream, without padding.
        """
        y_bctf, skips = x_btf.unsqueeze(1), []
        for conv, norm in zip(self.encoder, self.encoder_norm, strict=True):
            y_bctf, before = _with_last(conv, y_bctf, memory)
            y_bctf = _normed(norm, conv(y_bctf)[:, :, before:-1], mask_bt)
            y_bctf = _clean(nn.functional.elu(y_bctf), mask_bt)
            skips.append(y_bctf)
        y_bctf = self._remember(y_bctf, memory)
        for i in reversed(range(len(self.decoder))):
            y_bctf, before = _with_last(self.decoder[i], torch.cat([y_bctf, skips[i]], 1), memory)
            y_bctf = self.decoder[i](y_bctf)
            # At the start a zero frame in front, so that none looks ahead.
            y_bctf = nn.functional.pad(y_bctf, (0, 0, 1 - before, 0))
            if i or not self.linear_output:
                y_bctf = _normed(self.decoder_norm[str(i)], y_bctf, mask_bt)
                y_bctf = nn.functional.elu(y_bctf) if i else nn.functional.softplus(y_bctf)
            y_bctf = _clean(y_bctf, mask_bt)
        return y_bctf.squeeze(1)

    def _remember(self, y_bctf: Tensor, memory: Memory | None) -> Tensor:
        batch, c, t, f = y_bctf.shape
        frames_b = torch.full((batch,), t, device=y_bctf.device)  # padding comes last and disturbs nothing
        h_btd = recur(self.lstm, y_bctf.transpose(1, 2).flatten(2), frames_b, memory)
        return h_btd.unflatten(2, (c, f)).transpose(1, 2)


class AudioOnlyCRN(AVSE):
    """Whole utterances, no pictures: normalised log-mel of 80 bands, or the original's magnitudes of 161 bins.

    Raises UsageError for a head that the domain does not have.
    """

    Conf = AudioOnlyCRNConf
    video_input = None

    def __init__(self, conf: AudioOnlyCRNConf):
        if conf.domain == "magnitude":
            if conf.head != "direct":
                raise UsageError(f"model.domain magnitude needs model.head direct, not {conf.head}")
            self.mel_set, self.magnitudes, self.normalised = STFT_20MS, True, False
        super().__init__(conf)
        self.net = CRN(self.bands, conf.channels, "linear" if self.magnitudes else "mel")

    def memory(self) -> Memory:
        if self.magnitudes:
            raise UsageError(
                "model.domain: magnitude cannot run on a stream, which takes windows of 40 ms, not of 20 ms; "
                "train with domain: log_mel and head: mask"
            )
        return {}

    def network(
        self, audio_btf: Tensor, video_bthw: Tensor | None, slices_b: Tensor, memory: Memory | None = None
    ) -> Tensor:
        return self.net(audio_btf, column_mask(slices_b * SLICE_MEL, audio_btf.shape[1]), memory)

    def _domain(self, mel_btf: Tensor) -> Tensor:
        heard_btf = super()._domain(mel_btf)
        return TO_RMS_1 * heard_btf if self.magnitudes else heard_btf

    def _linear(self, heard_btf: Tensor) -> Tensor:
        linear_btf = super()._linear(heard_btf)
        return linear_btf / TO_RMS_1 if self.magnitudes else linear_btf


def _with_last(layer: nn.Module, x_bctf: Tensor, memory: Memory | None) -> tuple[Tensor, int]:
    """The frames with, in front, the last one that the layer saw in the piece before; and whether there is one."""
    if memory is None:
        return x_bctf, 0
    last_bc1f, memory[layer] = memory.get(layer), x_bctf[:, :, -1:]
    return (x_bctf, 0) if last_bc1f is None else (torch.cat([last_bc1f, x_bctf], 2), 1)


def _normed(norm: MaskedBatchNorm2d, x_bctf: Tensor, mask_bt: Tensor | None) -> Tensor:
    return norm(x_bctf) if mask_bt is None else norm(x_bctf.transpose(2, 3), mask_bt).transpose(2, 3)


def _clean(x_bctf: Tensor, mask_bt: Tensor | None) -> Tensor:
    return x_bctf if mask_bt is None else keep_valid(x_bctf.transpose(2, 3), mask_bt).transpose(2, 3)
