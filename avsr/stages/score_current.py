"""Which scores of a work folder are of the checkpoints, data and settings that are there now: RESULTS.md has no other.

A row of an earlier run stays (a checkpoint's own row, a system that --systems leaves out today) as long as the tables,
stores and noise lists are those that it was scored on, and the training that it names is finished and still there. A
row whose training is not here at all (avsr.stages.gather) stays where it was asked the same.
"""

import json
import logging
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from avsr.models.registry import KINDS
from avsr.scoring.report import checkpoint_digest
from avsr.scoring.results import Provenance, Results
from avsr.stages.gather import trained_in
from avsr.stages.score_jobs import WORDS, ScoreJob, data_digest, decoding, split_and_list, tested_on
from avsr.training.folder import RunFolder

log = logging.getLogger("avsr")


def read_current(work_dir: Path, conf: Any, protocol: str, preset: str) -> Results:
    """The scores of this protocol and preset that still hold; what is left out is said. `conf`: section `score:`."""
    data, best = lru_cache(None)(data_digest), lru_cache(None)(finished_digest)
    old: dict[Path, list[str]] = {}

    def holds(path: Path, provenance: Provenance) -> bool:
        row, seed, test_set = path.parts[-4:-1]
        how = (conf.recon, conf.beam, conf.length_penalty, data(work_dir, test_set))
        jobs = [ScoreJob(row, kind, int(seed.removeprefix("seed")), test_set, work_dir, None, provenance, *how)
                for kind in {*KINDS.values(), row}]  # fmt: skip
        kept = any(job.done(pesq) for job in jobs for pesq in (True, False))
        if provenance.checkpoint and "@" not in row:
            folder = work_dir / "exp" / jobs[0].system / seed
            if trained_in(folder):
                kept = kept and best(folder, Path(provenance.checkpoint).name) == provenance.checkpoint_digest
            else:
                asked = (tested_on(work_dir, test_set, conf.recon), decoding(conf) if provenance.decode else "")
                kept = (provenance.tested, provenance.decode) == asked
        if not kept:
            old.setdefault(path.parents[1], []).append(test_set)
        return kept

    results = Results.read(work_dir / "exp", protocol, preset, holds)
    for folder, sets in old.items():
        log.warning("%s: scored with another checkpoint, other data or settings than are there now; left out of "
                    "RESULTS.md: %s", folder, ", ".join(sets))  # fmt: skip
    utts = json.loads((work_dir / "data" / "splits.json").read_text(encoding="utf-8"))
    return Results({
        (system, test_set): {
            seed: one if test_set == WORDS else replace(one, dropped=_dropped(utts, test_set, one.utts))
            for seed, one in by_seed.items()
        }
        for (system, test_set), by_seed in results.scores.items()
    })  # fmt: skip


def _dropped(splits: dict[str, list[str]], test_set: str, scored: tuple[str, ...]) -> tuple[str, ...]:
    """The utterances of the split that were not scored: shares are of all that stage 1 has listed."""
    split, _ = split_and_list(test_set)
    return tuple(sorted({*splits.get(split, ())}.difference(scored)))


def finished_digest(folder: Path, name: str = "best.pt") -> str | None:
    """The digest of a checkpoint of a finished training; None of one that is not finished."""
    run, checkpoint = RunFolder(folder), folder / name
    return checkpoint_digest(checkpoint) if run.done.exists() and checkpoint.exists() else None
