"""Real stages on a disk that is full, and a real training that is killed and stopped: nothing is lost by it."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from avsr import config
from avsr.errors import AvsrError
from avsr.stages import extract
from avsr.stages.train_system import TrainStageConf, inputs_of, plan, selected, train_one
from tests.stages.tiny import contents, make_tables, make_work

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"batch": 2, "epochs": 2, "lr": 0.001, "precision": "fp32", "channels_last": False, "workers": 0}
OPTIONS |= {"log_every": 1, "tensorboard": False}
TRAIN = {"enhance": {"preset": "tiny", "systems": ["mhca_avcrn"], "train": {"avse": OPTIONS}}}


class SmallDisk:
    """A disk of its own where one can be mounted; elsewhere a limit on the size of files stands for a full disk."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
        self.mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        self.says = "No space left on device" if self.mounted else "File too large"

    @contextmanager
    def full(self, room: int):
        """For a while only `room` bytes are left (as a limit: no file of these processes may be larger)."""
        ballast, before = self.folder / "ballast", resource.getrlimit(resource.RLIMIT_FSIZE)
        if self.mounted:
            free = os.statvfs(self.folder)
            ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - room))
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            yield
        finally:
            ballast.unlink(missing_ok=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.close()


def stage(name, *words):
    return [sys.executable, "-m", f"avsr.stages.{name}", *map(str, words)]


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_a_full_disk_ends_a_stage_with_one_line_and_it_goes_on_where_it_was(tmp_path, disk, storage, capsys):
    work = make_tables(tmp_path / "work", clips=10)

    def words(out, *splits):
        data = [str(work / "data" / split) for split in splits]
        return ["--data", *data, f"--video={work}/dump/video", f"--out={out}", f"--storage={storage}"]

    assert extract.main(words(tmp_path / "whole", "valid", "test")) == 0
    out = disk.folder / "audio"
    assert extract.main(words(out, "valid")) == 0
    before = contents(out)
    with disk.full(300_000):
        done = subprocess.run(stage("extract", *words(out, "valid", "test")), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"extract: {out}/test/") and f": {disk.says}; free space" in done.stderr
    assert ".tmp-" not in done.stderr and not [name for name in contents(out) if ".tmp-" in name]
    assert {name: data for name, data in contents(out).items() if name.startswith("valid/")} == before
    assert not list(out.rglob("test/*/store.json"))
    capsys.readouterr()
    assert extract.main(words(out, "valid", "test")) == 0
    said = capsys.readouterr().out
    assert "0 ok, 0 failed, 20 skipped" in said and "20 ok, 0 failed, 0 skipped" in said
    assert contents(out) == contents(tmp_path / "whole")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 4 and the configuration of a short training."""
    work = make_work(tmp_path_factory.mktemp("training") / "work", clips=6, frames=5)
    (work / "recipe.yaml").write_text(json.dumps(TRAIN))
    return work


@pytest.fixture(scope="module")
def whole(work):
    """The training of stage 6 that nobody has disturbed."""
    train_here(work)
    return run_folder(work)


def train_here(work):
    """The training that stage 6 starts in a process of its own, in this one."""
    conf = config.load_section(TrainStageConf, [work / "recipe.yaml"], "enhance")
    (system,) = selected(conf, conf.systems, "enhance")
    train_one(**plan(system, conf, work, 0, "cpu", inputs_of(system, conf, work, 0)).args)


def enhance(work, *more):
    return stage("enhance", "--work-dir", work, "--config", work / "recipe.yaml", *more)


def run_folder(work):
    return work / "exp/mhca_avcrn/seed0"


def copied(work, to):
    """The same work folder, nothing trained."""
    subprocess.run(["cp", "-a", *(str(work / name) for name in ("data", "dump", "recipe.yaml")), str(to)], check=True)
    return to


def rows(folder):
    with open(folder / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in ("seconds", "wait")} for row in table]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def interrupted(work, number, starts, after):
    """Stage 6 at its start number `starts`, sent a signal after so many rows: SIGKILL its trainer, others the stage."""
    folder = run_folder(work)
    command = enhance(work)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while (folder / "train.log").read_text().count("resumed from") < starts - 1 or len(rows(folder)) <= after:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.005)
            os.kill(children(process.pid)[0] if number == signal.SIGKILL else process.pid, number)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, errors


def test_a_training_stopped_by_a_full_disk_kill_9_and_a_signal_gives_the_same_losses(work, whole, disk):
    again = copied(work, disk.folder)
    folder = run_folder(again)
    size = max(path.stat().st_size for path in whole.glob("checkpoint-*.pt"))
    with disk.full(size + size // 4 if disk.mounted else size // 2), pytest.raises(AvsrError) as error:
        train_here(again)
    said = str(error.value)
    assert f"{folder}/" in said and disk.says in said and "make room" in said and "\n" not in said
    left = sorted(folder.glob("*.pt"))
    assert [path.name for path in left] == ["best.pt", "checkpoint-000000000.pt"] and not list(folder.glob(".tmp-*"))
    assert all(torch.load(path, weights_only=True)["system"] == "mhca_avcrn" for path in left)

    code, errors = interrupted(again, signal.SIGKILL, starts=2, after=9)  # an epoch has 6 steps and a row of its own
    assert code == 1 and errors.count("\n") == 1, errors
    assert f"mhca_avcrn seed 0: {folder}: killed by SIGKILL" in errors and "run again to go on" in errors
    newest = sorted(folder.glob("checkpoint-*.pt"))[-1]
    assert torch.load(newest, weights_only=True)["position"]["step"] == 6  # what came after is lost, and done again
    assert len(rows(folder)) > 9

    assert interrupted(again, signal.SIGINT, starts=3, after=8) == (130, "enhance: stopped by SIGINT\n")
    newest = sorted(folder.glob("checkpoint-*.pt"))[-1]
    assert torch.load(newest, weights_only=True)["position"]["step"] > 6 and not (folder / "done.json").exists()

    assert subprocess.run(enhance(again), cwd=ROOT).returncode == 0
    assert rows(folder) == rows(whole)
    for name in ("best.pt", "checkpoint-000000012.pt"):
        found, expected = (torch.load(place / name, weights_only=True)["model"] for place in (folder, whole))
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
