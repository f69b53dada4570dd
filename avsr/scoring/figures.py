"""Figures of a results page. Functions take arrays; `save` writes a small PNG with the same bytes for the same arrays.

Colours are those of Okabe and Ito (lines) and cividis (maps), which people with any colour vision can tell apart; lines
differ in marker and dash too.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsr.errors import AvsrError
from avsr.storage.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = "osD^vP*X"
DASHES = ("-", "--", "-.", ":")
LIMIT = 150_000  # bytes of a published figure


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple["Figure", np.ndarray]:
    """A figure of so many inches and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: "Figure", path: Path, limit: int = LIMIT) -> None:
    """Writes a PNG of at most `limit` bytes, atomically: 256 colours, coarser pixels until it is small enough.

    Holds no date and no version, so the same arrays give the same bytes. Raises AvsrError when even 40 dots an inch are
    too large.
    """
    from PIL import Image

    for dpi in (110, 95, 80, 65, 50, 40):
        figure.set_dpi(dpi)
        figure.canvas.draw()
        picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
        data = io.BytesIO()
        picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
        if data.tell() <= limit:
            with atomic_path(Path(path)) as temporary:
                temporary.write_bytes(data.getvalue())
            return
    raise AvsrError(f"{path}: the figure is larger than {limit} bytes; give it fewer panels")


def decibels(magnitude_tf: np.ndarray, floor: float = 1e-5) -> np.ndarray:
    """20 log10 of magnitudes, from `floor` on."""
    return 20.0 * np.log10(np.maximum(magnitude_tf, floor))


def spectrogram_panels(panels: Sequence[tuple[str, np.ndarray]], hop_s: float = 0.01, span_db: float = 60.0,
                       boxes: Sequence[tuple[float, float, float, float]] = (),
                       bin_hz: float | None = None) -> "Figure":
    """Magnitudes (frames, bins), one under another, all on one dB scale: its top is the loudest cell of all panels.

    `panels` holds (title, linear magnitudes) in the order clean, noisy, systems. `boxes` are dotted frames (start s,
    end s, lowest, highest on the frequency axis) around details, as in Figure 3 of MHCA-AVCRN. The axis counts mel
    bands, or shows kHz where `bin_hz`, the width of a linear bin, is given (25 Hz for the STFT of both papers).
    """
    from matplotlib.patches import Rectangle

    levels = [decibels(magnitude_tf) for _, magnitude_tf in panels]
    top = max(float(level_tf.max()) for level_tf in levels)
    step = 1.0 if bin_hz is None else bin_hz / 1000.0
    figure, axes = new_figure(8.0, 0.5 + 1.3 * len(panels), len(panels))
    for axis, (title, _), level_tf in zip(axes[:, 0], panels, levels, strict=True):
        frames, bins = level_tf.shape
        picture = axis.imshow(level_tf.T, origin="lower", aspect="auto", cmap="cividis", vmin=top - span_db, vmax=top,
                              extent=(0, frames * hop_s, 0, bins * step), interpolation="nearest")
        axis.set_title(title, fontsize=10, loc="left", pad=3)
        axis.tick_params(labelsize=8, labelbottom=axis is axes[-1, 0])
        for start, end, low, high in boxes:
            axis.add_patch(Rectangle((start, low), end - start, high - low, fill=False, ls=":", lw=1.5, ec="white"))
    axes[-1, 0].set_xlabel("time in s", fontsize=9)
    figure.supylabel("mel band" if bin_hz is None else "frequency in kHz", fontsize=9)
    bar = figure.colorbar(picture, ax=axes[:, 0], pad=0.01, aspect=40)
    bar.set_label("magnitude in dB", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def error_against_snr(curves: Mapping[str, Mapping[int, tuple[float, float, float]]], ylabel: str = "WER %",
                      levels: Mapping[str, float] | None = None,
                      looks: Mapping[str, tuple[str, str]] | None = None) -> "Figure":
    """Error against SNR (AE-MSR Figure 4): name -> {SNR in dB: (value, low, high)}, bars are 95 % intervals.

    `levels` holds what does not depend on the noise (a lip reader), drawn as level lines. `looks` gives a name its
    (inputs, system): equal inputs have one colour, equal systems one marker and dash; a name that is not in it has its
    own.
    """
    levels = levels or {}
    figure, axes = new_figure(8.0, 4.6 if len(curves) + len(levels) <= 10 else 5.6)
    axis = axes[0, 0]
    styles = _looks([*curves, *levels], looks or {})
    snrs = sorted({snr for curve in curves.values() for snr in curve})
    for k, (name, curve) in enumerate(curves.items()):
        points = sorted(curve.items())
        beside = min(0.07, 0.8 / len(curves)) * (k - (len(curves) - 1) / 2)  # bars beside one another
        x = np.array([snr for snr, _ in points]) + beside
        value, low, high = np.array([triple for _, triple in points], dtype=float).reshape(-1, 3).T
        reach = np.nan_to_num(np.maximum([value - low, high - value], 0.0))
        axis.errorbar(x, value, yerr=reach, label=name, capsize=2, lw=1.6, ms=5, elinewidth=0.9, **styles[name])
    for name, value in levels.items():
        axis.axhline(value, label=name, lw=1.4, **{**styles[name], "marker": None})
    axis.set_xticks(snrs, [str(snr) for snr in snrs])
    axis.set_xlabel("SNR in dB")
    axis.set_ylabel(ylabel)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside right upper",
                  handlelength=3.5)
    return figure


