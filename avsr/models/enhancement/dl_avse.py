"""Deep-learning AV-SE: Michelsanti, Tan, Sigurdsson, Jensen, "Deep-Learning-Based Audio-Visual Speech Enhancement in
Presence of Lombard Effect", Speech Communication 2019, and its predecessor on training targets (ICASSP 2019).

VSE's encoders with a sixth layer of sound, three fully connected layers, a mirrored decoder with skip connections from
three layers of sound. The output estimates the ideal amplitude mask, |clean| / |noisy|, from 0 to 10: it may amplify.
Only the abstracts are at hand: sizes as docs/decisions.md says.
The defaults are the comparable version; the original hears the 321 bins of the STFT, sees 128x128 pictures, and its
loss is the mask's (`features`, `pictures`, `loss_domain`).
Tensors are (m, c, f, t): slices, channels, frequency (picture rows), time (picture columns).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from avsr.errors import UsageError
from avsr.features.mel import STFT
from avsr.layers.same_conv import Pair, SameConv2d, SameConvTranspose2d
from avsr.models.enhancement.avse import AVSE, PICTURES, SLICE_MEL, AVSEConf, log_mel
from avsr.models.enhancement.slices import Slices
from avsr.models.enhancement.vse import SLOPE, VIDEO_KERNELS, FullyConnected, VideoEncoder

KERNELS = (5, 4, 4, 2, 2, 2)
STRIDES: dict[str, tuple[Pair, ...]] = {
    "mel": ((2, 2), (1, 1), (2, 2), (2, 1), (2, 1), (1, 1)),
    "stft": ((2, 2), (1, 1), (2, 2), (2, 1), (2, 1), (2, 1)),
}
SKIPS = (0, 2, 4)  # layers 1, 3 and 5 of the audio encoder
LOUDEST = 10.0  # of the mask
LEAST = 1e-8  # of the noisy magnitude, where the ideal mask divides by it
Six = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class DLAVSEConf(AVSEConf):
    """The original: features stft, pictures crop128, loss_domain mask."""

    channels: Six = (64, 64, 128, 128, 128, 128)
    video_channels: Six = (128, 128, 256, 256, 512, 512)
    fc: int = 1312
    dropout: float = 0.25  # after each pool of the video encoder
    features: Literal["mel", "stft"] = "mel"
    pictures: Literal["crop80", "crop128"] = "crop80"
    loss_domain: Literal["log_mel", "mask"] = "log_mel"  # mask: the distance to the ideal one


class AudioEncoder(nn.Module):
    """Sound of slices (m, 1, f, 20) -> the maps of six layers; BN and leaky ReLU after each convolution."""

    def __init__(self, channels: Six, strides: tuple[Pair, ...]):
        super().__init__()
        wide = (1, *channels)
        self.convs = nn.ModuleList(
            SameConv2d(wide[i], wide[i + 1], kernel, strides[i]) for i, kernel in enumerate(KERNELS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)

    def forward(self, x_mcft: Tensor) -> list[Tensor]:
        found = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_mcft = _leaky(norm(conv(x_mcft)))
            found.append(x_mcft)
        return found


class Decoder(nn.Module):
    """The encoder's mirror with skip connections: each layer leads back to the size and width of its input (the first
    one's width stays, and a 1x1 convolution makes one map of it)."""

    def __init__(self, channels: Six, strides: tuple[Pair, ...]):
        super().__init__()
        self.first_norm = nn.BatchNorm2d(channels[-1])
        out = (channels[0], *channels[:-1])
        self.convs = nn.ModuleList(
            SameConvTranspose2d(channels[i] * (2 if i in SKIPS else 1), out[i], kernel, strides[i])
            for i, kernel in enumerate(KERNELS)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in out)
        self.last = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x_mcft: Tensor, encoded: list[Tensor], size: tuple[int, int]) -> Tensor:
        """`size`: bands and frames of the sound -> (m, 1, bands, frames)."""
        x_mcft = _leaky(self.first_norm(x_mcft))
        sizes = [size, *(tuple(map_mcft.shape[2:]) for map_mcft in encoded)]
        for i in reversed(range(len(KERNELS))):
            if i in SKIPS:
                x_mcft = torch.cat([x_mcft, encoded[i]], 1)
            x_mcft = _leaky(self.norms[i](self.convs[i](x_mcft, sizes[i])))
        return self.last(x_mcft)


class DLAVSE(AVSE):
    """Every slice of 200 ms by itself, as VSE. Raises UsageError for sizes out of range."""

    Conf = DLAVSEConf

    def __init__(self, conf: DLAVSEConf):
        if min(*conf.channels, *conf.video_channels, conf.fc) < 1 or not 0 <= conf.dropout < 1:
            raise UsageError("sizes of Deep-learning AV-SE must be positive, model.dropout from 0 to below 1")
        if conf.loss_domain == "mask" and conf.head != "mask":
            raise UsageError(f"model.loss_domain mask: model.head must be mask, not {conf.head}")
        self.video_input = conf.pictures
        if conf.features == "stft":
            self.mel_set = STFT
        super().__init__(conf)
        strides = STRIDES[conf.features]
        self.audio = AudioEncoder(conf.channels, strides)
        self.video = VideoEncoder(conf.video_channels, conf.dropout)
        self.deepest = (self.bands, SLICE_MEL)
        for stride in strides:
            self.deepest = tuple(-(-n // step) for n, step in zip(self.deepest, stride, strict=True))
        sound = conf.channels[-1] * self.deepest[0] * self.deepest[1]
        side = -(-PICTURES[conf.pictures] // 2 ** len(VIDEO_KERNELS))
        self.fusion = FullyConnected(sound + conf.video_channels[-1] * side**2, conf.fc)
        self.embedding = FullyConnected(conf.fc, conf.fc)
        self.spread = nn.Linear(conf.fc, sound)
        self.decoder = Decoder(conf.channels, strides)

    def network(self, audio_btf: Tensor, video_bthw: Tensor, slices_b: Tensor) -> Tensor:
        slices = Slices(slices_b, audio_btf.shape[1])
        encoded = self.audio(slices.sound(audio_btf))
        both_mc = torch.cat([encoded[-1].flatten(1), self.video(slices.pictures(video_bthw)).flatten(1)], 1)
        maps_mcft = self.spread(self.embedding(self.fusion(both_mc))).unflatten(1, (-1, *self.deepest))
        return slices.joined(self.decoder(maps_mcft, encoded, (self.bands, SLICE_MEL)))

    def _cells(self, out_btf: Tensor, noisy_btf: Tensor, clean_btf: Tensor, valid_bt1: Tensor) -> Tensor:
        if self.conf.loss_domain == "mask":
            return (self._gain(out_btf) - ideal_amplitude_mask(noisy_btf, clean_btf)).square()
        return super()._cells(out_btf, noisy_btf, clean_btf, valid_bt1)

    def _gain(self, out_btf: Tensor) -> Tensor:
        return softplus(out_btf).clamp(max=LOUDEST)

    def _gain_db(self, out_btf: Tensor) -> Tensor:
        return log_mel(self._gain(out_btf))


def ideal_amplitude_mask(noisy_btf: Tensor, clean_btf: Tensor) -> Tensor:
    """|clean| / |noisy| of linear magnitudes, clipped to [0, 10]."""
    return (clean_btf / noisy_btf.clamp(min=LEAST)).clamp(max=LOUDEST)


def _leaky(x: Tensor) -> Tensor:
    return leaky_relu(x, SLOPE)
