"""Whole recipes at --preset smoke: every stage, every kind of system, and what a second run does."""

import os
import shlex
import subprocess
import sys

import pytest

from avsr.scoring.results import read_csv


def run(root, *options, **more):
    environment = {**os.environ, "AVSR_PYTHON": sys.executable}
    command = [str(root / "run.sh"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", **more)


def run_with(root, conf, *options):
    """The recipe's own commands, one by one, each with the YAML `conf` on top of its preset."""
    said = run(root, *options, "--dry-run", "true")
    assert said.returncode == 0, said.stderr
    for line in said.stdout.splitlines():
        command = [*shlex.split(line), "--config", str(conf)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"


def link_clips(real_data, corpus):
    """24 real clips of one speaker and their alignments in `corpus`, laid out as GRID; returns `corpus`."""
    (corpus / "s1").mkdir(parents=True)
    for path in [path for path in sorted((real_data / "grid/s1").glob("*.mp4")) if path.stem != "bbizzn"][:24]:
        (corpus / "s1" / path.name).symlink_to(path.resolve())
        (corpus / "s1" / f"{path.stem}.align").symlink_to(path.with_suffix(".align").resolve())
    return corpus


@pytest.fixture(scope="module")
def mini(root, tmp_path_factory):
    """The mini recipe, run once for all tests of this file; a folder with a space in its name."""
    work = tmp_path_factory.mktemp("work") / "a mini"
    work.mkdir()
    done = run(root, "--preset", "smoke", "--work-dir", work, "--nj", 2)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return work


def test_mini_writes_results_that_call_themselves_synthetic(mini):
    text = (mini / "RESULTS.md").read_text()
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles and all("synthetic" in line for line in titles), titles
    rows = read_csv(mini / "results.csv")
    scored = {(row["system"], row["test_set"], row["metric"]) for row in rows}
    for title in ("Lip reading: most confused pairs", "Examples (AE-MSR Table 5)"):
        assert f"### {title} (synthetic)" in (mini / "RESULTS.md").read_text()
    for name in ("wer", "mouths", "spectrograms_central"):
        assert (mini / f"figures/mini-smoke/{name}.png").stat().st_size < 150_000
    for system, test_set, metric in (
        ("unprocessed", "speech_-5dB", "stoi"),
        ("mhca_avcrn", "speech_-5dB", "stoi"),
        ("mhca_avcrn+shuffled", "speech_-5dB", "stoi"),
        ("oracle", "natural_-5dB", "pesq_raw"),
        ("ae_tcn", "babble_-5dB", "energy_linear"),
        ("oracle_mask", "babble_-5dB", "energy_linear"),
        ("eg_av", "babble_-5dB", "wer"),
        ("eg_vav_tcn", "clean", "wer"),
        ("p3d50", "words", "top1"),
    ):
        assert (system, test_set, metric) in scored
    (words,) = [row for row in rows if (row["system"], row["metric"]) == ("p3d50", "top1")]
    assert int(words["scored"]) < int(words["total"]) == 4 * 6  # letters that no training sentence holds count too
    command = "./run.sh --recipe mini --preset smoke --protocol mini --seed 0"
    assert all(row["commit"] and row["command"] == command for row in rows)
    for name in ("RESULTS.md", "results.csv"):
        assert str(mini.parent) not in (mini / name).read_text()  # no folder of this machine


def test_the_tables_say_who_is_a_woman(mini):
    assert (mini / "data/test/spk2gender").read_text() == "m23 m\nm24 f\nm25 m\nm26 f\n"


def test_second_run_finds_all_done(root, mini):
    before = {path: path.stat().st_mtime_ns for path in mini.rglob("*.h5")}
    again = run(root, "--preset", "smoke", "--work-dir", mini, "--nj", 2)
    assert again.returncode == 0
    assert "trained before" in again.stdout and "23 measurements, 23 done before" in again.stdout
    assert "RESULTS.md: written before" in again.stdout
    assert before and {path: path.stat().st_mtime_ns for path in mini.rglob("*.h5")} == before


def test_a_checkpoint_gets_its_own_row(root, mini):
    best = mini / "exp/mhca_avcrn/seed0/best.pt"
    done = run(root, "--preset", "smoke", "--work-dir", mini, "--stage", 9, "--checkpoint", best)
    assert done.returncode == 0, done.stderr
    rows = {row["system"]: row for row in read_csv(mini / "results.csv") if row["metric"] == "stoi"}
    (again,) = [row for system, row in rows.items() if system.startswith("mhca_avcrn@")]
    assert again["value"] == rows["mhca_avcrn"]["value"]
    assert again["command"] == rows["mhca_avcrn"]["command"] + " --checkpoint <checkpoint>"


def test_a_stage_without_its_input_names_the_file_and_the_stage(root, tmp_path):
    done = run(root, "--preset", "smoke", "--work-dir", tmp_path, "--stage", 6, "--stop-stage", 6)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "stage 2 (crop) makes it" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def grid(root, tmp_path_factory, real_data):
    """The GRID recipe on 24 real clips of one speaker, run once."""
    corpus = link_clips(real_data, tmp_path_factory.mktemp("grid"))
    work = corpus / "work"
    options = ["--recipe", "grid", "--protocol", "s1", "--preset", "smoke", "--work-dir", work, "--nj", 2]
    folders = ["--corpus-dir", corpus, "--noise-dir", real_data / "noise", "--speech-dir", real_data / "speech"]
    done = run(root, *options, *folders)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return work


def test_real_clips_have_all_noise_lists(grid):
    for name in ("speech_-5dB", "natural_-5dB", "own_-5dB", "babble_-5dB", "clean"):
        assert len((grid / f"data/test_noisy/{name}.jsonl").read_text().splitlines()) == 2


def test_real_clips_go_all_the_way_and_are_not_called_synthetic(grid):
    text = (grid / "RESULTS.md").read_text()
    assert "## grid: protocol s1, preset smoke\n" in text and "synthetic" not in text
    rows = read_csv(grid / "results.csv")
    scored = {(row["system"], row["metric"]): (row["scored"], row["total"]) for row in rows}
    assert scored["mhca_avcrn", "stoi"] == scored["eg_vav_tcn", "wer"] == scored["unprocessed", "si_sdr"] == ("2", "2")
    command = "./run.sh --recipe grid --preset smoke --protocol s1 --seed 0"
    folders = "--corpus-dir <corpus-dir> --noise-dir <noise-dir> --speech-dir <speech-dir>"
    assert {row["command"] for row in rows} == {f"{command} {folders}"}
