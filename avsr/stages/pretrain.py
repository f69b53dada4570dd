"""Stage 5: lip reading of words trains the front-end, which is then frozen; its features of every utterance are stored.

Reads  DIR/dump/video/<split>/crop112/ (stage 2), word times from DIR/data/<split>/ctm (stage 1)
Writes DIR/exp/<system>/seed<k>/          the word classifiers (p3d50: AE-MSR section 5.2)
       DIR/exp/frontend.pt                with pretrain.export: the front-end that reads words best, for other recipes
       DIR/dump/video_feats/<split>/      (T, 512) a clip, from the front-end of the best p3d50
       DIR/dump/video_feats_flipped/train with pretrain.views [straight, flipped]: the same of the mirrored clips
With --shard the first part trains, and all parts, once that has ended, share the features.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from avsr.errors import AvsrError
from avsr.models.systems import System, load_system
from avsr.stages import common
from avsr.stages.prepare_readers import SPLITS
from avsr.stages.train_system import plan, run_folder, stage_sections
from avsr.storage.arrays import Store
from avsr.storage.datadir import HELDOUT
from avsr.storage.lip_features import FOLDERS, View
from avsr.storage.markers import fingerprint, is_done, mark
from avsr.training.folder import RunFolder

log = logging.getLogger("avsr")


@dataclass(frozen=True)
class PretrainConf:
    """Section `pretrain:`."""

    systems: tuple[str, ...] = ("p3d50",)  # word classifiers, all trained
    features: str | None = "p3d50"  # the one whose front-end the other stages see with; null: none is needed
    preset: str = "base"  # base is the paper's size; small and tiny are narrower
    seeds: int = 1  # how many: --seed, --seed + 1, ...
    window: int = 29  # frames around the middle of a word; LRW's clips have 29
    train: dict[str, Any] = field(default_factory=dict)  # overrides of conf/training/<protocol>.yaml, by protocol
    export: bool = False  # write the front-end of the trained system that is best on validation to exp/frontend.pt
    views: tuple[View, ...] = ("straight",)  # of training clips; with flipped, one of both in each epoch
    feature_dtype: Literal["float32", "float16"] = "float32"  # as stored; an ark takes 4 bytes a number all the same
    # Word classifiers of the recipe's own, by id: what a YAML of conf/systems/ would say
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self):
        if self.views not in (("straight",), ("straight", "flipped")):
            raise ValueError("views must be [straight] or [straight, flipped]")

    def load(self, name: str) -> System:
        """The word classifier or variant of this id in the stage's preset."""
        return load_system(name, self.preset, (), self.variants)


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    parser = common.parser("pretrain", __doc__)
    parser.add_argument("--work-dir", type=Path, required=True, help="work folder of the recipe")
    parser.add_argument("--systems", help="only these of the recipe's word classifiers")
    parser.add_argument("--frontend", type=Path, help="made elsewhere, taken instead of a training: a file or folder")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Trains unless --frontend is given, then extracts features."""
    conf = stage.conf(PretrainConf)
    names = chosen(args, conf)
    splits = [*SPLITS, *([HELDOUT] if (args.work_dir / "data" / HELDOUT).is_dir() else [])]
    crops = {split: Store(args.work_dir / "dump" / "video" / split / "crop112", "stage 2 (crop)") for split in splits}
    if args.frontend:
        from avsr.training import frontend

        found = frontend.find(args.frontend)
        frontend.read(found)  # says what is wrong with it before any process is started
        extract(args, stage, conf, crops, found, found.name)
        return
    if not names and conf.features is None:
        log.info("pretrain: this recipe has no front-end")
        return
    train_classifiers(args, conf, names)
    if conf.export and args.shard[0] == 1:
        export_best(args, conf)
    if conf.features is not None:
        best = run_folder(args.work_dir, conf.features, args.seed) / "best.pt"
        # Not where the work folder lies: it may be moved, or be named differently another time.
        extract(args, stage, conf, crops, best, str(best.relative_to(args.work_dir)))


def extract(
    args: argparse.Namespace, stage: common.Stage, conf: PretrainConf, crops: dict[str, Store], best: Path, name: str
) -> None:
    """The features of every utterance by a front-end; `name` is written beside them. Mirrored ones of training first:
    the others, which say that there are two views, come last."""
    both = len(conf.views) > 1
    for view, split in [("flipped", "train")] * both + [("straight", split) for split in crops]:
        key = ["features 1", crops[split].digest, fingerprint([best])]
        key += [what for what in (view, conf.feature_dtype) if what not in ("straight", "float32")]
        meta = {"frontend": name, **({"views": list(conf.views)} if both and split == "train" else {})}
        worker_args = (crops[split].folder, best, args.device, view == "flipped", conf.feature_dtype)
        out = args.work_dir / "dump" / FOLDERS[view]
        stage.process(crops[split].keys(), make_extractor, worker_args, out, {split: meta}, key)


def export_best(args: argparse.Namespace, conf: PretrainConf) -> None:
    """The front-end of the best of the trained systems that have one, to exp/frontend.pt."""
    from avsr.models.registry import has_frontend
    from avsr.training import frontend

    names = [name for name in conf.systems if has_frontend(conf.load(name).model)]
    folders = [run_folder(args.work_dir, name, k) for name in names for k in range(args.seed, args.seed + conf.seeds)]
    runs = [run for run in map(RunFolder, folders) if run.done.exists()]
    if not runs:
        raise AvsrError("pretrain.export: no trained system has a front-end; set it to false, or name one in --systems")
    out = args.work_dir / "exp" / "frontend.pt"
    marker, key = out.with_name("frontend.done.json"), ["front-end 1", fingerprint([run.done for run in runs])]
    if is_done(marker, key):
        return
    best = frontend.best_of([run.best for run in runs])
    origin = {"run": str(best.relative_to(args.work_dir)), "digest": RunFolder(best.parent).digest()}
    origin = frontend.export(best, out, origin)
    mark(marker, key, [out])
    log.info("%s: from %s, %.1f %% of %d words", out, origin["run"], 100 * origin["accuracy"], origin["words"])


def train_classifiers(args: argparse.Namespace, conf: PretrainConf, names: list[str]) -> None:
    """Trains the word classifiers `names`, with as many classes as the training split has words."""
    from avsr.training.many import train_many
    from avsr.training.tasks.words import check_validation, word_list

    words = word_list(args.work_dir)
    check_validation(args.work_dir, words)
    inputs = [args.work_dir / "dump" / "video" / split / "crop112" for split in ("train", "valid")]
    inputs += [args.work_dir / "data" / split / "ctm" for split in ("train", "valid")]
    jobs = []
    for name in names:
        system = conf.load(name)
        system = replace(system, model={**system.model, "classes": len(words)})
        log.info("%s (%s): %d words", system.name, conf.preset, len(words))
        for seed in range(args.seed, args.seed + conf.seeds):
            jobs.append(plan(system, conf, args.work_dir, seed, args.device, inputs, {"window": conf.window}))
    jobs = [job for job in jobs if job is not None]
    number, count = args.shard
    if jobs and number > 1:  # two processes cannot share a training
        best = jobs[0].folder / "best.pt"
        raise AvsrError(f"{best} is missing: --shard 1/{count} trains it; when that has ended, run this part again")
    if jobs:
        train_many(jobs, args.nj)


def chosen(args: argparse.Namespace, conf: PretrainConf) -> list[str]:
    """The word classifiers of this run: all, or those that --systems names and the one that gives the features.

    Raises UsageError for a name that is no system's.
    """
    named, variants = (args.systems or "").replace(",", " ").split(), dict(conf.variants)
    for section in stage_sections(args).values():
        variants |= section.variants
    for name in named:
        load_system(name, "tiny", (), variants)  # of another stage: passed over here; a name that is none is refused
    return [name for name in conf.systems if not named or name in named or name == conf.features]


def make_extractor(
    crops: Path, checkpoint: Path, device: str, flipped: bool, dtype: str
) -> Callable[[str], dict[str, Any]]:
    """Features of one utterance, or of its mirror image, by the frozen front-end."""
    import torch

    from avsr.training import frontend

    torch.set_num_threads(1)
    model = frontend.load(checkpoint, device)
    store = Store(crops)
    split = crops.parent.name

    def work(utt: str) -> dict[str, Any]:
        crop = torch.from_numpy(store.read(utt))[None].to(device)
        with torch.inference_mode():
            features_btd = model(crop.flip(-1) if flipped else crop)
        return {split: features_btd[0].float().cpu().numpy().astype(dtype)}

    return work


if __name__ == "__main__":
    sys.exit(main())
