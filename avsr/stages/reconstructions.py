"""Trained enhancement systems back to waveforms by every reconstruction, beside true magnitudes: raw PESQ and STOI.

Reads  DIR/exp/<system>/seed<k>/best.pt (stage 6), noise lists of DIR/data/<split>_noisy/ (stage 4)
Writes DIR/exp/reconstructions.md (--split valid: reconstructions_valid.md) and
       DIR/exp/reconstructions/<system>/seed<k>/<list>/<reconstruction>.tsv
Says which `score.recon` the validation list calls for (--split valid), and with which head each system was trained: a
study of heads takes systems trained with model.head mask, direct and residual.
Scores that are there for the same checkpoint, list and utterances are kept. RESULTS.md is stage 9's alone.
"""

import argparse
import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from avsr.config import read_yaml
from avsr.errors import AvsrError, UsageError
from avsr.features.mel import AVSE_SETS, WAVE, mel
from avsr.models.registry import KINDS
from avsr.models.systems import System, load_system, system_ids
from avsr.noise.lists import read_list
from avsr.noise.sampler import ListMixer
from avsr.parallel import map_unordered, progress
from avsr.revision import commit
from avsr.rng import unit
from avsr.scoring.reconstructions import (
    METHODS,
    NO_SYSTEM,
    REFERENCES,
    VALID,
    Studied,
    Study,
    all_ways,
    head_of,
    page,
    reference_waves,
    row_id,
)
from avsr.scoring.report import checkpoint_digest
from avsr.scoring.results import Provenance, Results, read_scores, write_scores
from avsr.scoring.speech import have_pesq, score_utterance
from avsr.stages import common
from avsr.stages.score import corpus_of, sum_counts, system_mel_set, test_sets
from avsr.stages.score_jobs import (
    UNSEEN,
    ScoreJob,
    data_digest,
    list_path,
    make_estimator,
    one_utterance,
    whole_frames,
)
from avsr.stages.shards import Counts, failed_row, read_failed, write_failed
from avsr.stages.train_system import MADE_BY
from avsr.storage.atomic import write_text
from avsr.storage.markers import is_done, mark
from avsr.training.folder import RunFolder

log = logging.getLogger("avsr")
NAME = "reconstructions"
REFERENCE_MULTIPLE = 5  # pictures: a slice, as the systems enhance it


@dataclass(frozen=True)
class Trained:
    """A trained system as it is studied."""

    studied: Studied
    seed: int
    checkpoint: Path


@dataclass(frozen=True)
class StudyJob:
    """One system, or what needs none, on some utterances of one list; `job` is what stage 9 would do of it."""

    job: ScoreJob
    utts: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.job.work_dir / "exp" / NAME / self.job.row / f"seed{self.job.seed}" / self.job.test_set

    @property
    def methods(self) -> tuple[str, ...]:
        """What the files in its folder are called."""
        return tuple(METHODS if self.job.checkpoint else REFERENCES)

    @property
    def key(self) -> list:
        """What the scores depend on."""
        made_from = [self.job.provenance.checkpoint_digest, self.job.data_digest, self.utts, have_pesq()]
        return ["reconstructions 1", self.job.row, self.methods, made_from]

    def path(self, method: str) -> Path:
        """Its scores by one reconstruction."""
        return self.folder / f"{method}.tsv"

    def done(self) -> bool:
        """Whether it was measured before."""
        return is_done(self.folder / "done.json", self.key)


