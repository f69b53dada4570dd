"""OVA: Wang, Xing, Wang, Chen, Sun, "A Robust Audio-Visual Speech Enhancement Model", ICASSP 2020.

A late fusion that is safe: an audio branch predicts a mask by itself; a visual branch predicts a coarse one, the power
binary mask (PBM) of the clean speech; a gate mixes the second into the first, band by band, and never teaches the
audio branch, so that what sound alone can do is not lost. The public abstract gives no sizes: decision, see
docs/decisions.md.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from avsr.errors import UsageError
from avsr.features.mel import STFT_20MS
from avsr.layers.picture_cnn import PictureCNN
from avsr.layers.recurrence import recur
from avsr.models.enhancement.avse import AVSE, SLICE_MEL, SLICE_VIDEO, AVSEConf

AUDIO_PER_VIDEO = SLICE_MEL // SLICE_VIDEO
LEAST = 1e-6  # mask that the logit of the mixed mask still tells from none


@dataclass(frozen=True)
class OVAConf(AVSEConf):
    # magnitude: 161 bins of a 20 ms STFT as they are, and the error of the masked ones
    domain: Literal["log_mel", "magnitude"] = "log_mel"
    audio: int = 512  # LSTM of the audio branch, two layers
    channels: tuple[int, int, int, int] = (16, 32, 64, 128)  # of the pictures' convolutions
    visual: int = 256  # bidirectional LSTM of the visual branch, two layers: units of each direction
    gate: int = 256  # inner layer of the gate
    safe: bool = True  # the gate's error does not reach the audio branch
    pbm_weight: float = 0.1  # of the visual branch's cross entropy


class OVA(AVSE):
    """`output` "fused" is the system; "audio" its audio branch alone, the lower bound, which needs no pictures.

    Raises UsageError for a head other than a mask: the gate mixes masks.
    """

    Conf = OVAConf

    def __init__(self, conf: OVAConf):
        if conf.domain == "magnitude":
            self.mel_set, self.magnitudes = STFT_20MS, True
        super().__init__(conf)
        if conf.head != "mask":
            raise UsageError(f"model.head must be mask, not {conf.head}: OVA mixes two masks")
        if min(conf.audio, conf.visual, conf.gate, *conf.channels) < 1:
            raise UsageError("model.audio, model.channels, model.visual and model.gate must be positive")
        self.output: Literal["fused", "audio"] = "fused"
        self.audio_lstm = nn.LSTM(self.bands, conf.audio, 2, batch_first=True)
        self.audio_mask = nn.Linear(conf.audio, self.bands)
        self.pictures = PictureCNN(conf.channels)
        self.visual_lstm = nn.LSTM(conf.channels[-1], conf.visual, 2, batch_first=True, bidirectional=True)
        self.visual_mask = nn.Linear(2 * conf.visual, self.bands)
        self.gate = nn.Sequential(nn.Linear(3 * self.bands, conf.gate), nn.ReLU(), nn.Linear(conf.gate, self.bands))

    def audio_loss(self, noisy_btf: Tensor, clean_btf: Tensor, frames_b: Tensor) -> tuple[Tensor, Tensor]:
        """`loss` of the audio branch alone: what the system must not be above."""
        output, self.output = self.output, "audio"
        try:
            return self.loss(noisy_btf, clean_btf, None, frames_b)
        finally:
            self.output = output

    def network(self, audio_btf: Tensor, video_bthw: Tensor, slices_b: Tensor) -> Tensor:
        """(B, 20 S, 3 x 80): the logits of the mixed mask, of the audio branch's and of the visual branch's; or
        (B, 20 S, 80), the audio branch's alone, where that is the `output`."""
        audio_logit_btf = self.audio_mask(recur(self.audio_lstm, audio_btf, slices_b * SLICE_MEL)).float()
        if self.output == "audio":
            return audio_logit_btf
        visual_logit_btf = self._watch(video_bthw, slices_b * SLICE_VIDEO).float()
        audio_mask_btf, visual_mask_btf = torch.sigmoid(audio_logit_btf), torch.sigmoid(visual_logit_btf)
        if self.conf.safe:
            audio_mask_btf = audio_mask_btf.detach()
        gate_btf = torch.sigmoid(self.gate(torch.cat([audio_btf, audio_mask_btf, visual_mask_btf], -1)).float())
        mask_btf = audio_mask_btf + gate_btf * (visual_mask_btf - audio_mask_btf)
        return torch.cat([torch.logit(mask_btf, LEAST), audio_logit_btf, visual_logit_btf], -1)

    def _watch(self, video_bthw: Tensor, pictures_b: Tensor) -> Tensor:
        h_btd = recur(self.visual_lstm, self.pictures(video_bthw, pictures_b), pictures_b)
        return self.visual_mask(h_btd).repeat_interleave(AUDIO_PER_VIDEO, 1)

    def _cells(self, out_btf: Tensor, noisy_btf: Tensor, clean_btf: Tensor, valid_bt1: Tensor) -> Tensor:
        """In training also the audio branch's own error and the visual branch's cross entropy. In validation the error
        of the output alone, as for all systems; while the gate is frozen, of the audio branch, which alone learns then.
        """
        if not self.training and self.output != "audio" and not self.gate[0].weight.requires_grad:
            return super()._cells(out_btf.chunk(3, -1)[1], noisy_btf, clean_btf, valid_bt1)
        if not self.training or self.output == "audio":
            return super()._cells(self._chosen(out_btf), noisy_btf, clean_btf, valid_bt1)
        fused_btf, audio_btf, visual_btf = out_btf.chunk(3, -1)
        fused = super()._cells(fused_btf, noisy_btf, clean_btf, valid_bt1)
        audio = super()._cells(audio_btf, noisy_btf, clean_btf, valid_bt1)
        pbm_btf = power_binary_mask(clean_btf, valid_bt1)
        visual = binary_cross_entropy_with_logits(visual_btf, pbm_btf, reduction="none")
        return fused + audio + self.conf.pbm_weight * visual

    def _chosen(self, out_btf: Tensor) -> Tensor:
        return out_btf[..., : self.bands]


def power_binary_mask(clean_btf: Tensor, valid_bt1: Tensor) -> Tensor:
    """1 where the power of clean speech is above the utterance's mean of the band, else 0: (B, t, f) as given.

    clean_btf: magnitudes; valid_bt1: the real frames, over which the mean is taken.
    """
    power_btf = torch.where(valid_bt1, clean_btf.float().square(), 0)
    mean_b1f = power_btf.sum(1, keepdim=True) / valid_bt1.sum(1, keepdim=True).clamp(min=1)
    return (power_btf > mean_b1f).float()
