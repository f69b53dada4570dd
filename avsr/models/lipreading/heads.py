"""Back-ends of a word classifier: lip features (b, t, d) and the real frames of each clip -> logits (b, v).

Legend: b clips, t time, d feature, c channels, v words.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool1d
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avsr.layers.masking import MaskedBatchNorm1d, valid_mask

Cell = Literal["lstm", "gru"]


def mean_over_time(x_btd: Tensor, frames_b: Tensor) -> Tensor:
    """The mean over the real frames, (b, d)."""
    mask_bt1 = valid_mask(frames_b, x_btd.shape[1]).unsqueeze(-1)
    return (x_btd * mask_bt1).sum(dim=1) / frames_b.unsqueeze(-1)


class DenseHead(nn.Linear):
    """A linear layer on the mean over time: step 1 of C3D-P3D50 (AE-MSR section 4.3)."""

    def forward(self, features_btd: Tensor, frames_b: Tensor) -> Tensor:
        return super().forward(mean_over_time(features_btd, frames_b))


class RecurrentHead(nn.Module):
    """Two bidirectional layers, dropout, a linear layer; logits averaged over the real frames."""

    def __init__(self, features: int, classes: int, units: int, dropout: float, cell: Cell = "lstm"):
        super().__init__()
        layers = nn.LSTM if cell == "lstm" else nn.GRU
        self.rnn = layers(features, units, 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * units, classes)

    def forward(self, features_btd: Tensor, frames_b: Tensor) -> Tensor:
        with torch.autocast(features_btd.device.type, enabled=False):  # a recurrence adds up what bfloat16 rounds
            packed = pack_padded_sequence(features_btd.float(), frames_b.cpu(), batch_first=True, enforce_sorted=False)
            h_btd, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=features_btd.shape[1])
        return mean_over_time(self.output(self.dropout(h_btd)), frames_b)


class TemporalHead(nn.Module):
    """Two convolutions over time, mean, two linear layers: what Stafylakis & Tzimiropoulos (2017, section 3.4) train
    the front-end with. Lengths: t, ceil(t / 2), half of it after the pool, ceil of half of that."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv1d(features, 2 * features, 5, stride=2, padding=2, bias=False)
        self.norm1 = MaskedBatchNorm1d(2 * features)
        self.conv2 = nn.Conv1d(2 * features, 4 * features, 5, stride=2, padding=2, bias=False)
        self.norm2 = MaskedBatchNorm1d(4 * features)
        self.fc = nn.Linear(4 * features, features)
        self.norm3 = nn.BatchNorm1d(features)
        self.output = nn.Linear(features, classes)

    def forward(self, features_btd: Tensor, frames_b: Tensor) -> Tensor:
        """`features_btd` is zero in the padding."""
        halved_b = (frames_b + 1) // 2
        x_btc = self.norm1(self.conv1(features_btd.mT).mT, halved_b).relu()
        pooled_b = (halved_b + 1) // 2
        x_bct = max_pool1d(x_btc.mT, 2, ceil_mode=True)
        last_b = (pooled_b + 1) // 2
        x_btc = self.norm2(self.conv2(x_bct).mT, last_b).relu()
        return self.output(self.norm3(self.fc(mean_over_time(x_btc, last_b))).relu())
