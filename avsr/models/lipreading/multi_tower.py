"""MT, the multiple towers of Chung & Zisserman (2016, figure 5d): every picture through one convolution, then VGG-M.

AE-MSR's Table 1 prints 76.2 % for another network of the same authors (WAS, trained on sentences); this one is an extra
row beside it.
Legend: b clips, t pictures, h w picture, c channels, v words.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avsr.errors import UsageError
from avsr.layers.masking import valid_mask
from avsr.layers.p3d import crops_to_input, to_size
from avsr.models.lipreading.word_classifier import WordNetwork


@dataclass(frozen=True)
class MultiTowerConf:
    """The defaults are the paper's network on LRW."""

    classes: int = 500
    width: float = 1.0  # multiplies the channels of every layer
    pictures: int = 25  # in the middle of a clip; shorter clips end in black ones
    input_size: int = 112
    dropout: float = 0.5  # as in VGG-M, before both last layers
    label_smoothing: float = 0.0
    pixel_mean: float = 0.5
    pixel_deviation: float = 0.5


class MultiTower(WordNetwork):
    """Mouth crops -> words. It sees a clip as one picture of many channels, so it is no front-end for sentences."""

    Conf = MultiTowerConf
    heads = ("dense",)

    def __init__(self, conf: MultiTowerConf):
        super().__init__()
        self.conf, self.label_smoothing = conf, conf.label_smoothing

        def wide(channels: int) -> int:
            return round(channels * conf.width)

        self.tower = nn.Sequential(*_conv(1, wide(48), 3), nn.MaxPool2d(3, 2))
        self.trunk = nn.Sequential(
            *_conv(conf.pictures * wide(48), wide(96), 1),
            *_conv(wide(96), wide(256), 5, stride=2),
            nn.MaxPool2d(3, 2),
            *_conv(wide(256), wide(512), 3),
            *_conv(wide(512), wide(512), 3),
            *_conv(wide(512), wide(512), 3),
            nn.MaxPool2d(3, 2),
            nn.Flatten(),
        )
        with torch.no_grad():
            size = (1, 1, conf.input_size, conf.input_size)
            towers_bchw = self.tower.eval()(torch.zeros(size, device=self._device())).repeat(1, conf.pictures, 1, 1)
            flat = self.trunk.eval()(towers_bchw).shape[1]
        self.train()
        self.dense = nn.Sequential(
            nn.Linear(flat, wide(4096)), nn.ReLU(), nn.Dropout(conf.dropout),
            nn.Linear(wide(4096), wide(4096)), nn.ReLU(), nn.Dropout(conf.dropout),
            nn.Linear(wide(4096), conf.classes),
        )  # fmt: skip

    def _device(self) -> torch.device:
        return self.tower[0].weight.device

    def logits(self, crops_bthw: Tensor, frames_b: Tensor, head: str = "dense") -> Tensor:
        """Mouth crops (b, t, 112, 112) uint8 and the real frames of each -> (b, v). UsageError for an unknown head."""
        if head not in self.heads:
            raise UsageError(f"head {head!r}: MT has the head dense alone")
        x_bthw = self._pictures(crops_bthw, frames_b)
        towers_bchw = self.tower(x_bthw.flatten(0, 1).unsqueeze(1)).unflatten(0, x_bthw.shape[:2]).flatten(1, 2)
        return self.dense(self.trunk(towers_bchw))

    def _pictures(self, crops_bthw: Tensor, frames_b: Tensor) -> Tensor:
        """The middle of every clip, (b, pictures, h, w)."""
        conf = self.conf
        x_bthw = crops_to_input(crops_bthw, conf.pixel_mean, conf.pixel_deviation)
        x_bthw = x_bthw * valid_mask(frames_b, x_bthw.shape[1])[:, :, None, None]
        x_bthw = pad(x_bthw, (0, 0, 0, 0, 0, max(conf.pictures - x_bthw.shape[1], 0)))
        first_b1 = ((frames_b - conf.pictures) // 2).clamp(min=0).unsqueeze(1)
        chosen_bt = first_b1 + torch.arange(conf.pictures, device=frames_b.device)
        x_bthw = x_bthw[torch.arange(len(x_bthw), device=frames_b.device).unsqueeze(1), chosen_bt]
        return to_size(x_bthw, conf.input_size)


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)
