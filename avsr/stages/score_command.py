"""The command that makes a row of RESULTS.md anew."""

import argparse
import json
from pathlib import Path

from avsr.models.systems import System
from avsr.noise.library import TALKERS
from avsr.storage.datadir import read_table


def run_command(args: argparse.Namespace, recipe: str, preset: str, protocol: str, systems: list[System]) -> str:
    """run.sh with all that the scores of a row depend on.

    Folders and files are those of one machine: `--corpus-dir <corpus-dir>` says that one was given, never which.
    `systems` are those of the row, printed where --systems chose some: what they are made from comes with them.
    """
    words = ["./run.sh", "--recipe", recipe, "--preset", preset, "--protocol", protocol, "--seed", str(args.seed)]
    if args.device != "cpu":
        words += ["--device", args.device]
    for option in _given(args.work_dir, protocol):
        words += [f"--{option}", f"<{option}>"]
    if args.systems:
        words += ["--systems", f'"{" ".join(one.id for one in systems)}"']
    return " ".join(words)


def _given(work_dir: Path, protocol: str) -> list[str]:
    """The folders and files from outside that the earlier stages have used, as options of run.sh."""
    noises = _read(work_dir / "data" / "noise_splits.json")
    corpus = {f"{TALKERS}-{utt}" for utt in read_table(work_dir / "data" / "others" / "utt2spk", required=False)}
    talkers = {key for key, row in noises.get("recordings", {}).items() if row["type"] == TALKERS}
    given = {
        "corpus-dir": not (work_dir / "corpus" / "splits.json").exists(),  # the mini recipe makes its own there
        "tcd-timit-dir": protocol == "GT",
        "noise-dir": noises.get("noise", "synthetic") != "synthetic",
        "speech-dir": bool(talkers - corpus),
        "frontend": frontend_elsewhere(work_dir),
    }
    return [option for option, yes in given.items() if yes]


def frontend_elsewhere(work_dir: Path) -> bool:
    """Whether the features of the lips are from a checkpoint that stage 5 was given, not from its own training."""
    meta = _read(work_dir / "dump" / "video_feats" / "test" / "store.json").get("meta", {})
    frontend = meta.get("frontend", "")  # of this work folder, or the bare name of a file from elsewhere
    return frontend != "" and not frontend.startswith("exp/")


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
