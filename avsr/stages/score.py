"""Stage 9, score: every trained system on every test list; tables, checks and figures.

Reads  DIR/exp/<system>/seed<k>/best.pt (stages 5 to 8), noise lists of DIR/data/test_noisy/ and, for energy errors,
       DIR/data/heldout_noisy/ (stage 4)
Writes DIR/exp/<system>/seed<k>/<test set>/scores.tsv, seams.tsv, hyp.trn or words.tsv; DIR/RESULTS.md,
       results.csv, figures/
       (in DIR/exp where DIR is the folder of the recipe: results get there by --publish true alone)
An utterance that cannot be scored is in failed.tsv beside the scores.tsv, where its row says why.
Scores that are there for the same checkpoint and list are kept. Only this stage writes RESULTS.md.
"""

import argparse
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from avsr import config
from avsr.errors import AvsrError
from avsr.features.mel import AVSE_SETS, BANDS, STFT_20MS, ae_msr_set
from avsr.models.registry import KINDS, loudest_mask, output_head
from avsr.models.systems import System, load_system
from avsr.parallel import map_unordered, progress
from avsr.revision import commit
from avsr.scoring.claims import read_claims
from avsr.scoring.report import Run, checkpoint_digest
from avsr.scoring.results import Provenance, read_scores
from avsr.scoring.tables import SNRS_ENERGY
from avsr.stages import common
from avsr.stages.gather import gathered, trained_in
from avsr.stages.pretrain import PretrainConf
from avsr.stages.score_command import frontend_elsewhere, run_command
from avsr.stages.score_jobs import WORDS, ScoreJob, data_digest, decoding, run_job, tested_on
from avsr.stages.shards import Counts, read_failed
from avsr.stages.train_system import MADE_BY, run_folder, stage_sections
from avsr.storage.datadir import HELDOUT
from avsr.training.folder import RunFolder

log = logging.getLogger("avsr")


@dataclass(frozen=True)
class ScoreConf:
    """Section `score:`."""

    # From mel magnitudes to a waveform; one for a whole table
    recon: Literal["gain", "capped", "pinv", "griffinlim"] = "gain"
    beam: int = 30
    length_penalty: float = 0.0  # of the beam: a sum of log-probabilities over (tokens) ** this; the paper's code: 0
    shuffled: tuple[str, ...] = ("mhca_avcrn",)  # systems that are scored with the lips of another utterance too
    oracle: bool = True  # the true mel magnitudes, reconstructed: what `recon` loses; and the best mask of 0 to 1
    claims: tuple[str, ...] = ()  # of a paper, in a table of their own: names of conf/claims/, such as ae_msr
    differences: tuple[str, ...] = ()  # enhancement systems above which the gain of all others has tables of its own
    # Publish every utterance's scores too, in scores/: other runs' rows stand beside them then (avsr.stages.gather)
    keep_scores: bool = False
    checks: str | None = "mini"  # what is asked of the results: conf/checks/<name>.yaml; null: nothing
    # Of the spectrograms; null: one chosen by hash. Of several each has a Figure 3, the first all other figures.
    figure_utterance: str | tuple[str, ...] | None = None
    # Dotted frames around details in Figure 3 of the first: start s, end s, lowest kHz, highest kHz
    figure_boxes: tuple[tuple[float, float, float, float], ...] = ()


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    parser = common.parser("score", __doc__)
    parser.add_argument("--work-dir", type=Path, required=True, help="work folder of the recipe")
    parser.add_argument("--systems", help="only these of the recipe's systems, as 'ae_tcn mhca_avcrn'")
    parser.add_argument("--checkpoint", type=Path, help="score this checkpoint too, in a row of its own")
    parser.add_argument("--publish", choices=("true", "false"), default="false", help="copy tables into --recipe-dir")
    parser.add_argument("--recipe-dir", type=Path, help="folder of the recipe, egs/<corpus>")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Plans the jobs, runs what is left, writes the report.

    Raises UsageError: claims or systems that there are not, a training of another network; AvsrError: --publish without
    --recipe-dir, nothing trained, noise lists missing; TooManyFailed above --max-fail-rate."""
    from avsr.stages.score_report import write_all

    conf = stage.conf(ScoreConf)
    if args.publish == "true" and args.recipe_dir is None:
        raise AvsrError("--publish true needs --recipe-dir: the folder of the recipe, egs/<corpus>")
    claims = tuple(claim for name in conf.claims for claim in read_claims(name))
    systems = recipe_systems(args)
    jobs = list(plan_jobs(args, conf, systems))
    say_untrained(args.work_dir, systems, jobs, args.seed)
    number, count = args.shard
    mine = jobs[number - 1 :: count]
    todo = [job for job in mine if not job.done()]
    log.info("%d measurements, %d done before", len(mine), len(mine) - len(todo))
    _run(todo, args.nj)
    log.info("score: %s", sum_counts([count_utterances(job, job in todo) for job in mine]))
    for job in mine:
        say_failed(stage, job)
    if not all(job.done() for job in jobs):
        log.info("part %d of %d done; the last part that ends writes RESULTS.md", number, count)
        return
    rows = tuple(table_rows(systems))
    about = (_recipe(args), _protocol(args), _preset(args), _synthetic(args))
    phones = corpus_of(args.work_dir).get("text") == "phones"
    run = Run(*about, rows, claims=claims, recon=conf.recon, references=conf.differences, phones=phones)
    write_all(args, conf, run)


def recipe_systems(args: argparse.Namespace) -> list[System]:
    """All systems of the recipe's stages 5 to 8 in the order of its configuration, or the ones of --systems."""
    sections = stage_sections(args)
    front = config.load_section(PretrainConf, args.config, "pretrain", args.sets)
    variants = {name: said for conf in (front, *sections.values()) for name, said in conf.variants.items()}
    for name in config.load_section(ScoreConf, args.config, "score", args.sets).differences:
        load_system(name, "tiny", (), variants)  # a name that is none is refused, not passed over
    presets = {"lipread": front.preset, **{kind: conf.preset for kind, conf in sections.items()}}
    names = (args.systems or "").replace(",", " ").split()
    names = names or [name for conf in (front, *sections.values()) for name in conf.systems]
    kinds = [load_system(name, "tiny", (), variants).kind for name in names]
    return [load_system(name, presets[kind], (), variants) for name, kind in zip(names, kinds, strict=True)]


