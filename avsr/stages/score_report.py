"""The end of stage 9: RESULTS.md with its figures, and its publication."""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avsr.config import CONF
from avsr.errors import AvsrError
from avsr.scoring import figures
from avsr.scoring.checks import read_rules
from avsr.scoring.differences import gains
from avsr.scoring.examples import choose
from avsr.scoring.published import FOLDER as PUBLISHED
from avsr.scoring.report import Run, figure_folder, publish, read_training_log, wer_curves, write_report
from avsr.scoring.results import Results
from avsr.scoring.seams import ALARM, seam_curves
from avsr.scoring.tables import by_inputs, order, set_name
from avsr.stages.gather import MEASURED, TRAINING, publish_scores, training_log
from avsr.stages.prepare_readers import SPLITS
from avsr.stages.score_cost import cost_figure
from avsr.stages.score_current import read_current
from avsr.stages.score_spectrograms import (
    BABBLE_SET,
    FIGURE_SET,
    drawn_utterances,
    figure3,
    finished,
    list_mixer,
    spectrograms,
)
from avsr.storage.arrays import Store
from avsr.storage.datadir import HELDOUT
from avsr.storage.markers import is_done, mark

log = logging.getLogger("avsr")
CHECKS = CONF / "checks"
MOUTHS = 8  # pictures of an utterance
STAGES = {"lipread": 5, "enhance": 6, "recognise": 7, "joint": 8}


def write_all(args: argparse.Namespace, conf: Any, run: Run) -> None:
    """Figures, RESULTS.md, results.csv, where they are not there yet or what they show has changed; copied into the
    recipe's folder where --publish true asks for it."""
    rules = tuple(read_rules(CHECKS / f"{conf.checks}.yaml")) if conf.checks else ()
    run = replace(run, rules=rules, notes=tuple(notes(args.work_dir)))
    out = results_folder(args)
    results = read_current(args.work_dir, conf, run.protocol, run.preset)
    marker, key = out / f".results-{run.key}.done.json", made_from(args, conf, run, results)
    if is_done(marker, key):
        log.info("%s/RESULTS.md: written before", out)
    else:
        folder = figure_folder(out, run)
        drawn = [
            *_curves(args, run, results, folder),
            *spectrograms(args, conf, run, folder),
            *figure3(args, conf, run, folder),
            *cost_figure(args, run, results, folder),
            *_gains(run, results, folder),
            *_seams(args, run, results, folder),
            *_maps(args, conf, run, folder),
            *_mouths(args, run, folder),
        ]
        write_report(args.work_dir, run, drawn, out, results, number_formats(args.work_dir / "exp", results))
        mark(marker, key, [out / "RESULTS.md", out / "results.csv", *(folder / name for name, _ in drawn)])
        log.info("%s/RESULTS.md written", out)
    if args.publish == "true":
        if conf.keep_scores:  # first: it refuses to lose rows
            log.info("published %s", publish_scores(args.work_dir / "exp", args.recipe_dir, run, results))
        for path in publish(out, args.recipe_dir, run, conf.keep_scores):
            log.info("published %s", path)


def made_from(args: argparse.Namespace, conf: Any, run: Run, results: Results) -> list:
    """What tables and figures depend on: all scores (they name their checkpoints; their markers, the data that was
    scored), which of them still hold, the training logs, the printed numbers, and what `run` and the section `score:`
    say."""
    runs = args.work_dir / "exp"
    names = ("*/scores.tsv", f"*/{MEASURED}", "log.csv", TRAINING)
    paths = sorted(path for name in names for path in runs.glob(f"*/seed*/{name}"))
    texts = [[str(path.relative_to(runs)), path.read_text(encoding="utf-8")] for path in paths]
    printed = [path.read_text(encoding="utf-8") for path in sorted(PUBLISHED.glob("*.yaml"))]
    held = [[*key, list(by_seed)] for key, by_seed in results.scores.items()]
    return ["results 9", args.seed, conf, run, texts, held, printed]


