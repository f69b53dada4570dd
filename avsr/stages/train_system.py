"""Trainings of systems, as stages 5 to 8 start them, each in a process of its own."""

import argparse
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avsr import config
from avsr.errors import AvsrError, UsageError
from avsr.models.registry import video_of
from avsr.models.systems import System, load_system, system_ids, training_conf
from avsr.noise.lists import NoiseConf
from avsr.noise.sources import NoiseSources
from avsr.pieces import Units
from avsr.rng import rng
from avsr.stages import common
from avsr.stages.joint_parts import check_parts
from avsr.stages.prepare import SPLITS
from avsr.stages.seen import seen_features
from avsr.stages.units import described_units, refuse_other_units, trained_units, work_units
from avsr.storage import lip_features
from avsr.storage.arrays import Store
from avsr.storage.datadir import read_datadir
from avsr.text import Characters
from avsr.training.conf import TrainConf, phase_options
from avsr.training.folder import RunFolder, resolved
from avsr.training.many import Job, train_many

log = logging.getLogger("avsr")


STAGES = ("enhance", "recognise", "joint")  # sections of the configuration
MADE_BY = {
    "lipread": "stage 5 (pretrain)",
    "enhance": "stage 6 (enhance)",
    "recognise": "stage 7 (recognise)",
    "joint": "stage 8 (joint)",
}
BABBLE = {"natural": 0.0, "babble": 1.0, "p_speech": 0.0}  # AE-MSR section 5.1: babble alone
# What training utterances are mixed with, by protocol. An enhancer learns little from clean speech, so the AE sees
# 0.9 noisy ones; the paper's literal share is 0.25. Decision: see docs/decisions.md. In recognition the phases of
# conf/training say how many are noisy.
NOISE = {
    **dict.fromkeys(("words", "stafylakis", "petridis", "chung_mt"), NoiseConf()),  # they hear nothing
    "avse": NoiseConf(),
    "vse": NoiseConf(snr=(0.0, 0.0)),
    "ae": NoiseConf(p_noise=0.9, **BABBLE),
    "recogniser": NoiseConf(**BABBLE),
    "joint": NoiseConf(**BABBLE),
}


@dataclass(frozen=True)
class TrainStageConf:
    """Sections `enhance:`, `recognise:` and `joint:`."""

    systems: tuple[str, ...] = ()  # ids of conf/systems/
    preset: str = "base"  # base is the paper's size; small and tiny are narrower
    seeds: int = 1  # how many: --seed, --seed + 1, ...
    seeds_of: dict[str, int] = field(default_factory=dict)  # the same for systems by id; parts of a system have as many
    train: dict[str, dict[str, Any]] = field(default_factory=dict)  # overrides of conf/training/: protocol, then system
    noise: dict[str, dict[str, Any]] = field(default_factory=dict)  # overrides of NOISE: protocol, then system
    # Systems of the recipe's own, by id: what a YAML of conf/systems/ would say, such as {extends: mhca_avcrn, ...}
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    # A recogniser of sound and lips -> the ones of sound and of lips whose weights it starts from. Not in the paper.
    start_from: dict[str, tuple[str, str]] = field(default_factory=dict)
    units: Units = "characters"  # what recognisers write; unigram, bpe: pieces of words, trained on the training text
    pieces: int = 500  # how many of them in all, the characters and four special ones counted

    def __post_init__(self):
        if min([self.seeds, *self.seeds_of.values()]) < 1:
            raise ValueError("seeds and seeds_of count trainings, from 1 on")

    def load(self, name: str) -> System:
        """The system or variant of this id in the stage's preset."""
        return load_system(name, self.preset, (), self.variants)

    def seeds_for(self, name: str) -> int:
        """How many trainings of a system this section asks for."""
        return self.seeds_of.get(name, self.seeds)


