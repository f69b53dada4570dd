"""The commands that run.sh prints are those that the stages take: every option of theirs is known to its stage."""

import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from avsr.stages import common

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("prepare", "crop", "extract", "mix", "pretrain", "enhance", "recognise", "joint", "score")
# imported before anything of them is replaced, or a module would keep the replacement
MODULES = {f"avsr.stages.{name}": importlib.import_module(f"avsr.stages.{name}") for name in NAMES}


@pytest.mark.parametrize("recipe, preset", [("mini", "smoke"), ("grid", "smoke"), ("tcd_timit", "words")])
def test_stages_take_what_run_sh_gives(recipe, preset, tmp_path, monkeypatch):
    (tmp_path / "best.pt").touch()
    words = ["--recipe", recipe, "--preset", preset, "--work-dir", tmp_path / "work", "--publish", "true"]
    for option in ("--corpus-dir", "--noise-dir", "--speech-dir"):
        words += [option, tmp_path]
    for option in ("--frontend", "--checkpoint"):
        words += [option, tmp_path / "best.pt"]
    words += ["--systems", "ae_tcn eg_av", "--dry-run", "true"]
    command = ["bash", ROOT / "run.sh", *words]
    environment = {**os.environ, "AVSR_PYTHON": "python3"}
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    taken = []

    def only_parse(parser, body, argv=None):
        taken.append(parser.parse_args(argv))
        return 0

    monkeypatch.setattr(common, "run", only_parse)
    for line in printed.splitlines():
        _, _, name, *arguments = shlex.split(line)
        module = MODULES[name]
        if hasattr(module, "run"):
            monkeypatch.setattr(module, "run", only_parse)
        assert module.main(arguments) == 0
    assert len(taken) == 9
    assert all(path.is_file() for args in taken for path in args.config)
    assert taken[0].corpus == recipe
    assert [args.systems for args in taken[5:]] == ["ae_tcn eg_av"] * 4
    assert taken[8].checkpoint == tmp_path / "best.pt"
    assert taken[8].recipe_dir == ROOT / "egs" / recipe


@pytest.mark.parametrize("name", NAMES)
def test_help_of_every_stage(name, capsys):
    """What it reads and writes, and all options; each option has a text."""
    assert MODULES[f"avsr.stages.{name}"].main(["--help"]) == 0
    text = capsys.readouterr().out
    assert f"python -m avsr.stages.{name}" in text and "writes" in text.lower()
    options = re.findall(r"^  (--[a-z-]+)(.*(?:\n {6,}.*)?)", text, flags=re.M)
    assert {"--config", "--set", "--nj", "--shard", "--seed", "--storage", "--max-fail-rate", "--device"} <= {
        option for option, _ in options
    }
    assert all(re.search(r"[a-z]{2,}", rest) for _, rest in options), text
