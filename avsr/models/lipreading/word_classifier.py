"""Lip reading of single words: the task that trains the front-end (AE-MSR section 4.3, LRW).

Legend: b clips, t time, h w picture, d feature, v words.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avsr.errors import UsageError
from avsr.layers.masking import valid_mask
from avsr.models.lipreading.p3d50 import P3D50, P3D50Conf

Head = Literal["dense", "recurrent"]


@dataclass(frozen=True)
class WordClassifierConf:
    """The defaults are the paper's C3D-P3D50 on LRW."""

    frontend: P3D50Conf = field(default_factory=P3D50Conf)
    classes: int = 500
    # The paper names two BiLSTM layers without a size: that of Stafylakis & Tzimiropoulos, for each direction.
    units: int = 256
    dropout: float = 0.5
    label_smoothing: float = 0.1


class RecurrentHead(nn.Module):
    """Two BiLSTM layers, dropout, a linear layer; (b, t, d) -> logits (b, v), averaged over the real frames."""

    def __init__(self, features: int, conf: WordClassifierConf):
        super().__init__()
        self.lstm = nn.LSTM(features, conf.units, 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(conf.dropout)
        self.output = nn.Linear(2 * conf.units, conf.classes)

    def forward(self, features_btd: Tensor, frames_b: Tensor) -> Tensor:
        with torch.autocast(features_btd.device.type, enabled=False):  # a recurrence adds up what bfloat16 rounds
            packed = pack_padded_sequence(features_btd.float(), frames_b.cpu(), batch_first=True, enforce_sorted=False)
            h_btd, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=features_btd.shape[1])
        return _mean_over_time(self.output(self.dropout(h_btd)), frames_b)


class WordClassifier(nn.Module):
    """The front-end with both back-ends: `head="dense"` (step 1) and `head="recurrent"` (step 2)."""

    Conf = WordClassifierConf

    def __init__(self, conf: WordClassifierConf):
        super().__init__()
        self.conf = conf
        self.frontend = P3D50(conf.frontend)
        self.dense = nn.Linear(conf.frontend.features, conf.classes)
        self.recurrent = RecurrentHead(conf.frontend.features, conf)

    def logits(self, crops_bthw: Tensor, frames_b: Tensor, head: Head) -> Tensor:
        """Mouth crops (b, t, 112, 112) uint8 and the real frames of each -> (b, v). UsageError for an unknown head."""
        if head not in get_args(Head):
            raise UsageError(f"head {head!r}: the word classifier has the heads {', '.join(get_args(Head))}")
        features_btd = self.frontend(crops_bthw, frames_b)
        if head == "recurrent":
            return self.recurrent(features_btd, frames_b)
        return self.dense(_mean_over_time(features_btd, frames_b))

    def loss(self, crops_bthw: Tensor, frames_b: Tensor, labels_b: Tensor, head: Head) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies (with label smoothing) and the number of clips."""
        logits_bv = self.logits(crops_bthw, frames_b, head).float()
        total = cross_entropy(logits_bv, labels_b, label_smoothing=self.conf.label_smoothing, reduction="sum")
        return total, torch.tensor(len(labels_b), device=labels_b.device)


def _mean_over_time(x_btd: Tensor, frames_b: Tensor) -> Tensor:
    mask_bt1 = valid_mask(frames_b, x_btd.shape[1]).unsqueeze(-1)
    return (x_btd * mask_bt1).sum(dim=1) / frames_b.unsqueeze(-1)