def _looks(names: Sequence[str], looks: Mapping[str, tuple[str, str]]) -> dict[str, dict]:
    """The style of every line: colour by the first of its looks, marker and dash by the second."""
    pairs = {name: looks.get(name, (name, name)) for name in names}
    colour, line = ({look: k for k, look in enumerate(dict.fromkeys(pair[part] for pair in pairs.values()))}
                    for part in (0, 1))
    return {name: {"color": COLOURS[colour[first] % len(COLOURS)], "marker": MARKERS[line[second] % len(MARKERS)],
                   "ls": DASHES[line[second] % len(DASHES)]} for name, (first, second) in pairs.items()}


def score_against_cost(panels: Mapping[str, Mapping[str, tuple[float, float, float, float]]],
                       ylabel: str = "STOI %") -> "Figure":
    """Score against cost, a panel a test set: title -> {name: (10^9 multiply-adds a second, value, low, high)}.

    Bars are 95 % intervals; the axis of costs is logarithmic.
    """
    figure, axes = new_figure(9.0, 4.2, 1, len(panels))
    names = [*dict.fromkeys(name for points in panels.values() for name in points)]
    for axis, (title, points) in zip(axes[0], panels.items(), strict=True):
        for name, (gmac, value, low, high) in points.items():
            reach = np.nan_to_num(np.maximum([[value - low], [high - value]], 0.0))
            k = names.index(name)
            style = {**_style(k), "ls": "none", "mfc": _style(k)["color"] if k < len(COLOURS) else "white"}
            axis.errorbar([gmac], [value], yerr=reach, label=name, capsize=2, ms=6, elinewidth=0.9, **style)
        _log_costs(axis, [gmac for gmac, *_ in points.values()])
        axis.set_xlabel("10$^9$ multiply-adds a second")
        axis.set_title(title, fontsize=10, loc="left")
        axis.grid(alpha=0.3, which="both")
    axes[0, 0].set_ylabel(ylabel)
    handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(),
                                                                          strict=True)}
    figure.legend(handles.values(), handles.keys(), fontsize=8, frameon=False, loc="outside right upper")
    return figure


def _log_costs(axis: "Axes", costs: Sequence[float]) -> None:
    """A logarithmic axis whose few labels are plain numbers: powers of ten, or within one of them some between."""
    from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())
    if max(costs) < 10 * min(costs):
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))


def error_by_position(curves: Mapping[str, np.ndarray], alarm: float) -> "Figure":
    """Error at each position in the slice over that inside, a line a system; dotted: `alarm`, where seams matter."""
    figure, axes = new_figure(8.0, 3.2)
    axis = axes[0, 0]
    for k, (name, errors_p) in enumerate(curves.items()):
        axis.plot(np.arange(len(errors_p)), errors_p, label=name, lw=1.6, ms=3.5, **_style(k))
    axis.axhline(alarm, color="0.4", ls=":", lw=1.2)
    axis.set_xlabel("mel frame in the slice")
    axis.set_title("squared error of the log-mel, relative to that inside the slice", fontsize=10, loc="left")
    axis.grid(alpha=0.3)
    axis.locator_params(axis="x", integer=True)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper", handlelength=3.5)
    return figure


def crop_sheet(rows: Sequence[tuple[str, np.ndarray]]) -> "Figure":
    """Mouth crops (AE-MSR Figure 7): a row an utterance, (id, grey pictures of (pictures, height, width) uint8)."""
    figure, axes = new_figure(max(len(crops_thw) for _, crops_thw in rows), 1.2 * len(rows), len(rows))
    for axis, (name, crops_thw) in zip(axes[:, 0], rows, strict=True):
        axis.set_axis_off()
        axis.set_title(name, fontsize=8, loc="left", pad=3)
        axis.imshow(np.concatenate(list(crops_thw), axis=1), cmap="gray", vmin=0, vmax=255)
    return figure