def main(argv: list[str] | None = None) -> int:
    """Runs the study; returns its exit code."""
    parser = common.study_parser(NAME, __doc__)
    add = parser.add_argument
    add("--work-dir", type=Path, required=True, help="work folder of the recipe")
    add("--systems", help="only these trained systems, as 'mhca_avcrn audio_only_crn' (default: all)")
    add(
        "--checkpoint",
        type=Path,
        nargs="+",
        default=[],
        help="these checkpoints, in rows of their own; with --systems: too",
    )
    add("--split", choices=("test", VALID), default="test", help="whose lists (default test; valid decides)")
    add("--sets", dest="lists", nargs="+", default=[], metavar="LIST", help="only these lists, as speech_-5dB")
    add("--utterances", type=common.positive, metavar="N", help="only N of each list, chosen by a hash of the seed")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Plans the jobs, runs what is left, writes and prints the page."""
    systems = find_systems(args)
    lists = find_lists(args)
    jobs = plan_jobs(args, systems, lists)
    todo = [job for job in jobs if not job.done()]
    log.info("%d measurements, %d done before", len(jobs), len(jobs) - len(todo))
    if todo:
        for job in progress(map_unordered(run_job, todo, min(args.nj, len(todo))), len(todo), NAME):
            log.debug("%s on %s", job.job.row, job.job.test_set)
    log.info("%s: %s", NAME, sum_counts([_counts(job, job in todo) for job in jobs]))
    for job in jobs:
        stage.check_failed(job.folder, len(read_failed(job.folder)), len(job.utts))
    scores: dict = {}
    for job in jobs:
        for method in job.methods:
            key = (row_id(job.job.row, method), job.job.test_set)
            scores.setdefault(key, {})[job.job.seed] = read_scores(job.path(method))
    study = Study(args.split, lists, _chosen_of(args, lists), _command(args), corpus_of(args.work_dir)["synthetic"])
    text = page(study, Results(scores), list(dict.fromkeys(one.studied for one in systems)))
    path = args.work_dir / "exp" / (f"{NAME}.md" if args.split == "test" else f"{NAME}_{args.split}.md")
    write_text(path, text)
    log.info("\n%s\n%s written", text, path)


def find_systems(args: argparse.Namespace) -> list[Trained]:
    """The trained enhancement systems that were asked for, or all. UsageError: no such system, or none of waveforms;
    AvsrError: not trained."""
    exp = args.work_dir / "exp"
    wanted = (args.systems or "").replace(",", " ").split()
    found = [_described(path, own_row=True) for path in args.checkpoint]
    for name in wanted:
        folders = _finished(exp, name)
        if not folders:
            try:
                made_by = MADE_BY[load_system(name).kind]
            except UsageError as error:
                cure = f"a preset's own (variants) is made by {MADE_BY['enhance']} with that preset"
                raise UsageError(f"{error}; {cure}") from None
            raise AvsrError(f"{exp / name}: no finished training there: {made_by} makes it; run that first")
        found += [_described(folder / "best.pt") for folder in folders]
    if not wanted and not args.checkpoint:
        for folder in _finished(exp, "*"):
            model = read_yaml(folder / "config.yaml")["system"]["model"] if (folder / "config.yaml").exists() else None
            if model is None or _is_studied(model):  # a large recogniser is not read to find out what it is
                found += [one for one in [_described(folder / "best.pt", every=True)] if one]
        if not found:
            made_by = MADE_BY["enhance"]
            raise AvsrError(
                f"{exp}: no trained enhancement system (seed<k>/best.pt): {made_by} makes it; run that first"
            )
    return list({(one.studied.row, one.seed): one for one in found}.values())  # each once


def _finished(exp: Path, name: str) -> list[Path]:
    """The folders of finished trainings."""
    folders = sorted(exp.glob(f"{name}/seed*"))
    return [folder for folder in folders if RunFolder(folder).done.exists() and RunFolder(folder).best.exists()]


def _is_studied(model: dict) -> bool:
    """Whether a `model:` is that of a system of the enhancement tables."""
    return KINDS[model["type"]] == "enhance" and system_mel_set(System("", "", "", "enhance", model)) in AVSE_SETS


def _described(checkpoint: Path, own_row: bool = False, every: bool = False) -> Trained | None:
    """A checkpoint with what it says of itself. Of `every` training None for what is not studied, else UsageError.
    With a row of its own it is named by its digest."""
    from avsr.models.registry import model_class
    from avsr.training import checkpoint as checkpoints

    content = checkpoints.read(checkpoint)["config"]
    name, model = content["system"]["id"], content["system"]["model"]
    waves = getattr(model_class(model["type"]), "mel_set", "") == WAVE
    if waves or not _is_studied(model):
        why = "makes samples, so there is nothing to reconstruct" if waves else "is none of the enhancement tables"
        if every:
            log.info("%s: %s %s; left out", checkpoint, name, why)
            return None
        raise UsageError(f"{checkpoint}: {name} {why}; give another system")
    printed = load_system(name).name if name in system_ids() else f"`{name}`"
    digest = checkpoint_digest(checkpoint)[:8] if own_row else ""
    row, printed = (f"{name}@{digest}", f"{printed} (checkpoint {digest})") if own_row else (name, printed)
    studied = Studied(row, printed, head_of(model, model_class(model["type"]).Conf))
    return Trained(studied, content["train"]["seed"], checkpoint)


def find_lists(args: argparse.Namespace) -> tuple[str, ...]:
    """The lists of the enhancement tables, or those asked for, as names of test sets. UsageError: no such list;
    AvsrError: none was made."""
    folder = args.work_dir / "data" / f"{args.split}_noisy"
    names = test_sets("enhance", "mel_slaney", sorted(path.stem for path in folder.glob("*.jsonl")))
    if not names:
        raise AvsrError(f"{folder}: holds no noise list for enhancement; stage 4 (mix) makes them; run that first")
    for name in args.lists:
        if name not in names:
            raise UsageError(f"--sets {name}: no such list of {args.split}; there is {', '.join(names)}")
    chosen = [name for name in names if not args.lists or name in args.lists]
    return tuple(chosen if args.split == "test" else [f"{args.split}_{name}" for name in chosen])


def choose_utterances(args: argparse.Namespace, test_set: str) -> tuple[str, ...]:
    """All utterances of a list, or the --utterances with the smallest hashes: the same for every list and system."""
    utts = sorted(read_list(list_path(args.work_dir, test_set)))
    if args.utterances:
        utts = sorted(sorted(utts, key=lambda utt: unit(args.seed, utt, NAME))[: args.utterances])
    return tuple(utts)


def plan_jobs(args: argparse.Namespace, systems: list[Trained], lists: tuple[str, ...]) -> list[StudyJob]:
    """Every measurement: what needs no system on each list, then each system on each list."""
    origin = Provenance(corpus_of(args.work_dir)["protocol"], "-", _command(args), commit())
    chosen = {name: choose_utterances(args, name) for name in lists}
    data = {name: data_digest(args.work_dir, name) for name in lists}
    jobs = []
    for one in [None, *systems]:
        row, kind, seed, path = NO_SYSTEM, NO_SYSTEM, args.seed, None
        provenance = origin
        if one:
            row, kind, seed, path = one.studied.row, "enhance", one.seed, one.checkpoint
            label = f"{row}/seed{seed}/{path.name}"
            provenance = replace(origin, checkpoint=label, checkpoint_digest=checkpoint_digest(path))
        for name in lists:
            made = {"data_digest": data[name], "device": args.device}
            jobs.append(
                StudyJob(ScoreJob(row, kind, seed, name, args.work_dir, path, provenance, **made), chosen[name])
            )
    return jobs


def run_job(study: StudyJob) -> None:
    """Reconstructs utterance by utterance, scores, writes one file for each reconstruction and marks them."""
    import torch

    torch.set_num_threads(1)
    job, failed = study.job, {}
    mixer = ListMixer(list_path(job.work_dir, job.test_set), job.work_dir, job.split)
    estimator = make_estimator(job, sorted(mixer.rows)) if job.checkpoint else None
    rows: dict[str, dict[str, dict]] = {method: {} for method in study.methods}
    for utt in study.utts:
        found = dict.fromkeys(study.methods, {"reason": UNSEEN})
        with one_utterance(utt, failed):
            if estimator is None or estimator[3](utt):
                found = _scored(mixer, estimator, utt)
        if utt in failed:
            found = dict.fromkeys(study.methods, {"reason": f"{type(failed[utt]).__name__}: {failed[utt]}"})
        for method in study.methods:
            rows[method][utt] = found[method]
    for method in study.methods:
        write_scores(study.path(method), rows[method], job.provenance)
    write_failed(study.folder, NAME, [failed_row(utt, NAME, error) for utt, error in sorted(failed.items())])
    files = [study.folder / "failed.tsv", *map(study.path, study.methods)]
    mark(study.folder / "done.json", study.key, files)


def _scored(mixer: ListMixer, estimator: tuple | None, utt: str) -> dict[str, dict]:
    """The scores of one utterance by every reconstruction."""
    if estimator is None:
        noisy_n, clean_n = whole_frames(mixer, utt, REFERENCE_MULTIPLE)
        waves = reference_waves(noisy_n, clean_n)
    else:
        estimate, mel_set, multiple, _ = estimator
        noisy_n, clean_n = whole_frames(mixer, utt, multiple)
        waves = all_ways(noisy_n, estimate(utt, mel(noisy_n, mel_set), len(noisy_n) // 640), mel_set)
    return {method: score_utterance(clean_n, wave_n) for method, wave_n in waves.items()}


def _counts(job: StudyJob, now: bool) -> Counts:
    failed = len(read_failed(job.folder))
    ok = len(job.utts) - failed
    return Counts(ok if now else 0, failed, 0 if now else ok)


def _chosen_of(args: argparse.Namespace, lists: tuple[str, ...]) -> str:
    """How many utterances of each list are studied, in words."""
    total = {len(read_list(list_path(args.work_dir, name))) for name in lists}
    chosen = {len(choose_utterances(args, name)) for name in lists}
    said = [str(min(both)) if len(both) == 1 else f"{min(both)} to {max(both)}" for both in (chosen, total)]
    return f"{said[0]} of {said[1]} a list" + (f", chosen by hash, seed {args.seed}" if args.utterances else "")


def _command(args: argparse.Namespace) -> str:
    """The command without the folders of this machine."""
    words = [f"python -m avsr.stages.{NAME} --work-dir <work-dir> --split {args.split}"]
    words += [f'--systems "{args.systems}"'] if args.systems else []
    words += ["--checkpoint <checkpoint>"] if args.checkpoint else []
    words += ["--sets", *args.lists] if args.lists else []
    words += ["--utterances", str(args.utterances), "--seed", str(args.seed)] if args.utterances else []
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
