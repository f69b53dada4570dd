"""The README and the pages beside it: commands run, trainings as a dry run and long ones with --help; files and keys
that they name are there; tables are whole.
"""

import os
import re
import shlex
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

from avsr.models.registry import KINDS, TYPES, build_model, model_class
from avsr.models.systems import load_system
from avsr.noise.lists import NoiseConf
from avsr.stages.crop import CropConf
from avsr.stages.mix import MixConf
from avsr.stages.prepare import PrepareConf
from avsr.stages.pretrain import PretrainConf
from avsr.stages.score import ScoreConf
from avsr.stages.train_system import TrainStageConf
from avsr.storage.datadir import Utterance, write_datadir
from tests.media.clips import tone, write_clip

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DECISIONS = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
FOUND = (path for pattern in ("docs/*.md", "egs/*/*.md", "avsr/shipped/*.md") for path in ROOT.glob(pattern))
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in FOUND)]
SECTION_CONFS = {
    "prepare": PrepareConf, "crop": CropConf, "mix": MixConf, "pretrain": PretrainConf, "enhance": TrainStageConf,
    "recognise": TrainStageConf, "joint": TrainStageConf, "score": ScoreConf,
}  # fmt: skip
FOLDERS = ("GRID", "NOISE", "SPEECH", "LRW", "LRS2", "LRS3", "TCDTIMIT")  # a reader's own
COMMANDS = sorted(
    {line.strip().split("#")[0].strip() for line in README.splitlines() if re.match(r"    (\./|\. |python )", line)}
)


def call(words, **more):
    environment = {**os.environ, "AVSR_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment, **more)


def test_the_readme_has_commands():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, tmp_path):
    words = shlex.split(command)
    if words[0] == ".":
        done = call(["bash", "-c", f"{command} && python -c 'import avsr, sys; print(sys.executable)'"])
        assert done.returncode == 0 and Path(done.stdout.strip()) == Path(sys.executable), done.stderr
        return
    if words[0] == "python":
        run_python(command, tmp_path)
        return
    if words[0] == "./utils/test.sh":
        done = call([*words, "--help"])
        assert done.returncode == 0, done.stderr
        return
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    checkpoint = tmp_path / "best.pt"
    checkpoint.touch()
    words = [str(tmp_path / w) if w in FOLDERS else w for w in words]
    words = [str(checkpoint) if w.endswith(".pt") else w for w in words]
    if "--help" not in words and "--dry-run" not in words:
        words += ["--dry-run", "true"]
    done = call(words)
    assert done.returncode == 0 and done.stdout, done.stderr
    if "--dry-run" in words:
        assert "avsr.stages." in done.stdout


def run_python(command, folder):
    """For real, on a data directory made here; --help of what has no answer below, for it takes minutes.

    A busy machine may miss the targets of a bench, hence no code there.
    """
    answers = {
        "python -m avsr.check egs/mini/data/train": (0, r": 2 utterances, 0 problems$"),
        "python -m avsr.models": (0, r"^mhca_avcrn +MHCA-AVCRN +base +[\d,]{9,} +\d+\.\d{3} "),
        "python -m avsr.models --check": (0, r"^all configurations build$"),
        "python -m avsr.bench landmarks": (None, r"mean difference +\d\.\d\d px "),
    }
    words = [sys.executable, *shlex.split(command)[1:]]
    if command not in answers:
        done = call([*words[:3], "--help"])
        options = [word for word in words[3:] if word.startswith("-")]
        assert done.returncode == 0 and all(option in done.stdout for option in options), done.stderr
        return
    shades = np.tile(np.arange(64, dtype=np.uint8)[:, None] * 3, (25, 48, 1, 3))  # an even picture is grey rubbish
    write_clip(folder / "clip.mp4", shades, codec="mpeg4", sound=tone(1.0, 44100))
    rows = [Utterance(utt, "s1", "BIN BLUE", folder / "clip.mp4", None, 1.0, sex="m") for utt in ("s1-a", "s1-b")]
    write_datadir(folder / "train", rows)
    done = call([str(folder / "train") if word == "egs/mini/data/train" else word for word in words])
    code, line = answers[command]
    assert done.returncode in ((0, 1) if code is None else (code,)), done.stdout + done.stderr
    assert re.search(line, done.stdout, re.MULTILINE), done.stdout + done.stderr


def test_files_named_in_the_readme_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`((?:avsr|conf|egs|utils|docs)/[\w/.]+)`", README)
    made = ("egs/mini/corpus", "egs/mini/data", "egs/mini/exp")
    missing = [link for link in links if not (ROOT / link).exists() and not link.startswith(made)]
    assert links and not missing


MEASURED = re.compile(r"[-+]?\d+\.\d+ \[[-+]?\d+\.\d+, [-+]?\d+\.\d+\]")


