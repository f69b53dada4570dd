"""Slice seams: is the estimate worse at the edges of slices than inside them?

The AVSE systems work on slices of 200 ms (20 mel frames), which their convolutions pad with zeros: that can leave a
pattern of 5 Hz. Measured is the squared error of the log-mel in dB² (floor 1e-5, not clipped otherwise) by a frame's
position in its slice, 0 to 19. Edges are positions 0 and 19, inside are the ten in the middle, 5 to 14: those between
feel the padding too, less. An utterance's own first and last frame lie at no seam and are left out. Decision: see
docs/decisions.md.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from avsr.errors import AvsrError
from avsr.features.mel import WAVE, mel, to_decibel
from avsr.scoring.results import Results
from avsr.scoring.tables import Column, System, Table, score_table
from avsr.storage.atomic import write_csv

FILE = "seams.tsv"  # beside scores.tsv: the error of every utterance at each position
POSITIONS = "seam_positions"  # in a row of scores that was not written yet: what goes into that file
SLICE = 20  # mel frames of 10 ms: SLICE_MEL of the AVSE systems, whose module imports torch
EDGES, INNER = (0, SLICE - 1), slice(5, 15)
ALARM = 1.10  # edges 10 % worse
CONDITIONS = ("speech_-5dB", "natural_-5dB")  # in the table; the first of them that was measured is drawn
TITLE = "Slice seams: squared error of the log-mel (dB²) at the edges of slices and inside, and their ratio"
NOTE = (
    "Slices are 20 mel frames (200 ms); edges: positions 0 and 19, without an utterance's own first and last frame; "
    "inside: positions 5 to 14; each system in the bands that it hears. From a ratio of "
    f"{ALARM:.2f} on seams matter; with `model.conv_mode: continuous` (MHCA-AVCRN and its ablations, trained so) the "
    "convolutions see the whole utterance. Unprocessed mixtures have no seams: their row is what speech alone does. "
    "The lists at 0 dB and of the own voice stand in results.csv."
)


def position_errors(estimate_tf: np.ndarray, clean_tf: np.ndarray) -> np.ndarray:
    """(20,) mean squared error in dB² at each position in the slice, over bands and slices but for the utterance's
    ends: of position 0 without the first slice, of position 19 without the last.

    Both are linear magnitudes (20 S, bands), S > 1. ValueError when shapes differ or are no whole slices.
    """
    if estimate_tf.shape != clean_tf.shape or len(clean_tf) < 2 * SLICE or len(clean_tf) % SLICE:
        raise ValueError(f"magnitudes must be whole slices of {SLICE}, two at least: {estimate_tf.shape} and "
                         f"{clean_tf.shape}")  # fmt: skip
    error_tf = to_decibel(np.asarray(estimate_tf, np.float64)) - to_decibel(np.asarray(clean_tf, np.float64))
    errors_sp = np.square(error_tf).mean(axis=1).reshape(-1, SLICE)
    return np.array([errors_sp[1:, 0].mean(), *errors_sp[:, 1:-1].mean(axis=0), errors_sp[:-1, -1].mean()])


def score_seams(estimate_tf: np.ndarray, clean_tf: np.ndarray, mel_set: str) -> dict:
    """Of one utterance: seam_edge and seam_inner in dB², and the (20,) errors of all positions under POSITIONS; of one
    that is no longer than a slice nothing, for it has no seam.

    Both as `features.mel.mel` gives them in `mel_set`; samples (`wave`) are measured in bands of mel_slaney.
    """
    if mel_set == WAVE:
        estimate_tf, clean_tf = (mel(wave_tf.reshape(-1), "mel_slaney") for wave_tf in (estimate_tf, clean_tf))
    if len(clean_tf) <= SLICE:
        return {}
    errors_p = position_errors(estimate_tf, clean_tf)
    edge, inner = float(errors_p[list(EDGES)].mean()), float(errors_p[INNER].mean())
    return {"seam_edge": edge, "seam_inner": inner, POSITIONS: errors_p}


def write_seams(path: Path, errors: Mapping[str, np.ndarray]) -> None:
    """Writes seams.tsv, atomically: a line an utterance, the errors of positions 0 to 19 in dB² with six decimals."""
    rows = ([utt, *(f"{value:.6f}" for value in errors[utt])] for utt in sorted(errors))
    write_csv(path, ["utt", *map(str, range(SLICE))], rows, delimiter="\t")


def read_seams(path: Path) -> np.ndarray:
    """(20,) errors in dB² of a seams.tsv, the mean over its utterances. Raises AvsrError when it is damaged."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    try:
        errors_up = np.array([[float(cell) for cell in row[1:]] for row in rows])
        return errors_up.reshape(len(rows), SLICE).mean(axis=0)
    except ValueError:
        raise AvsrError(f"{path}: damaged; delete the scores.tsv beside it and run stage 9 again") from None


def seam_curves(exp: Path, results: Results, rows: Iterable[System]) -> tuple[str, dict[str, np.ndarray]]:
    """For figures.error_by_position: the first of CONDITIONS on which seams were measured, and for each printed name
    the (20,) errors over those inside its slices, the mean over seeds."""
    rows = list(rows)
    for test_set in CONDITIONS:
        curves = {}
        for row in rows:
            has = results.summary(row.id, test_set, "seam_edge")
            paths = [exp / row.id / f"seed{seed}" / test_set / FILE for seed in results.seeds(row.id, test_set)]
            errors = [read_seams(path) for path in paths if path.exists()]
            if has and errors and (inner := np.mean(errors, axis=0)[INNER].mean()) > 0:
                curves[row.name] = np.mean(errors, axis=0) / inner
        if curves:
            return test_set, curves
    return CONDITIONS[0], {}


def _alarms(results: Results, rows: Iterable[System]) -> str:
    """How many ratios of systems reach ALARM, and which is the highest."""
    found = [
        (summary.value, f"{row.name} on {test_set}")
        for row in rows
        for test_set in CONDITIONS
        if row.kind == "enhance" and (summary := results.summary(row.id, test_set, "seam_ratio"))
    ]
    high = sorted(one for one in found if one[0] >= ALARM)
    if not high:
        return f"At {ALARM:.2f} or above: none of {len(found)} ratios of systems."
    ratio, where = high[-1]
    return f"At {ALARM:.2f} or above: {len(high)} of {len(found)} ratios, the highest {where} ({ratio:.2f})."


def seam_table(mark: str, results: Results, rows: Sequence[System]) -> Table | None:
    """Edges, inside and their ratio for each of CONDITIONS; None where no enhancement of waveforms was scored.

    Rows whose scores were made before seams were measured are named below.
    """

    def has(row: System, name: str) -> bool:
        return any(results.summary(row.id, test_set, name) for test_set in CONDITIONS)

    columns = [
        Column(f"{what}, {test_set.replace('_', ' ').replace('dB', ' dB')}", test_set, name)
        for test_set in CONDITIONS
        for what, name in (("edges", "seam_edge"), ("inside", "seam_inner"), ("ratio", "seam_ratio"))
    ]
    table = score_table(f"{TITLE}{mark}", results, rows, columns, lambda row: False)
    old = [row.name for row in rows if row.kind == "enhance" and has(row, "stoi") and not has(row, "seam_edge")]
    if table.rows:
        table.notes += [NOTE, _alarms(results, rows)]
    if old:
        table.notes.append(
            f"Scored before seams were measured: {', '.join(old)}; delete their scores.tsv and run stage 9 again."
        )
    return table if table.rows or old else None
