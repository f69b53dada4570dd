"""VSE: Gabbay, Shamir & Peleg, "Visual Speech Enhancement", Interspeech 2018.

Two encoders, two fully connected layers, a decoder, of every slice of 200 ms by itself: no recurrence, and no skip
connections, so that all detail of a slice passes through a quarter of the encoders' outputs.
The defaults are the comparable version; the original hears mel magnitudes in dB as they are, regresses those of clean
speech and sees 128x128 pictures (`normalised`, `head`, `pictures`).
Tensors are (m, c, f, t): slices, channels, mel bands (picture rows), mel frames (picture columns).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.masking import MaskedBatchNorm1d
from avsr.layers.recurrence import Memory
from avsr.layers.same_conv import Pair, SameConv2d, SameConvTranspose2d
from avsr.models.enhancement.avse import AVSE, BANDS, PICTURES, SLICE_MEL, SLICE_VIDEO, AVSEConf
from avsr.models.enhancement.slices import Slices

SLOPE = 0.3  # of the leaky ReLU: Keras's default
KERNELS = (5, 4, 4, 2, 2)  # of the audio encoder
STRIDES: tuple[Pair, ...] = ((2, 2), (1, 1), (2, 2), (2, 1), (2, 1))
DEEPEST = (BANDS // 16, SLICE_MEL // 4)  # bands and frames behind these strides
VIDEO_KERNELS = (5, 5, 3, 3, 3, 3)


@dataclass(frozen=True)
class VSEConf(AVSEConf):
    """The original: head direct, normalised false, pictures crop128."""

    channels: tuple[int, int, int, int, int] = (64, 64, 128, 128, 128)
    video_channels: tuple[int, int, int, int, int, int] = (128, 128, 256, 256, 512, 512)
    dropout: float = 0.25  # after each pool of the video encoder
    pictures: Literal["crop80", "crop128"] = "crop80"
    normalised: bool = True  # the sound, band by band; the pictures are always


class AudioEncoder(nn.Module):
    """Noisy sound of slices (m, 1, 80, 20) -> (m, c, 5, 5). Every convolution is followed by BN and leaky ReLU."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        wide = (1, *channels)
        self.convs = nn.ModuleList(SameConv2d(wide[i], wide[i + 1], KERNELS[i], STRIDES[i]) for i in range(5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)

    def forward(self, x_mcft: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_mcft = _leaky(norm(conv(x_mcft)))
        return x_mcft


class VideoEncoder(nn.Module):
    """The five pictures of slices as channels (m, 5, h, w) -> (m, c, h / 64, w / 64), sizes rounded up."""

    def __init__(self, channels: tuple[int, ...], dropout: float):
        super().__init__()
        wide = (SLICE_VIDEO, *channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(wide[i], wide[i + 1], kernel, padding=kernel // 2) for i, kernel in enumerate(VIDEO_KERNELS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_mchw: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # Leaky ReLU rises everywhere, so pooling before it gives the same numbers for a quarter of the work.
            x_mchw = nn.functional.max_pool2d(norm(conv(x_mchw)), 2, ceil_mode=True)
            x_mchw = self.dropout(_leaky(x_mchw))
        return x_mchw


class FullyConnected(nn.Module):
    """Linear layer, BN over the slices, leaky ReLU: (m, c_in) -> (m, c_out)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.linear, self.norm = nn.Linear(c_in, c_out), MaskedBatchNorm1d(c_out)

    def forward(self, x_mc: Tensor) -> Tensor:
        # One slice alone has no statistics: this batch norm then takes the running ones.
        return _leaky(self.norm(self.linear(x_mc)[None], torch.tensor([len(x_mc)], device=x_mc.device))[0])


class Decoder(nn.Module):
    """The audio encoder's mirror, (m, c, 5, 5) -> (m, 1, 80, 20): BN and leaky ReLU, then the convolution; at the end
    a linear one of 1x1."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        self.first_norm = nn.BatchNorm2d(channels[-1])
        # Widths as printed: 128, 128, 128, 64, 64 is each encoder layer's own width, from the deepest on.
        wide = (channels[-1], *reversed(channels))
        mirrored = list(zip(reversed(KERNELS), reversed(STRIDES), strict=True))
        self.convs = nn.ModuleList(SameConvTranspose2d(wide[i], wide[i + 1], *mirrored[i]) for i in range(5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in wide[1:])
        self.last = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x_mcft: Tensor) -> Tensor:
        x_mcft = _leaky(self.first_norm(x_mcft))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_mcft = _leaky(norm(conv(x_mcft)))
        return self.last(x_mcft)


class VSE(AVSE):
    """Section 3 of the paper, in its authors' code's sizes."""

    Conf = VSEConf

    def __init__(self, conf: VSEConf):
        if min(*conf.channels, *conf.video_channels) < 1 or not 0 <= conf.dropout < 1:
            raise UsageError("model.channels, model.video_channels: must be positive; model.dropout: 0 to below 1")
        self.video_input, self.normalised = conf.pictures, conf.normalised
        super().__init__(conf)
        self.audio = AudioEncoder(conf.channels)
        self.video = VideoEncoder(conf.video_channels, conf.dropout)
        sound = conf.channels[-1] * DEEPEST[0] * DEEPEST[1]
        side = -(-PICTURES[conf.pictures] // 2 ** len(VIDEO_KERNELS))
        both = sound + conf.video_channels[-1] * side**2
        self.fusion = FullyConnected(both, both // 4)
        self.embedding = FullyConnected(both // 4, both // 4)
        self.spread = nn.Linear(both // 4, sound)
        self.decoder = Decoder(conf.channels)

    def memory(self) -> Memory:
        return {}  # and empty it stays: no slice knows of another

    def network(self, audio_btf: Tensor, video_bthw: Tensor, slices_b: Tensor, memory: Memory | None = None) -> Tensor:
        slices = Slices(slices_b, audio_btf.shape[1])
        sound_mc = self.audio(slices.sound(audio_btf)).flatten(1)
        both_mc = torch.cat([sound_mc, self.video(slices.pictures(video_bthw)).flatten(1)], 1)
        maps_mcft = self.spread(self.embedding(self.fusion(both_mc))).unflatten(1, (-1, *DEEPEST))
        return slices.joined(self.decoder(maps_mcft))


def _leaky(x: Tensor) -> Tensor:
    return nn.functional.leaky_relu(x, SLOPE)
