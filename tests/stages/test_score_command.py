"""The command beside every row: it is one that run.sh takes, and it names no folder of this machine."""

import os
import shlex
import subprocess
from argparse import Namespace

import pytest

from avsr.models.systems import load_system
from avsr.stages.score_command import run_command
from avsr.storage.atomic import write_json


@pytest.fixture
def work(tmp_path):
    """A work folder as the mini recipe leaves it."""
    recordings = {"rain-1": {"type": "rain", "source": "a", "split": "test", "path": ""}}
    write_json(tmp_path / "data/noise_splits.json", {"seed": 0, "noise": "synthetic", "recordings": recordings})
    write_json(tmp_path / "corpus/splits.json", {})
    write_json(tmp_path / "dump/video_feats/test/store.json", {"meta": {"frontend": "exp/p3d50/seed0/best.pt"}})
    return tmp_path


def command(work, recipe="mini", systems=None, device="cpu", protocol="s1") -> str:
    args = Namespace(work_dir=work, seed=4, device=device, systems=systems)
    chosen = [load_system(name, "tiny") for name in (systems or "ae_tcn").split()]
    return run_command(args, recipe, "smoke", protocol, chosen)


def test_what_the_recipe_makes_itself_is_not_asked_for(work):
    assert command(work) == "./run.sh --recipe mini --preset smoke --protocol s1 --seed 4"


def test_everything_from_outside_is_named_and_no_folder_printed(work):
    (work / "corpus/splits.json").unlink()
    write_json(work / "dump/video_feats/test/store.json", {"meta": {"frontend": "best.pt"}})
    recordings = {"speech-a": {"type": "speech", "source": "a", "split": "test", "path": str(work / "a.wav")}}
    noises = {"seed": 0, "noise": str(work / "noise"), "recordings": recordings}
    write_json(work / "data/noise_splits.json", noises)
    text = command(work, "grid", "eg_vav_tcn mhca_avcrn", "cuda")
    assert text == (
        "./run.sh --recipe grid --preset smoke --protocol s1 --seed 4 --device cuda --corpus-dir <corpus-dir> "
        '--noise-dir <noise-dir> --speech-dir <speech-dir> --frontend <frontend> --systems "eg_vav_tcn mhca_avcrn"'
    )
    assert str(work) not in text


def test_the_second_corpus_of_gt_is_named(work):
    (work / "corpus/splits.json").unlink()
    text = command(work, "grid", protocol="GT")
    assert "--protocol GT --seed 4 --corpus-dir <corpus-dir> --tcd-timit-dir <tcd-timit-dir>" in text


def test_run_sh_takes_it(work, root):
    """With folders in the places of the placeholders it runs the same recipe with the same options."""
    (work / "corpus/splits.json").unlink()
    write_json(work / "data/noise_splits.json", {"noise": str(work), "recordings": {"a": {"type": "speech"}}})
    text = command(work, "grid", "ae_tcn")
    for option in ("corpus-dir", "noise-dir", "speech-dir"):
        text = text.replace(f"<{option}>", shlex.quote(str(work)))
    environment = {**os.environ, "AVSR_PYTHON": "python3"}
    words = [*shlex.split(text), "--dry-run", "true"]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stages = [shlex.split(line) for line in done.stdout.splitlines()]
    assert len(stages) == 9
    for stage in stages:
        assert stage[stage.index("--seed") + 1] == "4" and f"{root}/egs/grid/conf/smoke.yaml" in stage
    assert stages[0][stages[0].index("--protocol") + 1] == "s1"
    assert stages[8][stages[8].index("--systems") + 1] == "ae_tcn"


def test_talkers_of_the_corpus_are_not_taken_for_those_of_speech_dir(work):
    row = {"type": "speech", "source": "s2", "split": "test", "path": "s2/bbaf2n.mpg"}
    noises = {"noise": "synthetic", "recordings": {"speech-s2-bbaf2n": row}}
    write_json(work / "data/noise_splits.json", noises)
    (work / "data/others").mkdir()
    (work / "data/others/utt2spk").write_text("s2-bbaf2n s2\n")
    assert "--speech-dir" not in command(work, "grid")
    noises["recordings"]["speech-t1-a"] = row
    write_json(work / "data/noise_splits.json", noises)
    assert "--speech-dir <speech-dir>" in command(work, "grid")
