"""What all stages share: shards, processes, failures, signals, exit codes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avsr.storage.arrays import Store

TOY = Path(__file__).with_name("toy_stage.py")
ROOT = TOY.parents[2]


def run(out, *options, **more):
    command = [sys.executable, str(TOY), "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, **more)


def content(folder):
    """The bytes of everything but logs."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and "log" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    out = tmp_path_factory.mktemp("reference") / "out"
    assert run(out).returncode == 0
    return content(out)


def test_one_file_a_shard_and_nothing_else(reference):
    assert {name for name in reference if name.endswith(".h5")} == {
        f"{store}/shard-{k:05d}.h5" for store in "ab" for k in range(4)
    }


@pytest.mark.parametrize("nj", ["1", "2", "3"])
def test_same_bytes_for_any_number_of_processes(tmp_path, reference, nj):
    assert run(tmp_path / "out", "--nj", nj).returncode == 0
    assert content(tmp_path / "out") == reference


def test_same_bytes_from_parts(tmp_path, reference):
    for part in ("2/3", "1/3"):
        done = run(tmp_path / "out", "--shard", part)
        assert done.returncode == 0 and "the store is finished when all parts are" in done.stdout
        assert not (tmp_path / "out/a/store.json").exists()
    assert run(tmp_path / "out", "--shard", "3/3").returncode == 0
    assert content(tmp_path / "out") == reference


def test_second_run_does_nothing(tmp_path):
    run(tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.h5")}
    done = run(tmp_path / "out")
    assert "0 ok, 0 failed, 100 skipped" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.h5")} == before


@pytest.mark.parametrize("damage", ["cut", "removed", "unmarked"])
def test_a_damaged_shard_is_made_again(tmp_path, reference, damage):
    run(tmp_path / "out")
    path = tmp_path / "out/a/shard-00002.h5"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "removed":
        path.unlink()
    else:
        next((tmp_path / "out/.done").glob("*00002*")).unlink()
    done = run(tmp_path / "out")
    assert "32 ok, 0 failed, 68 skipped" in done.stdout
    assert content(tmp_path / "out") == reference


def test_killed_in_the_middle_of_a_shard_then_run_again(tmp_path, reference):
    done = run(tmp_path / "out", "--trouble", "killed")
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out/a/store.json").exists()
    assert run(tmp_path / "out").returncode == 0
    assert content(tmp_path / "out") == reference  # no leftover either


def test_a_killed_worker_ends_the_stage_with_one_line(tmp_path, reference):
    done = run(tmp_path / "out", "--trouble", "killed", "--nj", "2")
    assert done.returncode == 1
    assert done.stderr == "crop: a worker process was killed (out of memory?); run again to go on, or use --nj 1\n"
    assert run(tmp_path / "out", "--nj", "2").returncode == 0
    assert content(tmp_path / "out") == reference


@pytest.mark.parametrize("nj", ["1", "2"])
def test_a_worker_that_cannot_start_says_why(tmp_path, nj):
    done = run(tmp_path / "out", "--trouble", "start", "--nj", nj)
    assert (done.returncode, done.stderr) == (1, "crop: noise/store.json is missing: stage 4 makes it\n")


@pytest.mark.parametrize("nj", ["1", "2"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(tmp_path, number, code, nj, reference):
    command = [sys.executable, str(TOY), "--out", str(tmp_path / "out"), "--trouble", "slow", "--nj", nj]
    process = subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").rglob("*-00000.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors == f"crop: stopped by {number.name}\n"
    assert run(tmp_path / "out").returncode == 0
    assert content(tmp_path / "out") == reference


def alive(pid):
    """Whether a process runs; one that has ended may stay as a zombie where nobody collects it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_with_a_stage_that_is_killed(tmp_path, reference):
    command = [sys.executable, str(TOY), "--out", str(tmp_path / "out"), "--trouble", "slow", "--nj", "2"]
    with subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}) as process:
        while not list((tmp_path / "out").rglob("*-00000.json")):
            assert process.poll() is None
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert len(children) >= 2
    try:
        end = time.monotonic() + 15
        while any(map(alive, children)) and time.monotonic() < end:
            time.sleep(0.1)
        assert [child for child in children if alive(child)] == []
    finally:
        for child in filter(alive, children):
            os.kill(int(child), signal.SIGKILL)
    assert run(tmp_path / "out").returncode == 0
    assert content(tmp_path / "out") == reference


def test_failed_utterances_are_listed_and_the_stage_goes_on(tmp_path):
    done = run(tmp_path / "out", "--trouble", "bad", "--max-fail-rate", "0.1")
    assert done.returncode == 0 and "90 ok, 10 failed, 0 skipped" in done.stdout
    lines = (tmp_path / "out/failed.tsv").read_text().splitlines()
    assert lines[0] == "utterance\tstep\texception\tmessage"
    assert lines[1] == "s1-007\ta+b\tUtteranceError\ts1-007: no face was found" and len(lines) == 11
    assert len(Store(tmp_path / "out/a")) == 90 and "s1-007" not in Store(tmp_path / "out/a")


def test_too_many_failed(tmp_path):
    done = run(tmp_path / "out", "--trouble", "many")
    assert done.returncode == 3
    assert done.stderr.startswith("crop: 40 of 100 utterances failed, more than --max-fail-rate 0.05: see ")


def test_memory_and_bugs_end_the_stage(tmp_path):
    done = run(tmp_path / "out", "--trouble", "memory")
    assert (done.returncode, done.stderr) == (1, "crop: out of memory: use a smaller --nj\n")
    done = run(tmp_path / "out", "--trouble", "bug")
    assert done.returncode == 1 and "crop: unexpected ZeroDivisionError: a bug" in done.stderr
    assert not (tmp_path / "out/a/store.json").exists()


def test_full_disk(tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = run(tmp_path / "out", preexec_fn=limit)
    assert done.returncode == 1
    path = tmp_path / "out/b/shard-00000.h5"
    assert done.stderr == f"crop: {path}: File too large; free space or rights, then run again\n"
    assert not (tmp_path / "out/a/store.json").exists() and not list((tmp_path / "out").rglob("*.h5"))


def test_output_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "out").write_text("a file")
    done = run(tmp_path / "out")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and str(tmp_path / "out") in done.stderr


@pytest.mark.parametrize(
    "options", [["--nj", "0"], ["--shard", "3/2"], ["--storage", "zip"], ["--what"], ["--seed", "x"]]
)
def test_wrong_options_get_one_line(tmp_path, options):
    done = run(tmp_path / "out", *options)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_the_log_ends_with_the_code(tmp_path):
    run(tmp_path / "out")
    text = (tmp_path / "out/log/crop.log").read_text()
    assert "command: " in text and "versions: avsr" in text and "Ended (code 0)" in text.splitlines()[-1]
