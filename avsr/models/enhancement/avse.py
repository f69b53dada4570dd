"""What every system of the enhancement tables shares: features, normalisation, slices, output head, loss.

Speech at 16 kHz as 80-band mel magnitudes (Slaney, 100 frames a second), pictures of the mouth at 25 frames a second,
both cut into slices of 200 ms: 20 mel frames and 5 pictures (MHCA-AVCRN sections 3.2, 3.3).
A system is a subclass with a `network`; it is trained and used through `loss` and `estimate`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avsr.errors import UsageError, UtteranceError
from avsr.features.mel import bands
from avsr.layers.masking import valid_mask
from avsr.layers.recurrence import Memory

SLICE_VIDEO = 5  # pictures of a slice
SLICE_MEL = 20  # mel frames of a slice
BANDS = 80
PICTURES = {"crop80": 80, "crop128": 128}  # px of a side
FLOOR = 1e-5  # of the mel magnitude, at a mixture RMS of 0.05; decision: see docs/decisions.md
STD_FLOOR = 1e-2


@dataclass(frozen=True)
class AVSEConf:
    # The paper does not say what the network's output means. "direct" (regress the clean log-mel) is the literal one.
    head: Literal["mask", "direct", "residual"] = "mask"


def log_mel(mel: Tensor) -> Tensor:
    """Mel magnitude to dB, floored: 20 log10(max(M, 1e-5)). A fixed floor, so that padding and noise do not move it."""
    return 20 * torch.log10(mel.float().clamp(min=FLOOR))


class AVSE(nn.Module):
    """An enhancement system on mel magnitudes and mouth pictures.

    Subclasses set `video_input` and define `network(audio_btf, video_bthw, slices_b)`: the normalised noisy log-mel
    (B, 20 S, 80), the normalised pictures (B, 5 S, 80, 80) or None, and the valid slices of each utterance
    -> (B, 20 S, 80). Both inputs are zero after the valid slices.

    A system that can run on a stream also defines `memory()`, and its network takes one as a fourth argument.

    What an original publication does otherwise is an attribute: `mel_set`, `video_input` (crop128: of 128 px) and the
    two below, set before `__init__`.
    """

    mel_set = "mel_slaney"
    frame_multiple = SLICE_VIDEO
    video_input: str | None = "crop80"
    normalised = True  # whether the sound is; false: mean 0 and deviation 1, so that the loss is that of dB
    magnitudes = False  # true: magnitudes as they are in the place of log-mel, the head is a mask or direct

    def __init__(self, conf: AVSEConf):
        super().__init__()
        self.conf = conf
        self.bands = bands(self.mel_set)
        self.register_buffer("mel_mean", torch.zeros(self.bands))
        self.register_buffer("mel_std", torch.ones(self.bands))
        if self.video_input:
            size = PICTURES[self.video_input]
            self.register_buffer("picture_mean", torch.zeros(size, size))
            self.register_buffer("picture_std", torch.ones(size, size))

    def network(self, audio_btf: Tensor, video_bthw: Tensor | None, slices_b: Tensor) -> Tensor:
        raise NotImplementedError

    def memory(self) -> Memory:
        """What a new stream starts with, for `estimate`. UsageError: the system, or an option of it, looks ahead."""
        raise UsageError(f"{type(self).__name__} cannot run on a stream; MHCA-AVCRN, audio-only CRN and VSE can")

    def loss(
        self, noisy_btf: Tensor, clean_btf: Tensor, video: Tensor | None, frames_b: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Squared error of the normalised log-mel, summed over the valid slices, and the number of its cells.

        noisy_btf, clean_btf: linear mel magnitudes (B, 4 T, 80); video: uint8 pictures (B, T, 80, 80) or None;
        frames_b: valid video frames. Raises UtteranceError when an utterance is shorter than a slice.
        """
        noisy_btf, video, slices_b = self._whole_slices(noisy_btf, video, frames_b)
        clean_btf = clean_btf[:, : noisy_btf.shape[1]]
        out_btf = self._output(self._domain(noisy_btf), video, slices_b)
        valid_bt1 = valid_mask(slices_b * SLICE_MEL, noisy_btf.shape[1])[..., None]
        # where() and not a product: a padded cell must not matter even if it is not finite.
        cells_btf = torch.where(valid_bt1, self._cells(out_btf, noisy_btf, clean_btf, valid_bt1), 0)
        return cells_btf.sum(), slices_b.sum() * (SLICE_MEL * self.bands)

    @torch.no_grad()
    def estimate(
        self, noisy_btf: Tensor, video: Tensor | None, frames_b: Tensor, memory: Memory | None = None
    ) -> Tensor:
        """Clean mel magnitude (B, 4 T, 80) of the noisy one (B, 4 T, 80).

        Only whole slices are enhanced: the last T mod 5 video frames of an utterance pass through noisy, and so does
        padding. With a `memory` (from `memory()`, which it changes) the inputs are the next whole slices of a stream,
        without padding. Raises UtteranceError when an utterance is shorter than a slice.
        """
        whole_btf, video, slices_b = self._whole_slices(noisy_btf, video, frames_b)
        noisy_db = self._domain(whole_btf)
        out_btf = self._chosen(self._output(noisy_db, video, slices_b, memory))
        if self.conf.head == "mask":
            clean_btf = self._gain(out_btf) * whole_btf  # exact below the floor too
        else:
            clean_btf = self._linear(self._head(out_btf, noisy_db))
        estimate_btf = noisy_btf.clone().float()
        valid_bt1 = valid_mask(slices_b * SLICE_MEL, whole_btf.shape[1])[..., None]
        estimate_btf[:, : whole_btf.shape[1]] = torch.where(valid_bt1, clean_btf, whole_btf.float())
        return estimate_btf

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[Mapping]) -> None:
        """Mean and standard deviation of each mel band of noisy training mixtures, and of each picture element.

        batches: mappings with `noisy_mel` (B, 4 T, 80), `frames` (B,) and, for a system that sees, its pictures
        (`crop80`: (B, T, 80, 80) uint8). The clean target is normalised with the same numbers, so that its error has
        one unit.
        """
        mel, picture = _Moments(), _Moments()
        for batch in batches:
            frames_b = batch["frames"]
            if self.normalised:
                mel.add(self._domain(batch["noisy_mel"])[valid_mask(4 * frames_b, batch["noisy_mel"].shape[1])])
            if self.video_input:
                crops_bthw = batch[self.video_input]
                picture.add(crops_bthw[valid_mask(frames_b, crops_bthw.shape[1])].float() / 255)
        if self.normalised:
            self._store("mel", mel)
        if self.video_input:
            self._store("picture", picture)

    def _store(self, name: str, moments: "_Moments") -> None:
        mean, std = moments.result()
        getattr(self, f"{name}_mean").copy_(mean)
        getattr(self, f"{name}_std").copy_(std.clamp(min=STD_FLOOR))

    def _whole_slices(
        self, noisy_btf: Tensor, video: Tensor | None, frames_b: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """The inputs cut to whole slices, and the slices of each utterance."""
        if int(frames_b.min()) < SLICE_VIDEO:
            frames = int(frames_b.min())
            raise UtteranceError(f"{frames} video frames: this system needs at least {SLICE_VIDEO} (a slice of 200 ms)")
        slices_b = (frames_b // SLICE_VIDEO).to(noisy_btf.device)
        most = int(slices_b.max())
        video = None if video is None else video[:, : most * SLICE_VIDEO]
        return noisy_btf[:, : most * SLICE_MEL], video, slices_b

    def _output(self, noisy_db: Tensor, video: Tensor | None, slices_b: Tensor, memory: Memory | None = None) -> Tensor:
        """The network's output for the noisy log-mel in dB: both inputs normalised, and zero where they are padding."""
        audio_btf = (noisy_db - self.mel_mean) / self.mel_std
        audio_btf = audio_btf * valid_mask(slices_b * SLICE_MEL, audio_btf.shape[1])[..., None]
        video_bthw = None if video is None else self._pictures(video, slices_b)
        carried = () if memory is None else (memory,)  # only networks that stream take one
        return self.network(audio_btf, video_bthw, slices_b, *carried).float()

    def _pictures(self, video: Tensor, slices_b: Tensor) -> Tensor:
        """Normalised pictures, zero where they are padding."""
        # (x / 255 - mean) / std in one pass: pictures are most of the input
        video = torch.addcmul(-self.picture_mean / self.picture_std, video.float(), 1 / (255 * self.picture_std))
        video *= valid_mask(slices_b * SLICE_VIDEO, video.shape[1])[..., None, None]
        return video

    def _chosen(self, out_btf: Tensor) -> Tensor:
        """What of the network's output is the estimate: here all."""
        return out_btf

    def _cells(self, out_btf: Tensor, noisy_btf: Tensor, clean_btf: Tensor, valid_bt1: Tensor) -> Tensor:
        """The loss of each cell, of linear magnitudes; `valid_bt1` says which are real."""
        error_btf = (self._head(out_btf, self._domain(noisy_btf)) - self._domain(clean_btf)) / self.mel_std
        return error_btf.square()

    def _domain(self, mel_btf: Tensor) -> Tensor:
        """What the network hears, before normalisation, and what its error is taken in, of linear magnitudes."""
        return mel_btf.float() if self.magnitudes else log_mel(mel_btf)

    def _linear(self, heard_btf: Tensor) -> Tensor:
        """The linear magnitudes of what `_domain` gives (above the floor of dB)."""
        return heard_btf if self.magnitudes else 10 ** (heard_btf / 20)

    def _head(self, out_btf: Tensor, noisy_db: Tensor) -> Tensor:
        """The estimate of the clean log-mel in dB; of `magnitudes` that of the clean ones."""
        if self.conf.head == "mask":
            if self.magnitudes:
                return self._gain(out_btf) * noisy_db
            return (noisy_db + self._gain_db(out_btf)).clamp(min=20 * math.log10(FLOOR))
        if self.conf.head == "residual":
            return noisy_db + out_btf * self.mel_std
        return out_btf * self.mel_std + self.mel_mean

    def _gain(self, out_btf: Tensor) -> Tensor:
        """The mask of a mask head."""
        return torch.sigmoid(out_btf)

    def _gain_db(self, out_btf: Tensor) -> Tensor:
        return nn.functional.logsigmoid(out_btf) * (20 / math.log(10))


class _Moments:
    """Running sums in float64 of rows (m, ...): mean and standard deviation of each column."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def add(self, rows: Tensor) -> None:
        # Row by row conversion would be slow and a whole batch in float64 large: chunks.
        for chunk in rows.split(1024):
            wide = chunk.double()
            self.total = self.total + wide.sum(0)
            self.squares = self.squares + wide.square().sum(0)
        self.count += len(rows)

    def result(self) -> tuple[Tensor, Tensor]:
        if not self.count:
            raise ValueError("fit_statistics: no batches")
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0).sqrt()
