"""MHCA-AVCRN: audio-visual convolutional recurrent network with 2-stage multi-head cross attention.

Xu, Wang, Jia, Chen, Li: "Improving Visual Speech Enhancement Network by Learning Audio-visual Affinity with Multi-head
Attention", Interspeech 2022. Two encoders of five levels whose maps agree in shape, a fusion part at every level, an
LSTM over the deepest maps of the whole utterance, and a decoder in which the fused feature of the level gates the
decoder feature. The paper prints neither widths nor kernels: decision, see docs/decisions.md.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.conv2d import ConvBlock, DeconvBlock
from avsr.layers.masking import Packing, valid_mask
from avsr.layers.mhca import Maps, MHCAConf, TwoStageMHCA
from avsr.layers.recurrence import Memory, recur
from avsr.models.enhancement.avse import AVSE, BANDS, SLICE_MEL, SLICE_VIDEO, AVSEConf

LEVELS = 5
KERNELS = (5, 3, 3, 3, 3)
STRIDES = ((2, 2), (2, 2), (2, 1), (2, 1), (1, 1))
COLUMNS = (10, 5, 5, 5, 5)  # time steps of a slice at each level
# Each level's picture map has the height of its audio map; the width is pooled to the audio map's time steps.
POOLS = (((2, 4), (1, 2)), ((2, 2),), ((2, 1),), ((2, 1),), ())


@dataclass(frozen=True)
class MHCAAVCRNConf(AVSEConf, MHCAConf):
    channels: tuple[int, int, int, int, int] = (64, 64, 128, 128, 256)
    lstm: int = 640
    # Does the block's output replace the skip connection or join it? "gate" is the block figure's single output.
    # Not the paper's, "gated_skip": the gate is put on the fused feature, which joins the decoder feature as it is. It
    # was measured to be better (docs/mhca_study.md), so conf/systems/mhca_avcrn.yaml and its ablations have it.
    mhca_skip: Literal["gate", "gate_concat", "gated_skip"] = "gate"
    mhca_levels: tuple[int, ...] = (1, 2, 3, 4, 5)  # levels that have the block; the others a plain skip connection
    # Not the paper's: with neither balancing nor filtering there is a gate all the same, by V; it attends to nothing.
    gate_alone: bool = False
    # frames_as_channels: as in VSE, whose features the paper uses; framewise: each level's columns are true time.
    video_layout: Literal["frames_as_channels", "framewise"] = "frames_as_channels"
    conv_mode: Literal["sliced", "continuous"] = "sliced"  # continuous: no seams between slices
    bidirectional: bool = False


class VideoLevel(nn.Module):
    """Convolutions with max pooling; `forward` gives the stream for the next level."""

    def __init__(self, level: int, c_in: int, c_out: int):
        super().__init__()
        self.pools = POOLS[level] or (None,)
        self.blocks = nn.ModuleList(
            ConvBlock(c_in if i == 0 else c_out, c_out, KERNELS[level] if i == 0 else 3) for i in range(len(self.pools))
        )

    def forward(self, x_nchw: Tensor) -> Tensor:
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x_nchw = block.norm(block.conv(x_nchw))
            if pool:
                # ELU rises everywhere, so pooling before it gives the same numbers for an eighth of the exponentials.
                x_nchw = nn.functional.max_pool2d(x_nchw, pool)
            x_nchw = nn.functional.elu(x_nchw)
        return x_nchw


class Fusion(nn.Module):
    """Concatenation and two convolutions. Stride 1: with any other the result would not fit the decoder feature."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvBlock(2 * channels, channels)
        self.second = ConvBlock(channels, channels)

    def forward(self, audio_ncft: Tensor, video_ncft: Tensor, mask_nt: Tensor | None) -> Tensor:
        return self.second(self.first(torch.cat([audio_ncft, video_ncft], 1), mask_nt), mask_nt)


