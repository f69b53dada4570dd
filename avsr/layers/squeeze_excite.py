"""Squeeze-excitation fusion of sound and lips, as in AV(SE)² (Iuzzolino & Koishida 2020).

Legend: n slices, c channels of the sound, d channels of the pictures, f frequency, t time steps, k pictures of a slice.
"""

import torch
from torch import Tensor, nn

from avsr.layers.conv2d import ConvBlock

REDUCTION = 8


class SqueezeExciteFusion(nn.Module):
    """Both streams, squeezed to one number a channel, weigh each other's channels; a 1x1 convolution, BN and ELU join
    them: (n, c, f, t) and (n, d, k) -> (n, c, f, t), t a multiple of k.
    """

    def __init__(self, audio: int, video: int):
        super().__init__()
        both = audio + video
        self.audio, self.video = audio, video
        self.squeeze = nn.Linear(both, max(both // REDUCTION, 1))
        self.excite = nn.Linear(max(both // REDUCTION, 1), both)
        self.join = ConvBlock(both, audio, kernel=1)

    def weights(self, audio_ncft: Tensor, video_ndk: Tensor) -> Tensor:
        """(n, c + d) in (0, 1)."""
        squeezed = torch.cat([audio_ncft.mean((2, 3)), video_ndk.mean(2)], 1)
        return torch.sigmoid(self.excite(self.squeeze(squeezed).relu()))

    def forward(self, audio_ncft: Tensor, video_ndk: Tensor) -> Tensor:
        audio_weights, video_weights = self.weights(audio_ncft, video_ndk).split((self.audio, self.video), 1)
        video_ndk = video_ndk * video_weights[..., None]
        f, t = audio_ncft.shape[2:]
        video_ndt = video_ndk.repeat_interleave(t // video_ndk.shape[2], 2)
        video_ndft = video_ndt[:, :, None].expand(-1, -1, f, -1)
        return self.join(torch.cat([audio_ncft * audio_weights[..., None, None], video_ndft], 1))
