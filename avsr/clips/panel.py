"""What a network saw and heard of a clip, in one picture: mouths, noisy and enhanced sound, the gain between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsr.models.enhancement.avse import SLICE_MEL
from avsr.scoring import figures
from avsr.streaming import Stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS = 10.0  # of a longer clip its beginning is shown
MOUTHS = 12  # pictures, evenly spaced
LIMIT = 400_000  # bytes


@dataclass
class Kept:
    """The beginning of a stream: mel magnitudes (20, 80) in and out, a picture of each slice."""

    noisy: list[np.ndarray] = field(default_factory=list)
    clean: list[np.ndarray] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)


class KeepingStream(Stream):
    """A stream that remembers its first seconds, to be looked at."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.kept = Kept()

    def estimate(self, mel_tf: np.ndarray, pictures: np.ndarray | None) -> np.ndarray:
        """As `Stream.estimate`."""
        estimate_tf = super().estimate(mel_tf, pictures)
        if len(self.kept.noisy) * SLICE_MEL < 100 * SECONDS:
            self.kept.noisy.append(mel_tf)
            self.kept.clean.append(estimate_tf)
            if pictures is not None:
                self.kept.pictures.append(pictures[len(pictures) // 2])
        return estimate_tf


def draw(kept: Kept, title: str, text: str = "") -> "Figure":
    """Mouths where there are any, then log-mel of the sound as it is and, where there is one, enhanced, on one scale,
    and the gain; `text` above."""
    panels = _panels(kept)
    rows = len(panels) + bool(kept.pictures)
    figure, axes = figures.new_figure(8.0, 0.6 + 1.5 * rows + 0.3 * bool(text), rows)
    if kept.pictures:
        _mouths(axes[0, 0], kept.pictures)
    for axis, (name, panel_tf, low, high) in zip(axes[rows - len(panels) :, 0], panels, strict=True):
        picture = axis.imshow(panel_tf.T, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high,
                              extent=(0, len(panel_tf) / 100, 0, panel_tf.shape[1]), interpolation="nearest")
        axis.set_title(name, fontsize=10, loc="left", pad=3)
        axis.tick_params(labelsize=8)
        figure.colorbar(picture, ax=axis, pad=0.01).set_label("0 to 1" if name == "gain" else "dB", fontsize=8)
    if panels:
        axes[-1, 0].set_xlabel("time in s", fontsize=9)
        figure.supylabel("mel band", fontsize=9)
    figure.suptitle("\n".join([title, *([f"“{text}”"] if text else [])]), fontsize=10)
    return figure


def _panels(kept: Kept) -> list[tuple[str, np.ndarray, float, float]]:
    """Name, values (frames, bands), ends of the scale."""
    found = [("as it is", kept.noisy), ("enhanced", kept.clean)]
    magnitudes = [(name, np.concatenate(pieces)) for name, pieces in found if pieces]
    levels = [(name, figures.decibels(one_tf)) for name, one_tf in magnitudes]
    top = max((float(level_tf.max()) for _, level_tf in levels), default=0.0)
    panels = [(name, level_tf, top - 60, top) for name, level_tf in levels]
    if len(magnitudes) == 2:
        (_, noisy_tf), (_, clean_tf) = magnitudes
        panels.append(("gain", np.clip(clean_tf / np.maximum(noisy_tf, 1e-8), 0, 1), 0.0, 1.0))
    return panels


def _mouths(axis, pictures: Sequence[np.ndarray]) -> None:
    chosen = np.linspace(0, len(pictures) - 1, min(MOUTHS, len(pictures))).round().astype(int)
    axis.imshow(np.concatenate([pictures[k] for k in chosen], axis=1), cmap="gray", vmin=0, vmax=255)
    axis.set_title("what it sees", fontsize=10, loc="left", pad=3)
    axis.set_axis_off()


def save(figure: "Figure", path: Path) -> None:
    """Writes the picture as PNG."""
    figures.save(figure, path, LIMIT)