def number_formats(exp: Path, results: Results) -> dict[str, str]:
    """Checkpoint, as provenances name it -> number format and layout of its training, such as `bf16 channels_last`.

    Checkpoints that lie elsewhere, cannot be read or do not say it are left out.
    """
    from avsr.training import checkpoint, precision  # they import torch

    found = {}
    for name in sorted({one.provenance.checkpoint for seeds in results.scores.values() for one in seeds.values()}):
        try:
            if name and (exp / name).is_file():
                found[name] = str(precision.Precision(**checkpoint.read(exp / name)["precision"]))
        except (AvsrError, KeyError):
            log.debug("%s: does not say which number format it was trained in", exp / name)
    return found


def results_folder(args: argparse.Namespace) -> Path:
    """The work folder; its exp/ where that is the recipe's own folder, for there stand the published results."""
    recipe = args.config[0].resolve().parent.parent if args.config else None
    return args.work_dir / "exp" if args.work_dir.resolve() == recipe else args.work_dir


def notes(work_dir: Path) -> list[str]:
    """What a reader must know of the data: how many clips, how many of them were dropped, which noise."""
    data = json.loads((work_dir / "data" / "splits.json").read_text(encoding="utf-8"))
    dropped = {name: count_dropped(work_dir, name, data[name]) for name in (*SPLITS, HELDOUT) if name in data}
    counts = [f"{len(data[name])} {name}" + (f", of which {n} dropped" if n else "") for name, n in dropped.items()]
    where = ": see `failed.tsv` in `dump/video` and `dump/audio`" if any(dropped.values()) else ""
    made = f"Utterances: {', '.join(counts)}{where}."
    noises = work_dir / "data" / "noise_splits.json"
    if not noises.exists() or not any((work_dir / "data" / "test_noisy").glob("natural_*.jsonl")):
        return [made]
    noise = json.loads(noises.read_text(encoding="utf-8"))["noise"]
    kind = "generated (synthetic) noise" if noise == "synthetic" else "recorded noise"
    heard = f"Natural interference is {kind}, from sources that training does not hear."
    return [f"{made} {heard}"]


def count_dropped(work_dir: Path, split: str, utts: list[str]) -> int:
    """How many utterances of a split stages 2 and 3 have not let through."""
    stores = (work_dir / "dump" / "audio" / split / "wave", work_dir / "dump" / "video" / split / "crop112")
    for store in stores:  # the later stage first; where sound plays no part, the crops
        if (store / "store.json").exists():  # else of training, taken away to make room
            return len({*utts}.difference(Store(store).keys()))
    return 0


def _curves(args: argparse.Namespace, run: Run, results: Results, folder: Path) -> list[tuple[str, str]]:
    drawn = []
    rows = by_inputs(system for system in run.systems if system.kind in ("recognise", "joint"))
    curves, levels = wer_curves(results, {row.id: row.name for row in rows})
    if curves:
        looks = {row.name: (row.inputs, row.name.replace(f" {row.inputs}", "", 1)) for row in rows}
        rate = "Phone error rate" if run.phones else "WER"
        figures.save(figures.error_against_snr(curves, f"{rate} %", levels, looks), folder / "wer.png")
        drawn.append(("wer.png", f"{rate} against SNR, babble"))
    for kind, label in (("lipread", "accuracy"), ("enhance", "loss"), ("recognise", "loss"), ("joint", "loss")):
        logs = dict(_logs(args, run, kind))
        if logs:
            name = f"training_{kind}.png"
            figures.save(figures.training_curves(logs, relative=True, valid_label=f"validation {label}"), folder / name)
            drawn.append((name, f"Training of stage {STAGES[kind]} by epoch"))
    return drawn