def train_stage(name: str, kind: str, doc: str, argv: Sequence[str] | None) -> int:
    """A stage that trains all systems of one kind, --nj side by side; returns its exit code."""
    parser = common.parser(name, doc)
    parser.add_argument("--work-dir", type=Path, required=True, help="work folder of the recipe")
    parser.add_argument("--systems", help="only these of the recipe's systems, as 'ae_tcn mhca_avcrn'")

    def body(args: argparse.Namespace, stage: common.Stage) -> None:
        conf = stage.conf(TrainStageConf)
        for named in (*conf.start_from, *conf.seeds_of):
            conf.load(named)  # a name that is none is refused, not passed over
        for named in conf.seeds_of:
            _check_name("seeds_of", named, kind, conf.variants)
        systems = selected(conf, wanted(args) if args.systems else conf.systems, kind)
        if not systems:
            log.info("%s: this recipe has no system of this stage%s", name, " in --systems" if args.systems else "")
        if systems and kind != "enhance":
            say_transcripts(args.work_dir)
        known = {system.id for system in systems}
        counts = seed_counts(stage_sections(args), known)
        for starting in (False, True):  # first those that others start from
            wave = [system for system in systems if bool(known & {*conf.start_from.get(system.id, ())}) == starting]
            train_wave(wave, conf, args, counts)

    return common.run(parser, body, list(argv) if argv is not None else None)


def train_wave(
    systems: list[System], conf: TrainStageConf, args: argparse.Namespace, counts: Mapping[str, int]
) -> None:
    """Trains systems that do not wait for each other, all seeds (`counts`: how many, by id), --nj side by side."""
    number, count = args.shard
    most = max((counts[system.id] for system in systems), default=0)
    runs = [(system, args.seed + k) for k in range(most) for system in systems if k < counts[system.id]]
    todo = []
    for system, seed in runs[number - 1 :: count]:
        try:
            inputs = inputs_of(system, conf, args.work_dir, seed)
            todo.append(plan(system, conf, args.work_dir, seed, args.device, inputs))
        except AvsrError as error:
            if count == 1:
                raise
            raise AvsrError(f"{error}; if another part of --shard trains it, run this part again after that") from None
    todo = [job for job in todo if job is not None]
    if not todo:
        return
    for split in SPLITS[:2]:
        NoiseSources(args.work_dir, split)  # says what stage 4 has not made, before a training starts
    train_many(todo, args.nj)


def say_transcripts(work_dir: Path) -> None:
    """Says what recognisers leave out of the transcripts, in training and in scoring.

    Raises AvsrError where nothing is left for training or validation, as under GRID's protocol GT."""
    for split in SPLITS:
        table = work_dir / "data" / split / "text"
        texts = [row.text for row in read_datadir(table.parent).values()]
        for line in Characters().remarks(texts):
            log.info("%s: %s", table, line)
        if split in SPLITS[:2] and not any(Characters().clean(text)[0] for text in texts):
            raise AvsrError(
                f"{table}: no utterance has a transcript, which recognisers need there; prepare the corpus by another "
                "protocol (of GRID: G), or give --systems without recognisers"
            )


def inputs_of(system: System, conf: TrainStageConf, work_dir: Path, seed: int) -> list[Path]:
    """The stores, files and checkpoints that a system is made from: a change of one asks for another training.

    Of a joint system they are those of its parts and of what it starts from.
    """
    starts = list(starting_points(system, conf, work_dir, seed).values())
    if system.kind == "joint":
        return starts
    dump, data, video, splits = work_dir / "dump", work_dir / "data", video_of(system.model), SPLITS[:2]
    # In the order of the stages, so that the first that was not run is named.
    inputs = [dump / "video" / split / video for split in splits if video in ("crop80", "crop128")]
    inputs += [dump / "audio" / split / "wave" for split in splits]
    inputs += [dump / "noise", data / "noise_splits.json", *(dump / "babble" / split for split in splits)]
    inputs += [dump / "video_feats" / split for split in splits if video == "feats"]
    if system.kind == "recognise":
        inputs += [data / split / name for split in splits for name in ("text", "ctm")]
    lists = ("clean", "babble") if system.kind == "recognise" else ("train_like", "babble")
    return [*inputs, *(data / "valid_noisy" / f"{name}.jsonl" for name in lists), *starts]


def run_folder(work_dir: Path, system: str, seed: int) -> Path:
    """Where a training run writes, and where stage 9 finds it."""
    return Path(work_dir) / "exp" / system / f"seed{seed}"


def train_conf(system: System, conf: Any, seed: int) -> TrainConf:
    """The system's training as its protocol, its YAML and the recipe's `train:` (of a stage's `conf`) make it.

    Raises UsageError for what no protocol or task knows, before any training starts.
    """
    variants = getattr(conf, "variants", {})
    for name in conf.train:
        _check_name("train", name, system.kind, variants)
    train = replace(training_conf(system, conf.train), seed=seed)
    for phase in train.all_phases():
        phase_options(system.kind, phase)
    return train