def plan_jobs(args: argparse.Namespace, conf: ScoreConf, systems: list[System]):
    """Yields every measurement of this run, as ScoreJob.

    Raises AvsrError where there is no noise list, UsageError where a training is of another network than the recipe's
    system."""
    origin = (args, _recipe(args), _preset(args), _protocol(args))
    command = run_command(*origin, systems)
    noisy = args.work_dir / "data" / "test_noisy"
    lists = sorted(path.stem for path in noisy.glob("*.jsonl"))
    if (args.work_dir / "data" / HELDOUT).is_dir():
        held_out = noisy.with_name(f"{HELDOUT}_noisy")
        lists += sorted(f"{HELDOUT}_{path.stem}" for path in held_out.glob("*.jsonl"))
    if not lists and any(system.kind != "lipread" for system in systems):
        raise AvsrError(f"{noisy}: holds no noise list; stage 4 (mix) makes them; run that first")
    for row in ["unprocessed", *(["oracle"] if conf.oracle else [])]:
        for test_set in test_sets("enhance", "mel_slaney", lists) + test_sets("enhance", "mel_htk", lists):
            yield _job(args, conf, command, row, row, args.seed, test_set, None)
    for test_set in test_sets("enhance", "mel_htk", lists) if conf.oracle else ():
        yield _job(args, conf, command, "oracle_mask", "oracle_mask", args.seed, test_set, None)
    for system in systems:
        for folder in sorted((args.work_dir / "exp" / system.id).glob("seed*")):
            checkpoint = folder / "best.pt"
            if not trained_in(folder):  # scores of elsewhere
                continue
            if not RunFolder(folder).done.exists():
                log.warning("%s: the training there was not finished; it is left out", folder)
                continue
            RunFolder(folder).refuse_other_model(system.model)
            seed = int(folder.name.removeprefix("seed"))
            own = run_command(*origin, [system])
            for row in rows_of(system, conf):
                for test_set in sets_of(system, lists):
                    yield _job(args, conf, own, row, system.kind, seed, test_set, checkpoint)
            for phase, kept in kept_phases(folder) if system.kind == "lipread" else ():
                yield _job(args, conf, own, f"{system.id}+{phase}", system.kind, seed, WORDS, kept)
    if args.checkpoint:
        yield from _rescored(args, conf, f"{command} --checkpoint <checkpoint>", lists)


