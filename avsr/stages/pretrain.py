"""Stage 5: the lip-reading front-end: trained on words, then frozen; its features of every utterance are stored.

Reads  DIR/dump/video/<split>/crop112/ (stage 2), word times from DIR/data/<split>/ctm (stage 1)
Writes DIR/exp/p3d50/seed<k>/             the word classifier (AE-MSR section 5.2)
       DIR/dump/video_feats/<split>/      (T, 512) float32 a clip, from the front-end of its best checkpoint
With --shard the first part trains, and all parts, once that has ended, share the features.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsr.errors import AvsrError, UsageError
from avsr.stages import common
from avsr.stages.prepare import SPLITS
from avsr.storage.arrays import Store
from avsr.storage.markers import fingerprint

log = logging.getLogger("avsr")


@dataclass(frozen=True)
class PretrainConf:
    """Section `pretrain:`."""

    system: str = "p3d50"
    preset: str = "base"  # base is the paper's size; small and tiny are narrower
    window: int = 29  # frames around the middle of a word; LRW's clips have 29
    train: dict[str, Any] = field(default_factory=dict)  # overrides of conf/training/<protocol>.yaml, by protocol


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    parser = common.parser("pretrain", __doc__)
    parser.add_argument("--work-dir", type=Path, required=True, help="work folder of the recipe")
    parser.add_argument("--frontend", type=Path, help="a checkpoint made elsewhere, taken instead of a training")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Trains unless --frontend is given, then extracts features."""
    conf = stage.conf(PretrainConf)
    crops = {split: Store(args.work_dir / "dump" / "video" / split / "crop112", "stage 2 (crop)") for split in SPLITS}
    if args.frontend:
        from avsr.training import checkpoint as checkpoints

        checkpoints.read(args.frontend, conf.system)  # says what is wrong with it before any process is started
    checkpoint = args.frontend or train_frontend(args, conf)
    # Not where the work folder lies: it may be moved, or be named differently another time.
    name = args.frontend.name if args.frontend else str(checkpoint.relative_to(args.work_dir))
    for split in SPLITS:
        worker_args = (crops[split].folder, checkpoint, args.device)
        key = ["features 1", crops[split].digest, fingerprint([checkpoint])]
        out = args.work_dir / "dump" / "video_feats"
        stage.process(
            crops[split].keys(), make_extractor, worker_args, out, {split: {"frontend": name}}, key
        )


def train_frontend(args: argparse.Namespace, conf: PretrainConf) -> Path:
    """Trains the word classifier with as many classes as the training split has words; returns its best checkpoint."""
    from dataclasses import replace

    from avsr.models.systems import load_system
    from avsr.stages.train_system import plan, run_folder
    from avsr.training.many import train_many
    from avsr.training.tasks.words import word_list

    words = word_list(args.work_dir)
    system = load_system(conf.system, conf.preset)
    system = replace(system, model={**system.model, "classes": len(words)})
    inputs = [args.work_dir / "dump" / "video" / split / "crop112" for split in ("train", "valid")]
    inputs += [args.work_dir / "data" / split / "ctm" for split in ("train", "valid")]
    job = plan(system, conf, args.work_dir, args.seed, args.device, inputs, {"window": conf.window})
    log.info("%s (%s): %d words", system.name, conf.preset, len(words))
    best = run_folder(args.work_dir, system.id, args.seed) / "best.pt"
    number, count = args.shard
    if job is not None and number > 1:  # two processes cannot share a training
        raise AvsrError(f"{best} is missing: --shard 1/{count} trains it; when that has ended, run this part again")
    if job is not None:
        train_many([job], nj=1)
    return best


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
