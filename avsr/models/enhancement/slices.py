"""Systems without memory: every slice of 200 ms by itself, the valid slices of a batch folded into one axis.

Legend: b batch, s slices, m valid slices of the whole batch, f bands, t mel frames of a slice.
"""

from torch import Tensor

from avsr.layers.masking import Packing
from avsr.models.enhancement.avse import SLICE_MEL, SLICE_VIDEO


class Slices:
    """Cuts the inputs of `AVSE.network` and joins its output. Padding costs nothing and enters no batch statistics."""

    def __init__(self, slices_b: Tensor, mel_frames: int):
        self._packing = Packing(slices_b, mel_frames // SLICE_MEL)

    def sound(self, audio_btf: Tensor) -> Tensor:
        """(B, 20 S, f) -> (m, 1, f, 20)."""
        return self._packing.pack(audio_btf.unflatten(1, (-1, SLICE_MEL))).mT.unsqueeze(1)

    def pictures(self, video_bthw: Tensor) -> Tensor:
        """(B, 5 S, h, w) -> (m, 5, h, w)."""
        return self._packing.pack(video_bthw.unflatten(1, (-1, SLICE_VIDEO)))

    def joined(self, x_m1ft: Tensor) -> Tensor:
        """(m, 1, f, 20) -> (B, 20 S, f), zero in the padding."""
        return self._packing.unpack(x_m1ft.squeeze(1).mT).flatten(1, 2)
