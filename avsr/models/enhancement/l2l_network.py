"""The network of L2L ("Looking to Listen"): Ephrat et al., "Looking to Listen at the Cocktail Party", SIGGRAPH 2018.

For one visible face. Dilated convolutions over the whole spectrogram and over the pictures' embeddings, a
bidirectional LSTM over both, fully connected layers. Widths, kernels and dilations are the published ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.conv2d import MaskedBatchNorm2d, column_mask, keep_valid
from avsr.layers.masking import MaskedBatchNorm1d, valid_mask
from avsr.layers.picture_cnn import PictureCNN
from avsr.layers.recurrence import recur

AUDIO_PER_VIDEO = 4
# (frequency, time) of each convolution over the spectrogram: kernel and dilation
AUDIO_LAYERS = [((7, 1), (1, 1)), ((1, 7), (1, 1))]
AUDIO_LAYERS += [((5, 5), (1, d)) for d in (1, 2, 4, 8, 16, 32)]
AUDIO_LAYERS += [((5, 5), (d, d)) for d in (1, 2, 4, 8, 16, 32)]
VISUAL_LAYERS = ((7, 1), (5, 1), (5, 2), (5, 4), (5, 8), (5, 16))  # kernel and dilation over time


@dataclass(frozen=True)
class L2LNetworkConf:
    width: int = 96  # filters of the audio stream
    filters: int = 8  # of its last convolution
    visual: int = 256  # filters of the visual stream
    # Convolutions on the pictures, learnt with the rest: the originals' frozen face network is not to be had.
    channels: tuple[int, ...] = (32, 64, 128, 256)
    embedding: int | None = None  # width that they are brought to (original: 1024); null: as it is
    lstm: int = 400  # units of each direction
    fc: int = 600  # three layers

    def __post_init__(self):
        sizes = (self.width, self.filters, self.visual, *self.channels, self.embedding or 1, self.lstm, self.fc)
        if not self.channels or min(sizes) < 1:
            raise UsageError("sizes of L2L must be positive, and model.channels not empty")


class AudioStream(nn.Module):
    """Fifteen convolutions, batch norm and ReLU after each: (b, c, f, t) -> (b, filters, f, t)."""

    def __init__(self, c_in: int, width: int, filters: int):
        super().__init__()
        layers = [*AUDIO_LAYERS, ((1, 1), (1, 1))]
        wide = [c_in, *[width] * len(AUDIO_LAYERS), filters]
        self.convs = nn.ModuleList(
            nn.Conv2d(wide[i], wide[i + 1], kernel, padding=_same(kernel, dilation), dilation=dilation)
            for i, (kernel, dilation) in enumerate(layers)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm2d(c) for c in wide[1:])

    def forward(self, x_bcft: Tensor, mask_bt: Tensor | None) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_bcft = keep_valid(norm(conv(x_bcft), mask_bt).relu(), mask_bt)
        return x_bcft


class VisualStream(nn.Module):
    """Six convolutions over time, batch norm and ReLU after each: (b, t, d) -> (b, t, width)."""

    def __init__(self, d_in: int, width: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(width if i else d_in, width, kernel, padding=_same((kernel,), (dilation,)), dilation=dilation)
            for i, (kernel, dilation) in enumerate(VISUAL_LAYERS)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(width) for _ in VISUAL_LAYERS)

    def forward(self, x_btd: Tensor, lengths_b: Tensor) -> Tensor:
        """`x_btd` must be zero in the padding."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_btd = norm(conv(x_btd.mT).mT, lengths_b).relu()
        return x_btd


class L2LNetwork(nn.Module):
    """Spectrogram (b, channels, f, t), mouth pictures (b, T, h, w), t = 4 T or 4 T - 2 -> (b, t, outputs), linear."""

    def __init__(self, conf: L2LNetworkConf, channels: int, bins: int, outputs: int):
        super().__init__()
        self.audio = AudioStream(channels, conf.width, conf.filters)
        self.pictures = PictureCNN(conf.channels)
        embedding = conf.embedding or conf.channels[-1]
        self.embed = nn.Linear(conf.channels[-1], embedding) if conf.embedding else nn.Identity()
        self.visual = VisualStream(embedding, conf.visual)
        inputs = conf.filters * bins + conf.visual
        self.lstm = nn.LSTM(inputs, conf.lstm, batch_first=True, bidirectional=True)
        self.fc = nn.ModuleList(nn.Linear(conf.fc if i else 2 * conf.lstm, conf.fc) for i in range(3))
        self.out = nn.Linear(conf.fc, outputs)

    def forward(self, x_bcft: Tensor, video_bthw: Tensor, steps_b: Tensor, pictures_b: Tensor) -> Tensor:
        """steps_b, pictures_b: real frames of the sound and real pictures of each utterance."""
        steps = x_bcft.shape[-1]
        heard_btd = self.audio(x_bcft, column_mask(steps_b, steps)).permute(0, 3, 1, 2).flatten(2)
        seen_btd = self._watch(video_bthw, pictures_b)
        # A frame goes with the picture at its middle: frames that do not reach over the ends leave out one at each.
        left = (seen_btd.shape[1] - steps) // 2
        both_btd = torch.cat([heard_btd, seen_btd[:, left : left + steps]], -1)
        h_btd = recur(self.lstm, both_btd, steps_b)
        for layer in self.fc:
            h_btd = layer(h_btd).relu()
        return self.out(h_btd)

    def _watch(self, video_bthw: Tensor, pictures_b: Tensor) -> Tensor:
        """(b, 4 T, d): nearest neighbours of the visual stream's 25 a second."""
        embedded_btd = self.embed(self.pictures(video_bthw, pictures_b))
        embedded_btd = embedded_btd * valid_mask(pictures_b, embedded_btd.shape[1])[..., None]
        return self.visual(embedded_btd, pictures_b).repeat_interleave(AUDIO_PER_VIDEO, 1)


def _same(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Padding that keeps the size."""
    return tuple(k // 2 * d for k, d in zip(kernel, dilation, strict=True))