class MHCAAVCRN(AVSE):
    """The proposed system; `balancing` and `filtering` false give its three ablations."""

    Conf = MHCAAVCRNConf

    def __init__(self, conf: MHCAAVCRNConf):
        super().__init__(conf)
        if min(conf.channels) < 1 or conf.lstm < 1:
            raise UsageError("model.channels and model.lstm must be positive")
        self._continuous = conf.conv_mode == "continuous"
        if not {*conf.mhca_levels} <= {*range(1, LEVELS + 1)}:
            raise UsageError(f"model.mhca_levels: levels are 1 to {LEVELS}, not {list(conf.mhca_levels)}")
        block = conf.balancing or conf.filtering or conf.gate_alone
        self.gated = [block and i + 1 in conf.mhca_levels for i in range(LEVELS)]
        wide = (1, *conf.channels)
        pictures = 1 if conf.video_layout == "framewise" else SLICE_VIDEO
        self.audio = nn.ModuleList(ConvBlock(wide[i], wide[i + 1], KERNELS[i], STRIDES[i]) for i in range(LEVELS))
        video_in = (pictures, *conf.channels)
        self.video = nn.ModuleList(VideoLevel(i, video_in[i], wide[i + 1]) for i in range(LEVELS))
        self.fusion = nn.ModuleList(Fusion(c) for c in conf.channels)
        deepest = conf.channels[-1] * 5
        self.lstm = nn.LSTM(2 * deepest, conf.lstm, 2, batch_first=True, bidirectional=conf.bidirectional)
        self.embedding = nn.Linear(conf.lstm * (2 if conf.bidirectional else 1), deepest)
        self.mhca = nn.ModuleDict({str(i): TwoStageMHCA(c, conf) for i, c in enumerate(conf.channels) if self.gated[i]})
        # Without the block: the plain skip connection of a CRN. Dropping the fused feature would leave dead code.
        self.joined = [conf.mhca_skip != "gate" or not gated for gated in self.gated]
        self.decoder = nn.ModuleList(
            DeconvBlock(wide[i + 1] * (1 + self.joined[i]), wide[i], STRIDES[i], last=i == 0) for i in range(LEVELS)
        )

    def memory(self) -> Memory:
        for option, ahead in (("bidirectional", self.conf.bidirectional), ("conv_mode", self._continuous)):
            if ahead:
                value = str(getattr(self.conf, option)).lower()
                raise UsageError(
                    f"model.{option}: {value} looks ahead beyond a slice and cannot run on a stream; "
                    "train with bidirectional: false and conv_mode: sliced"
                )
        return {}

    def network(self, audio_btf: Tensor, video_bthw: Tensor, slices_b: Tensor, memory: Memory | None = None) -> Tensor:
        batch, steps, _ = audio_btf.shape
        layout = _Layout(slices_b, steps // SLICE_MEL, self._continuous)
        x_ncft = layout.fold(audio_btf.reshape(batch, -1, SLICE_MEL, BANDS).mT.unsqueeze(2))
        pictures = video_bthw.reshape(batch, -1, SLICE_VIDEO, *video_bthw.shape[2:])
        audio, fused = [], []
        video = self._watch(layout.packing.pack(pictures))
        for i in range(LEVELS):
            x_ncft = self.audio[i](x_ncft, layout.mask(COLUMNS[i]))
            audio.append(x_ncft)
            video[i] = layout.place(video[i])
            fused.append(self.fusion[i](x_ncft, video[i], layout.mask(COLUMNS[i])))
        y_ncft = self._remember(torch.cat([audio[-1], video[-1]], 1), layout, memory)
        for i in reversed(range(LEVELS)):
            y_ncft = self._skip(i, fused[i], y_ncft, layout)
            columns = COLUMNS[i - 1] if i else SLICE_MEL
            y_ncft = self.decoder[i](y_ncft, layout.mask(columns))
        return layout.unfold(y_ncft).squeeze(2).mT.reshape(batch, steps, BANDS)

    @torch.no_grad()
    def maps(self, noisy_btf: Tensor, video: Tensor, frames_b: Tensor) -> list[Maps]:
        """The attention maps and gates of the levels that have the block, for figures."""
        found: dict[nn.Module, Maps] = {}

        def keep(block: TwoStageMHCA, args: tuple, _: Tensor) -> None:
            found[block] = block.maps(*args)

        blocks = list(self.mhca.values())
        hooks = [block.register_forward_hook(keep) for block in blocks]
        try:
            self.estimate(noisy_btf, video, frames_b)
        finally:
            for hook in hooks:
                hook.remove()
        return [found[block] for block in blocks]

    def _watch(self, pictures_mthw: Tensor) -> list[Tensor]:
        """Five picture maps (m, c, f, t) of the valid slices (m, 5, 80, 80)."""
        framewise = self.conf.video_layout == "framewise"
        slices = len(pictures_mthw)
        x_nchw = pictures_mthw.flatten(0, 1).unsqueeze(1) if framewise else pictures_mthw
        found = []
        for i in range(LEVELS):
            x_nchw = self.video[i](x_nchw)
            if not framewise:
                found.append(x_nchw)
                continue
            # Each picture's width is averaged out; the pictures of a slice stand side by side as time.
            time_mcft = x_nchw.mean(3).unflatten(0, (slices, SLICE_VIDEO)).permute(0, 2, 3, 1)
            found.append(time_mcft.repeat_interleave(COLUMNS[i] // SLICE_VIDEO, 3))
        return found

    def _remember(self, deep_ncft: Tensor, layout: "_Layout", memory: Memory | None) -> Tensor:
        """Two LSTM layers over all 25 Hz steps of the utterance: (n, 2 c, 5, t) -> (n, c, 5, t)."""
        deep_bscft = layout.unfold(deep_ncft)
        batch, slices, c, f, t = deep_bscft.shape
        x_btd = deep_bscft.permute(0, 1, 4, 2, 3).reshape(batch, slices * t, c * f)
        h_btd = recur(self.lstm, x_btd, layout.slices_b * SLICE_VIDEO, memory)
        y_bscft = self.embedding(h_btd).reshape(batch, slices, t, c // 2, f).permute(0, 1, 3, 4, 2)
        return layout.fold(y_bscft)

    def _skip(self, level: int, fused_ncft: Tensor, decoded_ncft: Tensor, layout: "_Layout") -> Tensor:
        if self.gated[level]:
            how = (layout.slices_along_t, layout.mask(COLUMNS[level]))
            gated_skip = self.conf.mhca_skip == "gated_skip"
            out_ncft = self.mhca[str(level)](fused_ncft, decoded_ncft, *how, of_fused=gated_skip)
            decoded_ncft, fused_ncft = (decoded_ncft, out_ncft) if gated_skip else (out_ncft, fused_ncft)
        return torch.cat([decoded_ncft, fused_ncft], 1) if self.joined[level] else decoded_ncft


class _Layout:
    """How the slices of a batch lie in the tensors that the convolutions see.

    Sliced: the valid slices of all utterances, folded into the batch, so that padding costs nothing and stays out of
    the batch statistics. Continuous: one utterance a row, its slices side by side along t, padding masked.
    """

    def __init__(self, slices_b: Tensor, slices: int, continuous: bool):
        self.slices_b, self.batch, self.slices, self.continuous = slices_b, len(slices_b), slices, continuous
        self.packing = Packing(slices_b, slices)
        self.full = self.packing.index_n is None  # every slice is valid
        self.slices_along_t = slices if continuous else 1

    def fold(self, x_bscft: Tensor) -> Tensor:
        """(B, S, c, f, t) -> what the convolutions see: (m, c, f, t), or (B, c, f, S t) with zeros for padding."""
        if not self.continuous:
            return self.packing.pack(x_bscft)
        if not self.full:
            x_bscft = x_bscft * valid_mask(self.slices_b, self.slices)[:, :, None, None, None]
        return x_bscft.permute(0, 2, 3, 1, 4).flatten(3)

    def unfold(self, x_ncft: Tensor) -> Tensor:
        """Back to (B, S, c, f, t)."""
        if not self.continuous:
            return self.packing.unpack(x_ncft)
        return x_ncft.unflatten(3, (self.slices, -1)).permute(0, 3, 1, 2, 4)

    def place(self, x_mcft: Tensor) -> Tensor:
        """Maps of the valid slices (m, c, f, t) -> what the convolutions see."""
        return self.fold(self.packing.unpack(x_mcft)) if self.continuous else x_mcft

    def mask(self, columns: int) -> Tensor | None:
        """Valid columns (B, S * columns) of a continuous batch; None where nothing has to be left out."""
        if self.full or not self.continuous:
            return None
        return valid_mask(self.slices_b * columns, self.slices * columns)
