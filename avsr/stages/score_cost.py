"""STOI of the enhancement systems against their multiply-adds: a figure of stage 9. No time is measured here."""

import argparse
from math import isnan
from pathlib import Path

from avsr.features.mel import AVSE_SETS
from avsr.models.systems import System
from avsr.scoring import figures
from avsr.scoring.report import Run
from avsr.scoring.results import Results
from avsr.stages.score_spectrograms import FIGURE_SET, NATURAL_SET, Drawn, finished

LEAST = 3  # systems: two points show no relation
PANELS = {"competing talker at -5 dB": FIGURE_SET, "natural noise at -5 dB": NATURAL_SET}


def cost_figure(args: argparse.Namespace, run: Run, results: Results, folder: Path) -> Drawn:
    """STOI, over all seeds, against 10^9 multiply-adds a second, of the trained systems of the enhancement tables; none
    where fewer than three were scored."""
    rows = [row for row in run.systems if row.kind == "enhance" and row.mel_set in AVSE_SETS]
    scores = {title: {row.id: results.summary(row.id, test_set, "stoi") for row in rows}
              for title, test_set in PANELS.items()}  # fmt: skip
    rows = [row for row in rows if finished(args, row.id)]
    found = {title: {row: one[row.id] for row in rows if one[row.id] and not isnan(one[row.id].value)}
             for title, one in scores.items()}  # fmt: skip
    scored = {row for one in found.values() for row in one}
    if len(scored) < LEAST:
        return []
    gmac = {row: _gmac(finished(args, row.id), row.id) for row in rows if row in scored}
    panels = {title: {row.name: (gmac[row], one.value, one.low, one.high) for row, one in points.items()}
              for title, points in found.items() if points}  # fmt: skip
    figures.save(figures.score_against_cost(panels), folder / "cost.png")
    return [("cost.png", "STOI against multiply-adds of the enhancement systems")]


def _gmac(checkpoint: Path, name: str) -> float:
    """10^9 multiply-adds for a second of input, of the network that was trained."""
    from avsr.models.listing import gmac_per_second  # it imports torch
    from avsr.training.checkpoint import load_model

    model, content = load_model(checkpoint, "cpu", name)
    return gmac_per_second(System(name, "", name, "enhance", content["config"]["system"]["model"]), model)