def rows_of(system: System, conf: ScoreConf) -> list[str]:
    """The rows of a trained system: itself, with shuffled video where asked, and OVA's audio branch alone."""
    shuffled = [f"{system.id}+shuffled"] if system.id in conf.shuffled else []
    return [system.id, *shuffled, *([f"{system.id}+audio"] if system.model["type"] == "ova" else [])]


def kept_phases(folder: Path) -> list[tuple[str, Path]]:
    """Names and checkpoints of the earlier phases whose best weights a finished training has kept."""
    run = RunFolder(folder)
    kept = sorted(folder.glob("best-*.pt"))
    last = checkpoint_digest(run.best)  # the last phase's are kept twice
    return [(path.stem.removeprefix("best-"), path) for path in kept if checkpoint_digest(path) != last]


def say_untrained(work_dir: Path, systems: list[System], jobs: list[ScoreJob], seed: int) -> None:
    """Says which systems of the recipe have no training. Raises AvsrError when nothing trained is to be scored."""
    scored = {job.system for job in jobs if job.checkpoint}
    if not scored and not any(gathered(work_dir, system.id) for system in systems):
        best = run_folder(work_dir, systems[0].id, seed) / "best.pt"
        raise AvsrError(
            f"{best} is missing, and no other system of this run is trained: {MADE_BY[systems[0].kind]} makes it for "
            f"{systems[0].id}; run stages 5 to 8 first"
        )
    for system in systems:
        folder = work_dir / "exp" / system.id
        lent = system.kind == "lipread" and frontend_elsewhere(work_dir)
        if not (lent or system.id in scored or any(folder.glob("seed*"))):  # of one that was stopped it is said above
            log.warning("%s is missing: %s makes it; %s has no row", folder, MADE_BY[system.kind], system.name)


def test_sets(kind: str, mel_set: str, lists: list[str], audio: bool = True) -> list[str]:
    """The test sets of a kind of system. A recogniser that hears nothing is scored once, on clean."""
    if kind == "lipread":
        return [WORDS]
    if kind in ("recognise", "joint"):
        return [name for name in lists if name == "clean" or (audio and name.startswith("babble"))]
    if mel_set not in AVSE_SETS:
        measured = [f"babble_{snr}dB" for snr in SNRS_ENERGY]
        return [name for name in lists if name in [*measured, *(f"{HELDOUT}_{name}" for name in measured)]]
    return [name for name in lists if not name.startswith(("babble", "clean", HELDOUT))]


def sets_of(system: System, lists: list[str]) -> list[str]:
    """The test sets of a system."""
    mel_set = "mel_slaney" if all_noises(system) else system_mel_set(system)
    return test_sets(system.kind, mel_set, lists, listens(system))


def all_noises(system: System) -> bool:
    """Whether a sub-network of AE-MSR was trained as the systems of MHCA-AVCRN are, and so is tested as they are."""
    return system.kind == "enhance" and system.model["type"] == "ae" and system.training == "avse"


def system_mel_set(system: System) -> str:
    """By which lists and tables are chosen: AE sub-networks hear `mel_htk` or `stft`; the systems of the enhancement
    tables `mel_slaney` or magnitudes, and those that hear something else, as published, stand with them."""
    if system.model["type"] == "ae":
        return ae_msr_set(system.model.get("mels", BANDS))
    return STFT_20MS if system.model.get("domain") == "magnitude" else "mel_slaney"


def listens(system: System) -> bool:
    """Whether a recogniser has an audio input."""
    return system.kind == "joint" or system.model.get("modality") != "v"


def table_rows(systems: list[System]):
    """The systems as rows of the tables."""
    from avsr.scoring.tables import System as Row

    for system in systems:
        if system.kind == "enhance":
            output = {"head": output_head(system.model), "loudest": loudest_mask(system.model)}
            wave = system.model["type"] == "l2l_complex"
            output |= {"makes_wave": wave, "all_noises": all_noises(system)}
            yield Row(system.id, system.name, system.kind, system_mel_set(system), **output)
            continue
        if system.kind == "lipread":
            yield Row(system.id, system.name, system.kind, system_mel_set(system))
            continue
        modality = (system.model["recogniser"] if system.kind == "joint" else system.model)["modality"].upper()
        heard = system.enhancer or ("unprocessed" if "A" in modality else "")
        inputs = f"V{modality}" if system.kind == "joint" else modality
        ours = system.row.startswith("not in the paper")
        yield Row(system.id, system.name, system.kind, system_mel_set(system), inputs, heard, ours)