def _gains(run: Run, results: Results, folder: Path) -> list[tuple[str, str]]:
    """What the enhancement systems gain over the first of the reference systems, in STOI."""
    rows = order(results, run.systems)
    names = {row.id: row.name for row in rows}
    by_set = gains(results, rows, run.references[0], "stoi") if run.references else {}
    if not by_set:
        return []
    panels = {
        set_name(test_set): [
            (names[one], gain.difference.value, gain.difference.low, gain.difference.high)
            for one, gain in of_set.items()
        ]
        for test_set, of_set in by_set.items()
    }
    above = names.get(run.references[0], run.references[0])
    figures.save(figures.gains(panels, f"STOI, points above {above}"), folder / "gains.png")
    return [("gains.png", f"STOI above {above}, paired, means over the seeds")]


def _logs(args: argparse.Namespace, run: Run, kind: str):
    for system in run.systems:
        path = training_log(args.work_dir / "exp" / system.id / f"seed{args.seed}")
        if system.kind == kind and path:
            try:
                yield system.name, read_training_log(path)
            except AvsrError as error:
                log.warning("%s", error)


def _seams(args: argparse.Namespace, run: Run, results: Results, folder: Path) -> list[tuple[str, str]]:
    """The error of the log-mel by position in the slice, of systems and of unprocessed mixtures."""
    rows = [row for row in order(results, run.systems) if row.kind in ("unprocessed", "enhance")]
    test_set, curves = seam_curves(args.work_dir / "exp", results, rows)
    if set(curves) <= {"Unprocessed"}:  # drawn beside systems alone
        return []
    figures.save(figures.error_by_position(curves, ALARM), folder / "seams.png")
    return [("seams.png", f"Squared error of the log-mel by position in the slice, {test_set}")]


def _maps(args: argparse.Namespace, conf: Any, run: Run, folder: Path) -> list[tuple[str, str]]:
    """Gates of MHCA-AVCRN and attention of the audio-visual recogniser, where they were trained."""
    from avsr.stages import score_maps  # it imports torch

    drawn = []
    checkpoint = finished(args, "mhca_avcrn")
    mixer = list_mixer(args, FIGURE_SET)
    if mixer and checkpoint:
        utt = drawn_utterances(conf, mixer)[0]
        figure = score_maps.gates(checkpoint, mixer, args.work_dir, utt)
        if figure is not None:
            figures.save(figure, folder / "gates.png")
            drawn.append(("gates.png", f"MHCA-AVCRN, gates of its five levels, utterance {utt}"))
    checkpoint = finished(args, "eg_av")
    mixer = list_mixer(args, BABBLE_SET)
    if mixer and checkpoint:
        utt = drawn_utterances(conf, mixer)[0]
        for name, figure in score_maps.attention(checkpoint, mixer, args.work_dir, utt):
            figures.save(figure, folder / f"attention_{name}.png")
            drawn.append((f"attention_{name}.png", f"EG-seq2seq AV, {name}, utterance {utt}, babble at -5 dB"))
    return drawn


def _mouths(args: argparse.Namespace, run: Run, folder: Path) -> list[tuple[str, str]]:
    """Mouth crops of some test utterances (AE-MSR Figure 7).

    Of a real corpus they are people's faces, which its licence may not let anyone publish: they stay in the folder of
    the figures, and RESULTS.md does not name them.
    """
    place = args.work_dir / "dump" / "video" / "test" / "crop112"
    if not (place / "store.json").exists():
        return []
    store, rows = Store(place), []
    for utt in choose(store.keys()):
        crops_thw = store.read(utt)
        rows.append((utt, crops_thw[np.linspace(0, len(crops_thw) - 1, MOUTHS).round().astype(int)]))
    if not rows:
        return []
    figures.save(figures.crop_sheet(rows), folder / "mouths.png")
    if not run.synthetic:
        log.info("%s: mouth crops, for a look; they are not published", folder / "mouths.png")
        return []
    return [("mouths.png", "Mouth crops as the lip readers see them, of utterances chosen by hash")]
