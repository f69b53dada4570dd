"""C3D-P3D50: the visual front-end of AE-MSR (Xu et al. 2020, section 3.1): a 3-D convolution, then a 50-layer P3D.

Legend: b clips, t time, h w picture, n real frames of the batch, c channels, d feature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avsr.layers.masking import Packing, valid_mask
from avsr.layers.p3d import P3dBlock, Stem, crops_to_input, kinds, temporal_pool, to_size

DEPTHS = (3, 4, 6, 3)
PLANES = (64, 128, 256, 512)


@dataclass(frozen=True)
class P3D50Conf:
    """The defaults are the paper's front-end."""

    width: float = 1.0  # multiplies the channels of the stem and of every stage, not the feature's
    features: int = 512
    input_size: int = 112  # crops of another size are resized to it
    res5_temporal: bool = False  # true continues the cycle of A, B, C in res5; 2-D as in P3D and the authors' code
    temporal_pool: bool = False  # true: the authors' 2x1x1 maxima after res2-4, which look ahead and shift in time
    pixel_mean: float = 0.5
    pixel_deviation: float = 0.5
    zero_start: bool = True  # every block starts as its shortcut alone: the scale of its last batch norm begins at 0


class P3D50(nn.Module):
    """Mouth crops (b, t, h, w) uint8 -> lip features (b, t, features), zero behind the end of a clip."""

    Conf = P3D50Conf

    def __init__(self, conf: P3D50Conf):
        super().__init__()
        self.conf = conf
        channels = round(64 * conf.width)
        self.stem = Stem(channels)
        self.stages = nn.ModuleList()
        for number, stage_kinds in enumerate(kinds(DEPTHS, conf.res5_temporal)):
            planes = round(PLANES[number] * conf.width)
            stage = nn.ModuleList()
            for kind in stage_kinds:
                stage.append(P3dBlock(channels, planes, kind, stride=2 if number and not len(stage) else 1))
                channels = 4 * planes
                if conf.zero_start:
                    nn.init.zeros_(stage[-1].expand[-1].weight)
            self.stages.append(stage)
        # The paper's vector is 512 wide after pooling, its network ends at 2048: the authors' code has this layer.
        self.fc = nn.Linear(channels, conf.features)

    def forward(self, crops_bthw: Tensor, frames_b: Tensor | None = None) -> Tensor:
        """`frames_b`: real frames of each clip (None: all)."""
        batch, time = crops_bthw.shape[:2]
        if frames_b is None:
            frames_b = torch.full((batch,), time, device=crops_bthw.device)
        packing = Packing(frames_b, time)
        x_nchw = self.stem(self._input(crops_bthw, frames_b), packing)
        for number, stage in enumerate(self.stages):
            for block in stage:
                x_nchw = block(x_nchw, packing)
            if self.conf.temporal_pool and number < 3:
                x_nchw = temporal_pool(x_nchw, packing)
        return packing.unpack(self.fc(x_nchw.mean(dim=(2, 3))))

    def _input(self, crops_bthw: Tensor, frames_b: Tensor) -> Tensor:
        x_bthw = crops_to_input(crops_bthw, self.conf.pixel_mean, self.conf.pixel_deviation)
        return to_size(x_bthw, self.conf.input_size) * valid_mask(frames_b, x_bthw.shape[1])[:, :, None, None]
