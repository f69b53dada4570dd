"""The 2-stage multi-head cross attention block of MHCA-AVCRN (Xu et al., Interspeech 2022, section 2.2).

Stage 1 (audio-visual balancing, eq. 1-2) attends among the channels of the fused feature, stage 2 (feature filtering,
eq. 3-4) between the decoder feature and the result; a sigmoid of the outcome gates the decoder feature.
Eq. 2 and 4 are printed with V_j and G_j, which the sum over i would leave unweighted: V_i and G_i are meant
(the text multiplies X^T with V), and are used here.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.conv2d import ConvBlock


@dataclass(frozen=True)
class MHCAConf:
    """Options of the block; decisions where the paper is silent: see docs/decisions.md."""

    heads: int = 5  # 1 = the printed equations
    head_axis: Literal["frequency", "channel_groups"] = "frequency"
    stage2: Literal["channel", "bin"] = "channel"
    residual: bool = True  # false with alpha0 = beta0 = 0 is what the paper prints: a dead point
    scale: bool = True  # false = printed
    alpha0: float = 0.0
    beta0: float = 0.0
    balancing: bool = True  # false: "w/o audio-visual balancing part"
    filtering: bool = True  # false: "w/o feature filtering part"


class Maps(NamedTuple):
    """What the block attends to: `balance` X and `filter` Y (m, h, i, j), `gate` (n, c, f, t).

    m slices, h heads, i the source and j the target (channels; bins for Y with stage2=bin); the sum over i is one.
    """

    balance: Tensor | None
    filter: Tensor | None
    gate: Tensor


def attend(query_hid: Tensor, value_hid: Tensor, scale: bool) -> tuple[Tensor, Tensor]:
    """Tokens i on tokens j, vectors of length d: x_ij = softmax over i of query_i . value_j (MHCA-AVCRN eq. 1 and 3),
    out_j = sum_i x_ij value_i (eq. 2 and 4 with the index mended).

    Returns out (..., j, d) and the map x (..., i, j).
    """
    if scale:
        # Unscaled products of hundreds of unit-variance terms make the softmax one-hot from the start.
        query_hid = query_hid / math.sqrt(query_hid.shape[-1])
    logits_hij = query_hid @ value_hid.transpose(-1, -2)
    map_hij = torch.softmax(logits_hij.float(), dim=-2).to(value_hid.dtype)
    return map_hij.transpose(-1, -2) @ value_hid, map_hij


class TwoStageMHCA(nn.Module):
    """Gate of the decoder feature by the fused feature: two (n, c, f, t) -> (n, c, f, t).

    With `of_fused` the gate is put on the fused feature instead, which the paper does not do.
    """

    def __init__(self, channels: int, conf: MHCAConf):
        super().__init__()
        if conf.head_axis == "channel_groups" and channels % conf.heads:
            raise UsageError(f"heads: {conf.heads} does not divide {channels} channels (head_axis=channel_groups)")
        self.conf = conf
        self.value = ConvBlock(channels, channels)
        if conf.balancing:
            self.key = ConvBlock(channels, channels)
            self.alpha = nn.Parameter(torch.tensor(float(conf.alpha0)))
        if conf.filtering:
            self.query = ConvBlock(channels, channels)
            self.beta = nn.Parameter(torch.tensor(float(conf.beta0)))
        self.gate = nn.ConvTranspose2d(channels, channels, 3, padding=1)
        # Five gates in series: starting at sigmoid(1) = 0.73 instead of 0.5 keeps the signal from fading.
        nn.init.normal_(self.gate.weight, std=0.02)
        nn.init.ones_(self.gate.bias)

    def forward(
        self,
        fused_ncft: Tensor,
        decoded_ncft: Tensor,
        slices: int = 1,
        mask_nt: Tensor | None = None,
        of_fused: bool = False,
    ) -> Tensor:
        gate_ncft = self.maps(fused_ncft, decoded_ncft, slices, mask_nt).gate
        return gate_ncft * (fused_ncft if of_fused else decoded_ncft)

    def maps(self, fused_ncft: Tensor, decoded_ncft: Tensor, slices: int = 1, mask_nt: Tensor | None = None) -> Maps:
        """The attention maps and the gate. `slices`: how many slices lie along t (attention never crosses them)."""
        conf, balance, filtering = self.conf, None, None
        value_mhcd = self._split(self.value(fused_ncft, mask_nt), slices)
        result_mhcd = value_mhcd
        if conf.balancing:
            key_mhcd = self._split(self.key(fused_ncft, mask_nt), slices)
            attended_mhcd, balance = attend(key_mhcd, value_mhcd, conf.scale)
            result_mhcd = self.alpha * attended_mhcd + (value_mhcd if conf.residual else 0)
        if conf.filtering:
            query_mhcd = self._split(self.query(decoded_ncft, mask_nt), slices)
            attended_mhcd, filtering = self._filter(query_mhcd, result_mhcd)
            result_mhcd = self.beta * attended_mhcd + (result_mhcd if conf.residual else 0)
        gate_ncft = torch.sigmoid(self.gate(self._merge(result_mhcd, fused_ncft.shape, slices)))
        return Maps(balance, filtering, gate_ncft)

    def _filter(self, query_mhcd: Tensor, balanced_mhcd: Tensor) -> tuple[Tensor, Tensor]:
        if self.conf.stage2 == "channel":
            return attend(query_mhcd, balanced_mhcd, self.conf.scale)
        # The text calls y "i-th bin on the j-th bin": positions of a head as tokens, their channels as vectors.
        attended_mhdc, map_mhij = attend(query_mhcd.mT, balanced_mhcd.mT, self.conf.scale)
        return attended_mhdc.mT, map_mhij

    def _split(self, x_ncft: Tensor, slices: int) -> Tensor:
        """(n, c, f, slices * t) -> (m = n * slices, heads, channels of a head, positions of a head)."""
        n, c, f, t = x_ncft.shape
        heads, groups = self._heads(f)
        x = x_ncft.reshape(n, groups, c // groups, heads, f // heads, slices, t // slices)
        return x.permute(0, 5, 1, 3, 2, 4, 6).reshape(n * slices, groups * heads, c // groups, -1)

    def _merge(self, x_mhcd: Tensor, shape: torch.Size, slices: int) -> Tensor:
        n, c, f, t = shape
        heads, groups = self._heads(f)
        x = x_mhcd.reshape(n, slices, groups, heads, c // groups, f // heads, t // slices)
        return x.permute(0, 2, 4, 3, 5, 1, 6).reshape(n, c, f, t)

    def _heads(self, bins: int) -> tuple[int, int]:
        if self.conf.head_axis == "channel_groups":
            return 1, self.conf.heads
        if bins % self.conf.heads:
            raise UsageError(f"heads: {self.conf.heads} does not divide {bins} frequency bins (head_axis=frequency)")
        return self.conf.heads, 1
