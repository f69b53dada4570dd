"""Lip reading of single words: the task that trains the front-end (AE-MSR section 4.3, LRW).

Legend: b clips, t time, h w picture, d feature, v words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from avsr.errors import UsageError
from avsr.models.lipreading.heads import DenseHead, RecurrentHead
from avsr.models.lipreading.p3d50 import P3D50, P3D50Conf


class WordNetwork(nn.Module):
    """What all word classifiers share. One has `logits(crops, frames, head)`, its `heads` (the last one is scored) and
    `label_smoothing`."""

    heads: tuple[str, ...]
    label_smoothing: float

    @property
    def final_head(self) -> str:
        """The back-end that a finished training is judged by."""
        return self.heads[-1]

    def loss(self, crops_bthw: Tensor, frames_b: Tensor, labels_b: Tensor, head: str) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies (with label smoothing) and the number of clips."""
        logits_bv = self.logits(crops_bthw, frames_b, head).float()
        total = cross_entropy(logits_bv, labels_b, label_smoothing=self.label_smoothing, reduction="sum")
        return total, torch.tensor(len(labels_b), device=labels_b.device)


class WordClassifier(WordNetwork):
    """A front-end (mouth crops -> features of each frame) with one or several back-ends."""

    def __init__(self, frontend: nn.Module, heads: Mapping[str, nn.Module], label_smoothing: float):
        super().__init__()
        self.frontend = frontend
        self.heads, self.label_smoothing = tuple(heads), label_smoothing
        for name, head in heads.items():
            self.add_module(name, head)

    def logits(self, crops_bthw: Tensor, frames_b: Tensor, head: str) -> Tensor:
        """Mouth crops (b, t, 112, 112) uint8 and the real frames of each -> (b, v). UsageError for an unknown head."""
        if head not in self.heads:
            raise UsageError(f"head {head!r}: the word classifier has the heads {', '.join(self.heads)}")
        return getattr(self, head)(self.frontend(crops_bthw, frames_b), frames_b)


@dataclass(frozen=True)
class P3D50WordsConf:
    """The defaults are the paper's C3D-P3D50 on LRW."""

    frontend: P3D50Conf = field(default_factory=P3D50Conf)
    classes: int = 500
    # The paper names two BiLSTM layers without a size: that of Stafylakis & Tzimiropoulos, for each direction.
    units: int = 256
    dropout: float = 0.5
    label_smoothing: float = 0.1


class P3D50Words(WordClassifier):
    """C3D-P3D50 with its back-ends of step 1, `dense`, and of step 2, `recurrent`."""

    Conf, Frontend = P3D50WordsConf, P3D50

    def __init__(self, conf: P3D50WordsConf):
        frontend, features = P3D50(conf.frontend), conf.frontend.features
        heads = {
            "dense": DenseHead(features, conf.classes),
            "recurrent": RecurrentHead(features, conf.classes, conf.units, conf.dropout),
        }
        super().__init__(frontend, heads, conf.label_smoothing)
        self.conf = conf
