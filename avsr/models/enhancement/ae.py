"""1DRN-AE and TCN-AE: the audio enhancement sub-networks of AE-MSR (Xu et al. 2020, section 3.1, Table 6 a to e).

One predicts a mask for the noisy mel magnitude from that magnitude and lip features. Two streams bring both to the
audio's rate; an EleAtt-GRU and fully connected layers fuse them.
Legend: b batch, t time (video frames, or mel frames: 4 to one), f mel bins, d feature, c channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avsr.features.mel import ae_msr_set
from avsr.layers.eleatt_gru import Cell, EleAttGRU
from avsr.layers.masking import valid_mask
from avsr.layers.mel_input import FLOOR, MelInput, Transform
from avsr.models.enhancement.ae_streams import ResAudio, ResVideo, TcnAudio, TcnVideo


@dataclass(frozen=True)
class AeConf:
    """The defaults are the paper's TCN-AE; its 1DRN-AE has streams 1drn and hidden 1536."""

    streams: Literal["1drn", "tcn"] = "tcn"  # 1-D residual networks, or temporal convolutional networks
    mels: int = 80  # bands of mel_htk; 321: the bins of the STFT as they are, which the authors' files hold
    video: int = 512  # width of the lip features
    hidden: int = 520  # channels of the streams
    stream: int = 256  # width of each stream's output
    units: int = 512  # of the fusion EleAtt-GRU, both directions together
    fc: int = 600
    dropout: float = 0.1
    cell: Cell = "eleatt"
    # The paper never says bidirectional; all encoders of the authors' code are. false is the literal reading.
    bidirectional: bool = True
    input_transform: Transform = "log_cmvn"  # none is the paper's
    loss_domain: Literal["linear", "log", "cbrt"] = "linear"  # where the L1 distance is taken; linear is the paper's
    mask_bias: float = 1.0  # the mask starts at sigmoid(1) = 0.73, not dark


class Ae(nn.Module):
    """Mel magnitudes are linear and non-negative everywhere; only the networks' input passes the transform.

    With 321 `mels` they are magnitudes of the STFT's bins.
    """

    Conf = AeConf
    video_input, frame_multiple = "feats", 1

    def __init__(self, conf: AeConf):
        super().__init__()
        self.conf = conf
        self.mel_set = ae_msr_set(conf.mels)
        self.mel_input = MelInput(conf.mels, conf.input_transform)
        widths = (conf.hidden, conf.stream)
        if conf.streams == "tcn":
            self.audio = TcnAudio(conf.mels, *widths, conf.dropout)
            self.video = TcnVideo(conf.video, *widths, conf.dropout)
        else:
            self.audio, self.video = ResAudio(conf.mels, *widths), ResVideo(conf.video, *widths)
        units = conf.units // 2 if conf.bidirectional else conf.units
        self.fusion = EleAttGRU(2 * conf.stream, units, bidirectional=conf.bidirectional, cell=conf.cell)
        # The text says two layers with a sigmoid, Table 6 e has three: the sigmoid is the last one's.
        self.fc1, self.fc2 = nn.Linear(self.fusion.outputs, conf.fc), nn.Linear(conf.fc, conf.fc)
        self.fc_mask = nn.Linear(conf.fc, conf.mels)
        nn.init.constant_(self.fc_mask.bias, conf.mask_bias)
        self.dropout = nn.Dropout(conf.dropout)

    def fit_statistics(self, batches: Iterable[dict]) -> None:
        """Sets the input transform's statistics from training batches (their `noisy_mel` and `frames`)."""
        self.mel_input.fit(batches)

    def mask(self, noisy_btf: Tensor, video: Tensor, frames_b: Tensor) -> Tensor:
        """Noisy magnitude (b, 4t, f), lip features (b, t, d), video frames of each clip -> mask in (0, 1)."""
        both_btd = torch.cat([self.audio(self.mel_input(noisy_btf), frames_b), self.video(video, frames_b)], dim=-1)
        h_btd, _ = self.fusion(both_btd, 4 * frames_b)
        h_btd = self.dropout(self.fc1(h_btd).relu())
        h_btd = self.dropout(self.fc2(h_btd).relu())
        return torch.sigmoid(self.fc_mask(h_btd).float())

    def estimate(self, noisy_btf: Tensor, video: Tensor, frames_b: Tensor) -> Tensor:
        """The clean mel magnitude (b, 4t, f): the mask times the noisy one; zero in the padding."""
        mask_btf = self.mask(noisy_btf, video, frames_b)
        return mask_btf * noisy_btf * valid_mask(4 * frames_b, noisy_btf.shape[1]).unsqueeze(-1)

    def loss(self, noisy_btf: Tensor, clean_btf: Tensor, video: Tensor, frames_b: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the absolute errors over the real cells, and how many these are (AE-MSR section 4.3: L1)."""
        return self._error(self.estimate(noisy_btf, video, frames_b), clean_btf, frames_b)

    def noisy_loss(self, noisy_btf: Tensor, clean_btf: Tensor, frames_b: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a mask that lets all through: what a trained network must be below."""
        return self._error(noisy_btf, clean_btf, frames_b)

    def _error(self, estimate_btf: Tensor, clean_btf: Tensor, frames_b: Tensor) -> tuple[Tensor, Tensor]:
        domain = self.conf.loss_domain
        error_btf = (_domain(estimate_btf, domain) - _domain(clean_btf, domain)).abs()
        error_btf = error_btf * valid_mask(4 * frames_b, clean_btf.shape[1]).unsqueeze(-1)
        return error_btf.sum(), 4 * frames_b.sum() * clean_btf.shape[2]


def _domain(mel_btf: Tensor, name: str) -> Tensor:
    if name == "log":
        return torch.log(mel_btf + FLOOR)
    return mel_btf.clamp(min=1e-9) ** (1 / 3) if name == "cbrt" else mel_btf