def training_curves(curves: Mapping[str, Mapping[str, np.ndarray]], valid_label: str = "validation loss",
                    relative: bool = False) -> "Figure":
    """Training loss (left) and validation (right) of each system: name -> {"epoch", "train", "valid"} arrays.

    Systems of one figure share what their validation measures. `relative` divides every loss by its first value, so
    that those of other units share an axis; what is no loss, such as an accuracy, stays as it is.
    """
    figure, axes = new_figure(9.0, 3.8, 1, 2)
    for axis, column, label in zip(axes[0], ("train", "valid"), ("training loss", valid_label), strict=True):
        divided = relative and "loss" in label
        for k, (name, curve) in enumerate(curves.items()):
            values = np.asarray(curve[column], dtype=float)
            finite = values[np.isfinite(values) & (values != 0)]
            unit = float(finite[0]) if divided and finite.size else 1.0
            axis.plot(curve["epoch"], values / unit, label=name, lw=1.6, ms=3.5, **_style(k))
        axis.set_xlabel("epoch")
        axis.set_title(f"{label}, relative to the first" if divided else label, fontsize=10, loc="left")
        axis.grid(alpha=0.3)
        axis.locator_params(axis="x", integer=True)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside right upper",
                  handlelength=3.5)
    return figure


def attention_map(weights_lt: np.ndarray, tokens: Sequence[str], seconds: float, title: str = "") -> "Figure":
    """Attention of a decoder: rows are written tokens, columns the encoder's slots over `seconds` of input."""
    figure, axes = new_figure(8.0, 0.9 + 0.16 * max(len(tokens), 8))
    axis = axes[0, 0]
    picture = axis.imshow(weights_lt, aspect="auto", cmap="cividis", vmin=0, extent=(0, seconds, len(tokens), 0),
                          interpolation="nearest")
    axis.set_yticks(np.arange(len(tokens)) + 0.5, tokens, fontsize=7)
    axis.set_xlabel("time in s", fontsize=9)
    axis.set_title(title, fontsize=10, loc="left")
    figure.colorbar(picture, ax=axis, pad=0.01).set_label("attention", fontsize=9)
    return figure


def gate_maps(panels: Sequence[tuple[str, np.ndarray]], seconds: float, label: str = "gate (0 closed, 1 open)",
              columns: int = 2) -> "Figure":
    """Gates or attention factors (bins, frames) in 0..1, one panel a level (MHCA-AVCRN alpha, beta), one scale."""
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(8.0, 0.5 + 1.5 * rows, rows, columns)
    for axis in axes.flat[len(panels):]:
        axis.set_visible(False)
    for axis, (title, gate_ft) in zip(axes.flat, panels, strict=False):
        picture = axis.imshow(gate_ft, origin="lower", aspect="auto", cmap="cividis", vmin=0, vmax=1,
                              extent=(0, seconds, 0, gate_ft.shape[0]), interpolation="nearest")
        axis.set_title(title, fontsize=9, loc="left", pad=3)
        axis.tick_params(labelsize=7)
    figure.supxlabel("time in s", fontsize=9)
    figure.supylabel("frequency bin of the level", fontsize=9)
    figure.colorbar(picture, ax=axes, pad=0.01).set_label(label, fontsize=9)
    return figure


def _style(k: int) -> dict:
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)],
            "ls": DASHES[(k // len(COLOURS)) % len(DASHES)]}


def gains(panels: Mapping[str, Sequence[tuple[str, float, float, float]]], xlabel: str) -> "Figure":
    """What systems gain over a reference: title -> (name, value, low, high), bars are 95 % intervals. A name keeps its
    line in all panels; the order is that of the first panel, upside down as one reads."""
    figure, axes = new_figure(2.5 + 2.2 * len(panels), 0.9 + 0.2 * max(map(len, panels.values())), 1, len(panels))
    names = list(dict.fromkeys(name for points in panels.values() for name, *_ in points))
    for axis, (title, points) in zip(axes[0], panels.items(), strict=True):
        y = np.array([-names.index(name) for name, *_ in points])
        value, low, high = np.array([numbers for _, *numbers in points], dtype=float).reshape(-1, 3).T
        reach = np.nan_to_num(np.maximum([value - low, high - value], 0.0))
        axis.axvline(0, color="black", lw=0.8)
        axis.errorbar(value, y, xerr=reach, fmt="o", ms=4, lw=1.2, color=COLOURS[0])
        axis.set_yticks(-np.arange(len(names)), names if axis is axes[0, 0] else [""] * len(names), fontsize=8)
        axis.set_ylim(-len(names) + 0.4, 0.6)
        axis.locator_params(axis="x", nbins=5)  # more of them run into each other
        axis.tick_params(axis="x", labelsize=8)
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.3)
    figure.supxlabel(xlabel, fontsize=9)
    return figure
