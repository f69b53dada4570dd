"""The word classifiers of Stafylakis & Tzimiropoulos (2017) and Petridis et al. (2018).

C3D and ResNet-34, then two layers of BiLSTM or BiGRU. AE-MSR's Table 1 compares with both.
"""

from dataclasses import dataclass, field

from avsr.models.lipreading.heads import Cell, RecurrentHead, TemporalHead
from avsr.models.lipreading.resnet34 import ResNet34, ResNet34Conf
from avsr.models.lipreading.word_classifier import WordClassifier


@dataclass(frozen=True)
class ResNet34WordsConf:
    """The defaults are those of Stafylakis & Tzimiropoulos."""

    frontend: ResNet34Conf = field(default_factory=ResNet34Conf)
    classes: int = 500
    cell: Cell = "lstm"
    units: int = 256  # of each of two layers, for each direction
    dropout: float = 0.0
    label_smoothing: float = 0.0


class ResNet34Words(WordClassifier):
    """With the back-ends `temporal` (convolutions, which the front-end learns with first) and `recurrent`."""

    Conf, Frontend = ResNet34WordsConf, ResNet34

    def __init__(self, conf: ResNet34WordsConf):
        frontend, features = ResNet34(conf.frontend), conf.frontend.features
        heads = {
            "temporal": TemporalHead(features, conf.classes),
            "recurrent": RecurrentHead(features, conf.classes, conf.units, conf.dropout, conf.cell),
        }
        super().__init__(frontend, heads, conf.label_smoothing)
        self.conf = conf
