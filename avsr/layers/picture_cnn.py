"""What a mouth picture looks like, in one vector: strided convolutions and an average over the picture.

Where an original used embeddings of a face recogniser, or does not say what it saw by, this is learnt in their place.
"""

from torch import Tensor, nn

from avsr.layers.conv2d import ConvBlock
from avsr.layers.masking import Packing


class PictureCNN(nn.Module):
    """Convolutions of stride 2, the first 5x5 and the others 3x3, batch norm, ELU, then the average:
    pictures (b, t, height, width) -> (b, t, last of `channels`), each by itself; zero in the padding.
    """

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        wide = (1, *channels)
        blocks = (ConvBlock(wide[i], wide[i + 1], 3 if i else 5, (2, 2)) for i in range(len(channels)))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, video_bthw: Tensor, lengths_b: Tensor) -> Tensor:
        """`lengths_b`: real pictures of each utterance; the others stay out of the batch statistics."""
        packing = Packing(lengths_b, video_bthw.shape[1])
        x_nchw = self.blocks(packing.pack(video_bthw).unsqueeze(1))
        return packing.unpack(x_nchw.mean((2, 3)))
