"""Stage 5: lip reading of words trains the front-end, which is then frozen; its features of every utterance are stored.

Reads  DIR/dump/video/<split>/crop112/ (stage 2), word times from DIR/data/<split>/ctm (stage 1)
Writes DIR/exp/<system>/seed<k>/          the word classifiers (p3d50: AE-MSR section 5.2)
       DIR/dump/video_feats/<split>/      (T, 512) float32 a clip, from the front-end of the best p3d50
With --shard the first part trains, and all parts, once that has ended, share the features.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avsr.errors import AvsrError, UsageError
from avsr.models.systems import load_system
from avsr.stages import common
from avsr.stages.prepare_readers import SPLITS
from avsr.stages.train_system import plan, run_folder
from avsr.storage.arrays import Store
from avsr.storage.markers import fingerprint

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


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    parser = common.parser("pretrain", __doc__)
    parser.add_argument("--work-dir", type=Path, required=True, help="work folder of the recipe")
    parser.add_argument("--systems", help="only these of the recipe's word classifiers")
    parser.add_argument("--frontend", type=Path, help="a checkpoint made elsewhere, taken instead of a training")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Trains unless --frontend is given, then extracts features."""
    conf = stage.conf(PretrainConf)
    crops = {split: Store(args.work_dir / "dump" / "video" / split / "crop112", "stage 2 (crop)") for split in SPLITS}
    if args.frontend:
        from avsr.training import checkpoint as checkpoints

        checkpoints.read(args.frontend, conf.features)  # says what is wrong with it before any process is started
        extract(args, stage, conf, crops, args.frontend, args.frontend.name)
        return
    train_classifiers(args, conf)
    if conf.features is not None:
        best = run_folder(args.work_dir, conf.features, args.seed) / "best.pt"
        # Not where the work folder lies: it may be moved, or be named differently another time.
        extract(args, stage, conf, crops, best, str(best.relative_to(args.work_dir)))


def extract(
    args: argparse.Namespace, stage: common.Stage, conf: PretrainConf, crops: dict[str, Store], best: Path, name: str
) -> None:
    """The features of every utterance by the front-end of a checkpoint; `name` is written beside them."""
    for split in SPLITS:
        key = ["features 1", crops[split].digest, fingerprint([best])]
        out = args.work_dir / "dump" / "video_feats"
        worker_args = (crops[split].folder, best, args.device)
        stage.process(crops[split].keys(), make_extractor, worker_args, out, {split: {"frontend": name}}, key)


def train_classifiers(args: argparse.Namespace, conf: PretrainConf) -> None:
    """Trains the word classifiers, with as many classes as the training split has words."""
    from avsr.training.many import train_many
    from avsr.training.tasks.words import word_list

    words = word_list(args.work_dir)
    inputs = [args.work_dir / "dump" / "video" / split / "crop112" for split in ("train", "valid")]
    inputs += [args.work_dir / "data" / split / "ctm" for split in ("train", "valid")]
    jobs = []
    for name in chosen(args, conf):
        system = load_system(name, conf.preset)
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
    """The word classifiers of this run: all, or those that --systems names and the one that gives the features."""
    named = (args.systems or "").replace(",", " ").split()
    return [name for name in conf.systems if not named or name in named or name == conf.features]


def make_extractor(crops: Path, checkpoint: Path, device: str) -> Callable[[str], dict[str, Any]]:
    """Features of one utterance by the frozen front-end."""
    import torch

    from avsr.training.checkpoint import load_model

    torch.set_num_threads(1)
    model, _ = load_model(checkpoint, device)
    if not hasattr(model, "frontend"):
        raise UsageError(f"--frontend {checkpoint}: holds no lip-reading front-end; give a checkpoint of stage 5")
    store = Store(crops)
    split = crops.parent.name

    def work(utt: str) -> dict[str, Any]:
        crop = torch.from_numpy(store.read(utt))[None].to(device)
        with torch.inference_mode():
            features_btd = model.frontend(crop)
        return {split: features_btd[0].float().cpu().numpy()}

    return work


if __name__ == "__main__":
    sys.exit(main())