def noise_conf(system: System, conf: Any) -> NoiseConf:
    """What is mixed in by the system's protocol: NOISE, overlaid by what the recipe's `noise:` (of a stage's `conf`)
    says for the protocol, then for the system."""
    overrides = getattr(conf, "noise", {})
    for name in overrides:
        _check_name("noise", name, system.kind, getattr(conf, "variants", {}))
    data = config.to_dict(NOISE[system.training])
    for name in (system.training, system.id):
        data = config.merge(data, overrides.get(name, {}))
    return config.build(NoiseConf, data, f"noise.{system.training}")


def _check_name(section: str, name: str, kind: str, variants: dict) -> None:
    """Refuses what is no protocol, and no system of this kind."""
    if name in system_ids(variants):
        other = load_system(name, "tiny", (), variants).kind
        if other != kind:
            raise UsageError(f"{section}: {name} is trained by {MADE_BY[other]}")
    elif name not in NOISE:
        known = ", ".join(NOISE)
        raise UsageError(f"{section}: there is no training protocol '{name}'; there is {known}, or a system's id")


def plan(
    system: System, conf: Any, work_dir: Path, seed: int, device: str, inputs: Sequence[Path], options: Any = None
) -> Job | None:
    """The job that trains a system, or None when it is done. `inputs` are the stores and files it is made from."""
    folder = run_folder(work_dir, system.id, seed)
    train, starts = train_conf(system, conf, seed), starting_points(system, conf, work_dir, seed)
    digests = [_digest(path) for path in inputs]
    model, seen, more = seen_features(system.model, work_dir)
    described = {
        "id": system.id,
        "model": model,
        "noise": noise_conf(system, conf),
        "options": {**(options or {}), **seen},
        "inputs": digests + [_digest(path) for path in more],
    }
    if system.kind in ("recognise", "joint"):
        units = work_units(work_dir, conf.units, conf.pieces)
        described |= described_units(replace(system, model=model), units, conf.units)
        refuse_other_units(described, system.kind, (path for part, path in starts.items() if part != "enhancer"))
    described = config.to_dict(described)
    if RunFolder(folder).finished(resolved(described, train)):
        log.info("%s, seed %d: trained before", system.id, seed)
        return None
    if system.kind == "joint":
        check_parts(system.id, model, starts)
    args = {
        "kind": system.kind,
        "described": described,
        "train": config.to_dict(train),
        "work_dir": str(Path(work_dir).absolute()),
        "device": device,
        "start_from": {part: str(path.absolute()) for part, path in starts.items()},
    }
    return Job(f"{system.id} seed {seed}", f"{__name__}:train_one", args, folder, train.processes)


def starting_points(system: System, conf: Any, work_dir: Path, seed: int) -> dict[str, Path]:
    """Checkpoints that a system starts from. Joint: the frozen enhancer and the recogniser trained on clean speech.
    A recogniser, alone or joint, that `start_from` names: those of sound and of lips."""
    parts = {}
    if system.kind == "joint":
        parts = {"enhancer": (system.enhancer, "best.pt"), "recogniser": (system.recogniser, "best-sentences.pt")}
    if system.id in getattr(conf, "start_from", {}):
        audio, video = conf.start_from[system.id]
        parts.pop("recogniser", None)
        parts |= {"audio": (audio, "best.pt"), "video": (video, "best.pt")}
    found = {}
    for part, (name, file) in parts.items():
        path = run_folder(work_dir, name, seed) / file
        if part == "recogniser" and RunFolder(path.parent).done.exists() and not path.exists():
            raise AvsrError(f"{path} is missing: {name} was trained without a clean phase; "
                            f"let {system.id} start from others as well: {system.kind}.start_from")  # fmt: skip
        if not path.exists():
            made_by = MADE_BY[conf.load(name).kind]
            raise AvsrError(f"{path} is missing: {made_by} makes it for {name}; run that first, seed {seed}")
        found[part] = path
    return found


def train_one(kind: str, described: dict, train: dict, work_dir: str, device: str, start_from: dict[str, str]) -> None:
    """Trains one system from plain data; called in a process of its own."""
    from avsr.models.registry import build_model
    from avsr.training import checkpoint
    from avsr.training.trainer import seed_torch
    from avsr.training.trainer import train as run_training

    conf = config.build(TrainConf, train, "train")
    seed_torch(conf.seed)
    model = build_model(described["model"])
    weights = {part: checkpoint.read(Path(path))["model"] for part, path in start_from.items()}
    for part in {"enhancer", "recogniser"} & {*start_from}:
        checkpoint.fill(getattr(model, part), weights[part], Path(start_from[part]))
    if "audio" in weights:
        model.start_from(weights["audio"], weights["video"])
    task = make_task(kind, model, described, Path(work_dir), conf.seed)
    run_training(model, task, conf, run_folder(work_dir, described["id"], conf.seed), described, device)


