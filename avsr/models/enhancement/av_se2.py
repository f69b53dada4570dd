"""AV(SE)²: Iuzzolino & Koishida, "AV(SE)²: Audio-Visual Squeeze-Excite Speech Enhancement", ICASSP 2020.

A residual network of the pictures, a convolutional autoencoder of the sound with skip connections, and
squeeze-excitation blocks that bring the pictures' features into its deepest levels; the output is a mask. Every slice
of 200 ms by itself. The widths are not public: decision, see docs/decisions.md.
The defaults are the comparable version; the original masks linear magnitudes (`domain`).
Tensors are (m, c, f, t): slices, channels, frequency, time.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.features.mel import STFT_20MS
from avsr.layers.conv2d import ConvBlock, DeconvBlock
from avsr.layers.masking import Packing
from avsr.layers.p3d import Stem
from avsr.layers.resnet import BasicBlock
from avsr.layers.squeeze_excite import SqueezeExciteFusion
from avsr.models.enhancement.avse import AVSE, AVSEConf
from avsr.models.enhancement.slices import Slices

LEVELS = 5
KERNELS = (5, 3, 3, 3, 3)
STRIDES = ((2, 2), (2, 2), (2, 1), (2, 1), (1, 1))


@dataclass(frozen=True)
class AVSE2Conf(AVSEConf):
    channels: tuple[int, int, int, int, int] = (64, 64, 128, 128, 256)
    video_channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    fusion_levels: tuple[int, ...] = (3, 4, 5)  # of 1 to 5; 5 alone is late fusion in the strict sense
    # magnitude: 161 bins of a 20 ms STFT as they are, and the error of the masked ones, as in the original
    domain: Literal["log_mel", "magnitude"] = "log_mel"


class VideoNetwork(nn.Module):
    """A 3-D convolution, then ResNet-18 of each picture by itself: (m, 5, h, w) -> (m, d, 5)."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        self.stem = Stem(channels[0])
        wide = (channels[0], *channels)
        self.blocks = nn.Sequential()
        for i, c in enumerate(channels):
            self.blocks.append(BasicBlock(wide[i], c, stride=2 if i else 1))
            self.blocks.append(BasicBlock(c, c, stride=1))

    def forward(self, pictures_mthw: Tensor) -> Tensor:
        slices, count = pictures_mthw.shape[:2]
        lengths = torch.full((slices,), count, device=pictures_mthw.device)
        x_nchw = self.blocks(self.stem(pictures_mthw, Packing(lengths, count)))
        return x_nchw.mean((2, 3)).unflatten(0, (slices, count)).mT


class MaskNetwork(nn.Module):
    """Sound (m, 1, f, 20) and pictures (m, 5, h, w) -> what the mask is the sigmoid of (m, 1, f, 20).

    Both streams go on unfused; what is fused goes to the decoder alone, in the place of the sound's own feature.
    """

    def __init__(self, conf: AVSE2Conf):
        super().__init__()
        wide = (1, *conf.channels)
        self.audio = nn.ModuleList(ConvBlock(wide[i], wide[i + 1], KERNELS[i], STRIDES[i]) for i in range(LEVELS))
        self.video = VideoNetwork(conf.video_channels)
        self.fusion = nn.ModuleDict(
            {str(level): SqueezeExciteFusion(wide[level], conf.video_channels[-1]) for level in conf.fusion_levels}
        )
        self.bottleneck = ConvBlock(wide[-1], wide[-1])
        self.decoder = nn.ModuleList(
            DeconvBlock(2 * wide[i + 1], wide[i], STRIDES[i], last=i == 0) for i in range(LEVELS)
        )

    def forward(self, sound_mcft: Tensor, pictures_mthw: Tensor) -> Tensor:
        video_mdk = self.video(pictures_mthw)
        x_mcft, sizes, skips = sound_mcft, [], []
        for level, block in enumerate(self.audio, 1):
            sizes.append(x_mcft.shape[2:])
            x_mcft = block(x_mcft)
            fused = str(level) in self.fusion
            skips.append(self.fusion[str(level)](x_mcft, video_mdk) if fused else x_mcft)
        y_mcft = self.bottleneck(skips[-1])
        for i in reversed(range(LEVELS)):
            y_mcft = self.decoder[i](torch.cat([y_mcft, skips[i]], 1), size=sizes[i])
        return y_mcft


class AVSE2(AVSE):
    """A mask of the noisy magnitudes, from slices of 200 ms."""

    Conf = AVSE2Conf

    def __init__(self, conf: AVSE2Conf):
        if min(*conf.channels, *conf.video_channels) < 1:
            raise UsageError("model.channels and model.video_channels must be positive")
        levels = conf.fusion_levels
        if not levels or len(set(levels)) < len(levels) or not set(levels) <= set(range(1, LEVELS + 1)):
            raise UsageError(f"model.fusion_levels must name some of 1 to {LEVELS} once each, not {list(levels)}")
        if conf.domain == "magnitude":
            if conf.head != "mask":
                raise UsageError("model.domain magnitude needs model.head mask")
            self.mel_set, self.magnitudes, self.normalised = STFT_20MS, True, False
        super().__init__(conf)
        self.net = MaskNetwork(conf)

    def network(self, audio_btf: Tensor, video_bthw: Tensor, slices_b: Tensor) -> Tensor:
        slices = Slices(slices_b, audio_btf.shape[1])
        return slices.joined(self.net(slices.sound(audio_btf), slices.pictures(video_bthw)))
