"""L2L on the log-mel of all systems of a table: a mask on 80 bands. Its original form is in l2l_complex.py.

Ephrat et al., "Looking to Listen at the Cocktail Party", SIGGRAPH 2018, for one visible face.
"""

from dataclasses import dataclass

from torch import Tensor

from avsr.models.enhancement.avse import AVSE, SLICE_MEL, SLICE_VIDEO, AVSEConf
from avsr.models.enhancement.l2l_network import L2LNetwork, L2LNetworkConf


@dataclass(frozen=True)
class L2LConf(AVSEConf, L2LNetworkConf):
    pass


class L2L(AVSE):
    """The log-mel as one channel; whole utterances, not slices. Raises UsageError for sizes below 1."""

    Conf = L2LConf

    def __init__(self, conf: L2LConf):
        super().__init__(conf)
        self.net = L2LNetwork(conf, 1, self.bands, self.bands)

    def network(self, audio_btf: Tensor, video_bthw: Tensor, slices_b: Tensor) -> Tensor:
        return self.net(audio_btf.mT.unsqueeze(1), video_bthw, slices_b * SLICE_MEL, slices_b * SLICE_VIDEO)