def make_task(kind: str, model: Any, described: dict, work_dir: Path, seed: int) -> Any:
    """The task of a kind of system.

    Each system draws noise of its own: one that starts from another must not hear the other's mixtures again.
    """
    seed = int(rng(seed, described["id"], "task").integers(2**31))
    noise = config.build(NoiseConf, described["noise"], "noise")
    flipped = "flipped" in described["options"].get("views", ())
    if kind == "lipread":
        from avsr.training.tasks.words import WordsData, WordsTask

        return WordsTask(WordsData(work_dir, described["options"]["window"], seed))
    if kind == "enhance":
        from avsr.training.tasks.enhance import EnhanceData, EnhanceTask

        data = EnhanceData(work_dir, model.mel_set, model.video_input, model.frame_multiple, noise, seed, flipped)
        return EnhanceTask(data)
    from avsr.training.tasks.recognise import JointTask, RecogniseData, RecogniseTask

    units = trained_units(work_dir, described)
    inputs = (model.audio_input, model.video_input)
    data = RecogniseData(work_dir, *inputs, noise, seed, flipped, units, model.mel_set)
    return (JointTask if kind == "joint" else RecogniseTask)(data)


def selected(conf: TrainStageConf, names: Sequence[str], kind: str) -> list[System]:
    """Those of some systems that are of a stage's kind."""
    return [system for system in map(conf.load, names) if system.kind == kind]


def stage_sections(args: argparse.Namespace) -> dict[str, TrainStageConf]:
    """The sections of stages 6 to 8, by kind of system."""
    return {name: config.load_section(TrainStageConf, args.config, name, args.sets) for name in STAGES}


def load_with_parts(name: str, sections: Mapping[str, TrainStageConf]) -> tuple[System, list[str]]:
    """A system, and the ids of what it is made from: enhancer and recogniser, or those that it starts from."""
    variants = {other: said for section in sections.values() for other, said in section.variants.items()}
    starts = {other: parts for section in sections.values() for other, parts in section.start_from.items()}
    system = load_system(name, "tiny", (), variants)
    return system, [part for part in (system.enhancer, *starts.get(name, [system.recogniser])) if part]


def seed_counts(sections: Mapping[str, TrainStageConf], more: Iterable[str] = ()) -> dict[str, int]:
    """How many trainings each system of the recipe, and of `more`, has, by id: as many as its section asks for, and no
    fewer than any system that is made from it, whose every seed takes the part of that seed."""
    counts: dict[str, int] = {}
    left = [(name, 1) for section in sections.values() for name in section.systems] + [(name, 1) for name in more]
    while left:
        name, least = left.pop()
        system, parts = load_with_parts(name, sections)
        if system.kind not in sections:  # a word classifier: stage 5 trains it
            continue
        count = max(least, sections[system.kind].seeds_for(name), counts.get(name, 0))
        if count != counts.get(name):
            counts[name] = count
            left += [(part, count) for part in parts]
    return counts


def wanted(args: argparse.Namespace) -> list[str]:
    """The systems of --systems and all that they are made from: enhancer, recogniser, those that they start from."""
    sections = stage_sections(args)
    named = args.systems.replace(",", " ").split()
    found, left = [], named[::-1]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.append(name)
        left += load_with_parts(name, sections)[1][::-1]
    more = [name for name in found if name not in named]
    if more:
        log.info("--systems %s: made from %s, which are trained too", " ".join(named), " ".join(more))
    return found


def _digest(path: Path) -> str:
    """The digest of a store, of a checkpoint's marker, or of a file (empty where there is none)."""
    if path.suffix in (".json", ".jsonl") or path.name in ("text", "ctm"):
        return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest() if path.exists() else ""
    if path.suffix == ".pt":
        return RunFolder(path.parent).digest()
    made_by = {
        "audio": "stage 3 (extract)", "video": "stage 2 (crop)", "noise": "stage 4 (mix)", "babble": "stage 4 (mix)",
        **dict.fromkeys(lip_features.FOLDERS.values(), lip_features.STAGE),
    }  # fmt: skip
    return Store(path, next(made_by[part] for part in path.parts[::-1] if part in made_by)).digest