def _rescored(args: argparse.Namespace, conf: ScoreConf, command: str, lists: list[str]):
    from avsr.training import checkpoint as checkpoints

    content = checkpoints.read(args.checkpoint)
    described = content["config"]["system"]
    model = described["model"]
    training = "avse" if described.get("noise", {}).get("natural") else "ae"
    system = System(described["id"], "", described["id"], KINDS[model["type"]], model, training=training)
    row = f"{described['id']}@{checkpoint_digest(args.checkpoint)[:8]}"
    for test_set in sets_of(system, lists):
        seed = content["config"]["train"]["seed"]
        yield _job(args, conf, command, row, system.kind, seed, test_set, args.checkpoint)


def _job(
    args, conf: ScoreConf, command: str, row: str, kind: str, seed: int, test_set: str, checkpoint: Path | None
) -> ScoreJob:
    provenance = Provenance(
        _protocol(args),
        _preset(args),
        command,
        commit(),
        f"{row.split('+')[0]}/seed{seed}/{checkpoint.name}" if checkpoint else "",
        checkpoint_digest(checkpoint) if checkpoint else "",
        decoding(conf) if kind in ("recognise", "joint") else "",
        tested_on(args.work_dir, test_set, conf.recon),
    )
    digest = data_digest(args.work_dir, test_set)
    how = (conf.recon, conf.beam, conf.length_penalty)
    return ScoreJob(row, kind, seed, test_set, args.work_dir, checkpoint, provenance, *how, digest, args.device)


def _run(jobs: list[ScoreJob], nj: int) -> None:
    if not jobs:
        return
    for job in progress(map_unordered(run_job, jobs, min(nj, len(jobs))), len(jobs), "score"):
        log.debug("scored %s on %s", job.row, job.test_set)
        if job.kind in ("recognise", "joint"):
            log.info("%s on %s: %s", job.row, job.test_set, job.speed.read_text(encoding="utf-8").strip())


def count_utterances(job: ScoreJob, now: bool) -> Counts:
    """How the utterances of a measurement ended; those that were measured before this run (not `now`) are skipped."""
    total, failed = len(read_scores(job.scores).utts), len(read_failed(job.folder))
    return Counts(total - failed if now else 0, failed, 0 if now else total - failed)


def sum_counts(counts: list[Counts]) -> Counts:
    """All of them together."""
    return Counts(*(sum(getattr(one, name) for one in counts) for name in ("ok", "failed", "skipped")))


def say_failed(stage: common.Stage, job: ScoreJob) -> None:
    """Says what of a measurement has no score. Raises TooManyFailed (exit 3) above --max-fail-rate."""
    scores, failed = read_scores(job.scores), read_failed(job.folder)
    total = len(scores.utts)
    values = np.array(list(scores.columns.values())).reshape(len(scores.columns), total)
    empty = [utt for utt, absent in zip(scores.utts, np.isnan(values).all(axis=0), strict=True) if absent]
    if empty:
        why = scores.reasons.get(empty[0], "no reason")
        log.warning("%s on %s: %d of %d not scored (first: %s)", job.row, job.test_set, len(empty), total, why)
    stage.check_failed(job.folder, len(failed), total)


def _recipe(args: argparse.Namespace) -> str:
    """The name of the recipe: the folder that its configuration lies in."""
    return args.config[0].resolve().parent.parent.name if args.config else "recipe"


def _preset(args: argparse.Namespace) -> str:
    return args.config[-1].stem if args.config else "none"


def _protocol(args: argparse.Namespace) -> str:
    return corpus_of(args.work_dir)["protocol"]


def _synthetic(args: argparse.Namespace) -> bool:
    return corpus_of(args.work_dir)["synthetic"]


def corpus_of(work_dir: Path) -> dict:
    """What stage 1 says of the corpus: protocol, synthetic or not, the ids of each split. AvsrError without it."""
    path = work_dir / "data" / "splits.json"
    if not path.exists():
        raise AvsrError(f"{path} is missing: stage 1 (prepare) makes it; run that first")
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
