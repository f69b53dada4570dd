"""Enhancement of a stream, slice by slice of 200 ms, with what the networks remember carried along.

The same chain as for whole utterances: mel magnitudes, network, gain on the mixture's spectrum (MHCA-AVCRN sections 3.1
to 3.3). Given the pictures and the level factor the samples are those of the whole utterance. For live use both are
causal: the level is a running one (RunningLevel), pictures come from avsr.media.live_crops.LiveMouth, which waits for
none that is later.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsr.errors import UsageError, UtteranceError
from avsr.features.frames import SAMPLE_RATE, SAMPLES_PER_PICTURE
from avsr.features.mel import mel_magnitude
from avsr.features.stft import WINDOW
from avsr.features.streaming import LEAD, StreamingGain, StreamingSTFT
from avsr.models.enhancement.avse import AVSE, PICTURES, SLICE_MEL, SLICE_VIDEO
from avsr.noise.mixing import LEVEL, SILENCE
from avsr.training.checkpoint import load_model

SLICE = SLICE_VIDEO * SAMPLES_PER_PICTURE  # samples
MEMORY = 10.0  # s after which a sound has lost most of its weight in the running level


class RunningLevel:
    """The factor to the common level of mixtures, of what was heard so far; older sound fades."""

    def __init__(self) -> None:
        self._energy, self._weight = 0.0, 0.0

    def __call__(self, wave_n: np.ndarray) -> float:
        """The next samples -> the factor that brings the running RMS to 0.05."""
        kept = math.exp(-len(wave_n) / (MEMORY * SAMPLE_RATE))
        self._energy = kept * self._energy + float(np.sum(np.square(wave_n, dtype=np.float64)))
        self._weight = kept * self._weight + len(wave_n)
        return LEVEL / math.sqrt(max(self._energy / self._weight, SILENCE))


class Stream:
    """One talker's stream: `push` slice after slice, then `finish` with the last one.

    Sound leads: the first piece is `LEAD` samples longer than a slice, for the last frame of a slice reaches into the
    next, and the last piece is so much shorter. `samples` says how many come next.

    Args:
        model: an enhancement system with a mask head, in eval mode.
        factor: from the sound to the common level (RMS 0.05 of the utterance); None: a running one.
        recon: how magnitudes become a wave; `gain` alone: of a gain on the mixture the level need not be undone.
    Raises UsageError: a model that cannot run on a stream, another head or reconstruction.
    """

    # Samples from one going in to the same coming out, at the latest, without the time for computing: a slice, LEAD for
    # its last frame, and half a window that the next slice's frames overlap. Pictures add none: those of a slice are
    # there LEAD before its sound.
    delay = SLICE + LEAD + WINDOW // 2

    def __init__(self, model: Any, factor: float | None = None, recon: str = "gain"):
        if not isinstance(model, AVSE):
            raise UsageError(f"{type(model).__name__} cannot run on a stream; MHCA-AVCRN, audio-only CRN and VSE can")
        if recon != "gain":
            raise UsageError(f"reconstruction {recon} cannot run on a stream; take gain")
        self._memory = model.memory()
        if model.conf.head != "mask":
            raise UsageError(f"a model with head {model.conf.head} cannot run on a stream; train one with head: mask")
        self.model = model
        self._factor: Callable[[np.ndarray], float] = RunningLevel() if factor is None else lambda wave_n: factor
        # As whole utterances: networks hear single precision, the way back takes double.
        self._heard, self._spectrum = StreamingSTFT(np.float32), StreamingSTFT(np.float64)
        self._gain = StreamingGain(model.mel_set)
        self._pieces, self._ended = 0, False

    @property
    def samples(self) -> int:
        """How many samples the next `push` takes."""
        return SLICE if self._pieces else SLICE + LEAD

    def push(self, wave_n: np.ndarray, pictures: np.ndarray | None = None) -> np.ndarray:
        """The next slice -> enhanced samples (N,) float32: 2880 at first, then 3200.

        wave_n: (`samples`,) float at 16 kHz; pictures: (5, 80, 80) uint8, where the model sees any.
        Raises UtteranceError: another length, samples that are not finite, a stream that has ended.
        """
        wave_n = self._checked(wave_n, pictures, self.samples)
        self._pieces += 1
        mel_tf, spectrum_tf, factor = self.hear(wave_n)
        return self.invert(spectrum_tf, self.estimate(mel_tf, pictures), factor)

    def finish(self, wave_n: np.ndarray, pictures: np.ndarray | None = None) -> np.ndarray:
        """The last slice, of `samples` - LEAD samples, as `push` -> all samples that are still to come."""
        wave_n = self._checked(wave_n, pictures, self.samples - LEAD)
        self._ended = True
        mel_tf, spectrum_tf, factor = self.hear(wave_n, last=True)
        out_n = self.invert(spectrum_tf[:-1], self.estimate(mel_tf, pictures), factor)
        return np.concatenate([out_n, self._gain.finish(spectrum_tf[-1:])])

    def hear(self, wave_n: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
        """Features of a piece: mel magnitudes at the common level (20, 80), the spectrum as it is (20, 321), the
        factor between them. The last spectrum has the surplus frame."""
        factor = self._factor(wave_n)
        heard_tf, spectrum_tf = self._heard.push(wave_n), self._spectrum.push(wave_n)
        if last:
            heard_tf = np.concatenate([heard_tf, self._heard.finish()])
            spectrum_tf = np.concatenate([spectrum_tf, self._spectrum.finish()])
        mel_tf = mel_magnitude(np.abs(heard_tf[:SLICE_MEL]), self.model.mel_set)
        return mel_tf * np.float32(factor), spectrum_tf, factor

    def estimate(self, mel_tf: np.ndarray, pictures: np.ndarray | None) -> np.ndarray:
        """The network on a slice: noisy to clean mel magnitudes (20, 80)."""
        device = self.model.mel_mean.device
        video = None
        if self.model.video_input:
            video = torch.from_numpy(np.ascontiguousarray(pictures))[None].to(device)
        noisy_btf, frames_b = torch.from_numpy(mel_tf)[None].to(device), torch.tensor([SLICE_VIDEO], device=device)
        with torch.inference_mode():
            return self.model.estimate(noisy_btf, video, frames_b, self._memory)[0].cpu().numpy()

    def invert(self, spectrum_tf: np.ndarray, estimate_tf: np.ndarray, factor: float) -> np.ndarray:
        """The way back of a slice: the samples that it completes, as loud as the mixture."""
        return self._gain.push(spectrum_tf, estimate_tf, factor)

    def _checked(self, wave_n: np.ndarray, pictures: np.ndarray | None, samples: int) -> np.ndarray:
        """The samples as float32."""
        if self._ended:
            raise UtteranceError("this stream has ended; start another one")
        if np.shape(wave_n) != (samples,):
            raise UtteranceError(f"a slice of shape {np.shape(wave_n)}: this one takes {samples} samples")
        if not np.isfinite(wave_n).all():
            raise UtteranceError("a slice with samples that are not finite, which would stay in the memory")
        if self.model.video_input:
            side = PICTURES[self.model.video_input]
            found = f"{np.shape(pictures)} of {getattr(pictures, 'dtype', None)}"
            if found != f"{(SLICE_VIDEO, side, side)} of uint8":
                raise UtteranceError(f"pictures {found}: a slice takes {(SLICE_VIDEO, side, side)} of uint8")
        return np.asarray(wave_n, np.float32)


def open_stream(checkpoint: Path, factor: float | None = None, recon: str = "gain", device: str = "cpu") -> Stream:
    """A stream through the model of a checkpoint; see Stream. AvsrError with one line when it cannot be used."""
    model, _ = load_model(checkpoint, device)
    try:
        return Stream(model, factor, recon)
    except UsageError as error:
        raise UsageError(f"{checkpoint}: {error}") from None


def run_through(stream: Stream, wave_n: np.ndarray, pictures: np.ndarray | None = None) -> np.ndarray:
    """A whole clip through a new stream: (3200 S,) and (5 S, 80, 80) -> (3200 S,) float32.

    Raises UtteranceError when the sound is not whole slices, or the pictures are not as long.
    """
    slices = len(wave_n) // SLICE
    if not slices or len(wave_n) % SLICE or (pictures is not None and len(pictures) != slices * SLICE_VIDEO):
        seen = "" if pictures is None else f" and {len(pictures)} pictures"
        raise UtteranceError(f"{len(wave_n)} samples{seen}: cut both to whole slices ({SLICE} and {SLICE_VIDEO} each)")
    found, start = [], 0
    for s in range(slices):
        shown = None if pictures is None else pictures[s * SLICE_VIDEO : (s + 1) * SLICE_VIDEO]
        take, samples = (stream.push, stream.samples) if s < slices - 1 else (stream.finish, stream.samples - LEAD)
        found.append(take(wave_n[start : start + samples], shown))
        start += samples
    return np.concatenate(found)
