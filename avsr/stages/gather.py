"""Scores from elsewhere: rows that were trained on another machine, or in an earlier run, stand in this run's tables.

Reads  --from DIR: `exp/` of another work folder, or the scores that stage 9 has published (`score.keep_scores`)
Writes WORK/exp/<system>/seed<k>/<test set>/  scores.tsv and what lies beside: seams.tsv, words.tsv, hyp.trn, ref.trn
       WORK/exp/<system>/seed<k>/gathered.csv  the ends of epochs of its training
Stage 9 shows them with the rows that are measured here, where they were asked the same: noise lists (utterances,
noises, gains), transcripts, reconstruction, decoding. Checkpoints stay where they are, so nothing is drawn of these
systems. What was trained or measured here is never replaced.
"""

import argparse
import csv
import logging
import shutil
import sys
from pathlib import Path

from avsr.errors import AvsrError
from avsr.scoring.confusions import FILE as WORDS_FILE
from avsr.scoring.report import Run
from avsr.scoring.results import Results, read_scores
from avsr.scoring.seams import FILE as SEAMS_FILE
from avsr.stages import common
from avsr.storage.atomic import atomic_path, write_csv

log = logging.getLogger("avsr")
SCORES = "scores.tsv"
MEASURED = "scores.done.json"  # beside scores that were measured in this work folder; it is not copied
BESIDE = (SEAMS_FILE, WORDS_FILE, "hyp.trn", "ref.trn")
TRAINING = "gathered.csv"  # in the place of log.csv, which is a training's own


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = common.study_parser("gather", __doc__)
    parser.add_argument("--work-dir", type=Path, required=True, help="work folder whose tables get the rows")
    parser.add_argument("--from", dest="source", type=Path, required=True, help="where the scores are")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Copies every row that is not here. AvsrError: no scores there, or damaged ones."""
    exp = args.work_dir / "exp"
    found = sorted(args.source.glob(f"*/seed*/*/{SCORES}"))
    if not found:
        what = f"holds no <system>/seed<k>/<test set>/{SCORES}"
        raise AvsrError(f"{args.source}: {what}; name the exp/ of a work folder, or published scores")
    for path in found:
        read_scores(path)  # all or none
    taken, here = 0, 0
    for path in found:
        target = exp / path.parent.relative_to(args.source)
        row, seed = target.relative_to(exp).parts[:2]
        if (target / SCORES).exists() or trained_in(exp / row.split("+")[0] / seed):
            here += 1
            continue
        copy_scores(path.parent, target)
        taken += 1
    for folder in {path.parents[1] for path in found}:
        target = exp / folder.relative_to(args.source)
        if not trained_in(target) and training_log(folder):
            copy_log(training_log(folder), target / TRAINING)
    log.info("%d test sets of rows taken from %s, %d are here already; stage 9 makes the tables",
             taken, args.source, here)


def publish_scores(exp: Path, recipe_dir: Path, run: Run, results: Results) -> Path:
    """Copies the scores of all rows that RESULTS.md has into `recipe_dir`/scores/<protocol>-<preset>; returns it.

    AvsrError when rows are published there that this run has not: nothing that was measured gets lost.
    """
    folder = Path(recipe_dir) / "scores" / run.key
    scores = results.scores.items()
    rows = {f"{system}/seed{seed}/{test_set}" for (system, test_set), by_seed in scores for seed in by_seed}
    there = {str(path.parent.relative_to(folder)) for path in folder.glob(f"*/seed*/*/{SCORES}")}
    lost = sorted(there - rows)
    if lost:
        cure = f"python -m avsr.stages.gather --from {folder} --work-dir {exp.parent}"
        raise AvsrError(f"{folder}: holds rows that these results lack (first: {lost[0]}); take them over with {cure}, "
                        "or delete them")  # fmt: skip
    for row in sorted(rows):
        copy_scores(exp / row, folder / row)
        trained = training_log((exp / row).parent)
        if trained:
            copy_log(trained, (folder / row).parent / TRAINING)
    return folder


def trained_in(folder: Path) -> bool:
    """Whether exp/<system>/seed<k> holds a training, finished or not; else there are scores of elsewhere at most."""
    return any(folder.glob("*.pt")) or (folder / "config.yaml").exists()


def gathered(work_dir: Path, system: str) -> bool:
    """Whether a system has scores without a training of it."""
    return any(not trained_in(path.parents[1]) for path in (work_dir / "exp" / system).glob(f"seed*/*/{SCORES}"))


def training_log(folder: Path) -> Path | None:
    """The log of the training of exp/<system>/seed<k>, made here or elsewhere; None: there is none."""
    return next((folder / name for name in ("log.csv", TRAINING) if (folder / name).exists()), None)


def copy_scores(source: Path, target: Path) -> None:
    """The scores of a row on a test set, last of their folder."""
    for name in (*BESIDE, SCORES):
        if (source / name).exists():
            with atomic_path(target / name) as temporary:
                shutil.copyfile(source / name, temporary)


def copy_log(source: Path, target: Path) -> None:
    """The ends of epochs of a training log, which are all that its curve needs."""
    with source.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    valid = header.index("valid")
    write_csv(target, header, [row for row in rows if len(row) > valid and row[valid]])


if __name__ == "__main__":
    sys.exit(main())