def measured_rows(text: str) -> dict[str, set[str]]:
    """By the first cell of the rows of all tables: their cells."""
    rows: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            rows.setdefault(first.strip(), set()).update(cells)
    return rows


@pytest.mark.parametrize("recipe", ["mini", "grid"])
def test_every_result_in_the_readme_is_one_that_stage_9_published(recipe):
    published = measured_rows((ROOT / f"egs/{recipe}/RESULTS.md").read_text(encoding="utf-8"))
    part = README.split("\n## Results\n")[1].split("\n## ")[0].split(f"\n### {recipe}")[1].split("\n### ")[0]
    shown = {system: cells for system, cells in measured_rows(part).items() if any(map(MEASURED.search, cells))}
    assert len(shown) >= 8  # the table of enhancement and the one of recognition
    for system, cells in shown.items():
        assert cells <= published[system], (system, cells - published[system])


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("egs/*/README.md")))
def test_every_interval_in_a_recipe_s_readme_is_published(page):
    results = (ROOT / page).with_name("RESULTS.md")
    found = MEASURED.findall((ROOT / page).read_text(encoding="utf-8"))
    published = results.read_text(encoding="utf-8") if results.exists() else ""
    assert bool(found) == results.exists()  # what was published is read there, in words
    assert not [one for one in found if one not in published]


@pytest.mark.parametrize("page", ["README.md", "avsr/shipped/README.md"])
def test_every_interval_of_a_page_on_several_recipes_is_published(page):
    published = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("egs/*/RESULTS.md"))
    found = MEASURED.findall((ROOT / page).read_text(encoding="utf-8"))
    assert found and not [one for one in found if one not in published]


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_not_cut(page):
    blocks = (ROOT / page).read_text(encoding="utf-8").split("\n\n")
    tables = [block.strip().splitlines() for block in blocks if re.search(r"^\|", block, re.MULTILINE)]
    for rows in tables:
        assert re.match(r"\|\s*:?-", rows[1]), f"{rows[0]}: a row without the head of its table"
        assert len({row.count(" | ") for row in (rows[0], *rows[2:])}) == 1, rows[0]


@pytest.mark.parametrize("system", ["audio_only_crn", "mhca_avcrn", "ae_tcn", "eg_a", "eg_v", "eg_av"])
def test_a_model_class_has_what_the_readme_asks_of_one(system):
    asked = README.split("The class has\n")[1].split("`python -m")[0]
    general, enhances, recognises = re.split(r"- to enhance: |- to recognise: ", asked)
    model = build_model(load_system(system, "tiny").model)
    names = {"Conf", "mel_set", "video_input", "fit_statistics", "loss"}
    assert all(f"`{name}" in general for name in names)
    assert "`frame_multiple`" in enhances and "`estimate(" in enhances
    if KINDS[load_system(system).model["type"]] == "enhance":
        names |= {"frame_multiple", "estimate"}
    else:
        steps = {"encode", "start", "step", "select", "attention"}
        assert all(f"`{name}`" in recognises for name in steps)
        names |= steps | {"audio_input"}
        assert model.mel_set == "mel_htk"
    assert all(hasattr(model, name) for name in names)
    assert model.video_input in ("crop80", "feats", None)


def test_every_key_of_the_decisions_is_there():
    cells = [line.split(" | ")[-1] for line in DECISIONS.splitlines() if line.startswith("|")]
    named = {key for cell in cells for key in re.findall(r"`((?:model|[a-z]+)\.[\w.]+)", cell) if ".py" not in key}
    assert {"model.head", "crop.detect", "score.recon", "enhance.noise.avse.p_speech"} <= named
    models = [model_class(name).Conf for name in TYPES if name != "joint"]
    for key in sorted(named):
        first, *rest = key.split(".")
        places = models if first == "model" else [SECTION_CONFS[first]]
        assert any(is_key(conf, rest) for conf in places), key


def is_key(conf, names):
    """Whether a dataclass has the key, down to plain mappings (of protocols to keys of their noise)."""
    kind = typing.get_type_hints(conf).get(names[0])
    if typing.get_origin(kind) is dict:
        return len(names) < 3 or names[0] != "noise" or is_key(NoiseConf, names[2:])
    return kind is not None and (len(names) == 1 or is_key(kind, names[1:]))


def test_a_key_is_set_as_the_decisions_say():
    """By a system that extends another; where a preset of the other has the key, in that preset."""
    own = {
        "mine": {"extends": "mhca_avcrn", "name": "Mine", "model": {"head": "direct"}},
        "late": {"extends": "eg_av", "name": "Late", "model": {"modality_dropout": 0}},
        "plain": {"extends": "eg_av", "name": "Plain", "presets": {"tiny": {"modality_dropout": 0}}},
    }
    assert load_system("mine", "tiny", (), own).model["head"] == "direct"
    assert load_system("late", "tiny", (), own).model["modality_dropout"] == 0.3
    assert load_system("plain", "tiny", (), own).model["modality_dropout"] == 0
