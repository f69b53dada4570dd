"""C3D and ResNet-34: the front-end of Stafylakis & Tzimiropoulos (2017) and of Petridis et al. (2018), which AE-MSR's
Table 1 compares with. One 3-D convolution, then a residual network of every picture by itself.

Legend: b clips, t time, h w picture, n real frames of the batch, c channels, d feature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avsr.layers.masking import MaskedBatchNorm1d, Packing, valid_mask
from avsr.layers.p3d import Stem, crops_to_input, to_size
from avsr.layers.resnet import BasicBlock

DEPTHS = (3, 4, 6, 3)
PLANES = (64, 128, 256, 512)


@dataclass(frozen=True)
class ResNet34Conf:
    """The defaults are the front-end of Stafylakis & Tzimiropoulos."""

    width: float = 1.0  # multiplies the channels of the stem and of every stage, not the feature's
    features: int = 256
    pre_activation: bool = True  # batch norm and ReLU before the convolutions (He et al. 2016b); Petridis et al.: after
    feature_norm: bool = True  # batch norm of the feature; Petridis et al. have none
    input_size: int = 112  # crops of another size are resized to it
    centre: int | None = None  # so many pixels of the crop's middle are used, of 112 (Petridis et al.: 88 of 96)
    pixel_mean: float = 0.4161
    pixel_deviation: float = 0.1688


class ResNet34(nn.Module):
    """Mouth crops (b, t, h, w) uint8 -> lip features (b, t, features), zero behind the end of a clip."""

    Conf = ResNet34Conf

    def __init__(self, conf: ResNet34Conf):
        super().__init__()
        self.conf = conf
        channels = round(64 * conf.width)
        self.stem = Stem(channels)
        self.blocks = nn.ModuleList()
        for number, (depth, planes) in enumerate(zip(DEPTHS, PLANES, strict=True)):
            for place in range(depth):
                stride = 2 if number and not place else 1
                self.blocks.append(BasicBlock(channels, round(planes * conf.width), stride, conf.pre_activation))
                channels = round(planes * conf.width)
        self.norm = nn.BatchNorm2d(channels) if conf.pre_activation else nn.Identity()
        self.fc = nn.Linear(channels, conf.features)
        self.feature_norm = MaskedBatchNorm1d(conf.features) if conf.feature_norm else None

    def forward(self, crops_bthw: Tensor, frames_b: Tensor | None = None) -> Tensor:
        """`frames_b`: real frames of each clip (None: all)."""
        batch, time = crops_bthw.shape[:2]
        if frames_b is None:
            frames_b = torch.full((batch,), time, device=crops_bthw.device)
        packing = Packing(frames_b, time)
        x_nchw = self.stem(self._input(crops_bthw, frames_b), packing)
        for block in self.blocks:
            x_nchw = block(x_nchw)
        if self.conf.pre_activation:
            x_nchw = self.norm(x_nchw).relu()
        x_btd = packing.unpack(self.fc(x_nchw.mean(dim=(2, 3))))
        return x_btd if self.feature_norm is None else self.feature_norm(x_btd, frames_b)

    def _input(self, crops_bthw: Tensor, frames_b: Tensor) -> Tensor:
        x_bthw = crops_to_input(crops_bthw, self.conf.pixel_mean, self.conf.pixel_deviation)
        if self.conf.centre:
            edge = (x_bthw.shape[-1] - round(x_bthw.shape[-1] * self.conf.centre / 112)) // 2
            x_bthw = x_bthw[..., edge : x_bthw.shape[-2] - edge, edge : x_bthw.shape[-1] - edge]
        return to_size(x_bthw, self.conf.input_size) * valid_mask(frames_b, x_bthw.shape[1])[:, :, None, None]
