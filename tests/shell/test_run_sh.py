"""run.sh and the recipes' run.sh: which commands they run, from where, and how they end. No stage is really run."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("prepare", "crop", "extract", "mix", "pretrain", "enhance", "recognise", "joint", "score")
OPTIONS = """stage stop-stage corpus-dir noise-dir speech-dir work-dir nj seed device preset protocol systems frontend
storage checkpoint publish dry-run recipe help""".split()
OWN = {"grid": ["tcd-timit-dir"]}  # options of one recipe, which stand behind --corpus-dir
PYTHON = """#!/usr/bin/env bash
# stands for Python: lists what it is called with, and ends with $CODE
[ "$1" != -c ] || exit 0
[ "$1" = -m ] || exit 0
printf '%s\\n' "$2 OMP=$OMP_NUM_THREADS LC=$LC_ALL" >>"$CALLS"
exit "${CODE:-0}"
"""


def options_of(recipe):
    return [*OPTIONS[:3], *OWN.get(recipe, []), *OPTIONS[3:]]


@pytest.fixture
def checkout(tmp_path):
    """A copy of the shell part, in a folder with spaces, with presets of its own."""
    top = tmp_path / "a check out"
    for folder in ("utils", "egs/mini", "egs/grid"):
        shutil.copytree(ROOT / folder, top / folder, ignore=shutil.ignore_patterns("*.yaml", "data", "dump", "exp"))
    for name in ("run.sh", "path.sh", "setup.cfg"):
        shutil.copy(ROOT / name, top)
    for recipe, presets in (("mini", ("default", "smoke")), ("grid", ("quick",))):
        (top / "egs" / recipe / "conf").mkdir(exist_ok=True)
        for preset in ("recipe", *presets):
            (top / "egs" / recipe / "conf" / f"{preset}.yaml").touch()
    return top


@pytest.fixture
def run(checkout, tmp_path):
    """Runs a script of the copy with these words, without Python, or with one that only lists what it is asked."""
    fake = tmp_path / "fake python"
    fake.write_text(PYTHON)
    fake.chmod(0o755)

    def start(*words, script="run.sh", cwd=tmp_path, **environment):
        variables = {"PATH": os.environ["PATH"], "AVSR_PYTHON": str(fake), "CALLS": str(tmp_path / "calls")}
        variables.update({k: str(v) for k, v in environment.items()})
        command = [str(checkout / script), *map(str, words)]
        return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=30)

    return start


def commands(done) -> list[list[str]]:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [shlex.split(line) for line in done.stdout.splitlines()]


def value(command: list[str], option: str) -> str:
    assert command.count(option) == 1, command
    return command[command.index(option) + 1]


def refused(done) -> str:
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_dry_run_prints_nine_commands_and_needs_no_installation(run, checkout):
    got = commands(run("--dry-run", "true", AVSR_PYTHON=""))
    assert [c[1:3] for c in got] == [["-m", f"avsr.stages.{name}"] for name in STAGES]
    home = checkout / "egs/mini"
    assert not (checkout / ".venv").exists()
    for command in got:
        assert command[0] == str(checkout / ".venv/bin/python")
        assert command[3:7] == ["--config", f"{home}/conf/recipe.yaml", "--config", f"{home}/conf/default.yaml"]
        assert (value(command, "--nj"), value(command, "--seed")) == (str(len(os.sched_getaffinity(0))), "0")
        assert (value(command, "--storage"), value(command, "--device")) == ("hdf5", "cpu")
    own = [c[15:] for c in got]
    assert own[0] == ["--corpus", "mini", "--protocol", "mini", "--out", f"{home}/data"]
    splits = [f"{home}/data/{split}" for split in ("train", "valid", "test")]
    assert own[1] == ["--data", *splits, "--out", f"{home}/dump/video"]
    assert own[2] == ["--data", *splits, "--video", f"{home}/dump/video", "--out", f"{home}/dump/audio"]
    assert own[3] == ["--data", f"{home}/data", "--audio", f"{home}/dump/audio", "--out", f"{home}/dump"]
    assert own[4:] == [["--work-dir", str(home)]] * 5


def test_nj_is_the_number_of_cores_even_where_path_sh_was_sourced_before(run):
    """path.sh sets OMP_NUM_THREADS=1 in the shell that sources it, and nproc obeys that."""
    (command,) = commands(run("--stage", "9", "--dry-run", "true", OMP_NUM_THREADS=1))
    assert value(command, "--nj") == str(len(os.sched_getaffinity(0)))


def test_every_option_reaches_its_stages(run, checkout, tmp_path):
    for name in ("corpus", "other", "noise", "speech"):
        (tmp_path / f"my {name}").mkdir()
    (tmp_path / "best.pt").touch()
    words = ["--recipe=grid", "--corpus-dir", "my corpus", "--noise-dir", "my noise", "--speech-dir", "my speech"]
    words += ["--tcd-timit-dir", "my other", "--work-dir", "my work", "--nj", 3, "--seed", 7]
    words += ["--device", "cuda", "--preset", "quick"]
    words += ["--protocol", "s1", "--systems", "ae_tcn eg_av", "--frontend", "best.pt", "--storage", "ark"]
    words += ["--checkpoint", "best.pt", "--publish", "true", "--dry-run", "true"]
    got = commands(run(*words))
    assert len(got) == 9
    for command in got:
        assert f"{checkout}/egs/grid/conf/quick.yaml" in command
        for option, expected in (("--nj", "3"), ("--seed", "7"), ("--device", "cuda"), ("--storage", "ark")):
            assert value(command, option) == expected
    prepare, crop, _, mix, pretrain, *models, score = got
    assert (value(prepare, "--corpus"), value(prepare, "--protocol")) == ("grid", "s1")
    assert value(prepare, "--corpus-dir") == f"{tmp_path}/my corpus"
    assert value(prepare, "--tcd-timit-dir") == f"{tmp_path}/my other"
    assert value(crop, "--out") == f"{tmp_path}/my work/dump/video"
    assert value(mix, "--noise-dir") == f"{tmp_path}/my noise"
    assert value(mix, "--speech-dir") == f"{tmp_path}/my speech"
    assert value(pretrain, "--frontend") == f"{tmp_path}/best.pt"
    assert all(value(command, "--systems") == "ae_tcn eg_av" for command in (*models, score))
    assert value(score, "--checkpoint") == f"{tmp_path}/best.pt"
    assert (value(score, "--publish"), value(score, "--recipe-dir")) == ("true", f"{checkout}/egs/grid")


def test_part_of_the_stages(run, tmp_path):
    got = commands(run("--stage", "3", "--stop-stage", "6", "--dry-run", "true"))
    assert [c[2] for c in got] == [f"avsr.stages.{name}" for name in STAGES[2:6]]
    (tmp_path / "exp/p3d50/seed0").mkdir(parents=True)
    only = ("--stage", "5", "--stop-stage", "5", "--dry-run", "true")
    (pretrain,) = commands(run(*only, "--frontend", "exp/p3d50/seed0"))
    assert value(pretrain, "--frontend") == f"{tmp_path}/exp/p3d50/seed0"  # a training's folder, from where one stands
    (tmp_path / "new.pt").touch()
    (score,) = commands(run("--stage", "9", "--checkpoint", "new.pt", "--dry-run", "true"))
    assert score[2] == "avsr.stages.score" and value(score, "--checkpoint") == f"{tmp_path}/new.pt"


def test_through_symlinks_and_from_other_folders(run, checkout, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "avsr").symlink_to("../a check out/run.sh")
    (elsewhere / "grid").symlink_to(checkout / "egs/grid/run.sh")
    expected = run("--dry-run", "true").stdout
    assert run("--dry-run", "true", cwd="/").stdout == expected
    assert run("--dry-run", "true", script="egs/mini/run.sh", cwd=elsewhere).stdout == expected
    assert run("--dry-run", "true", script=elsewhere / "avsr", cwd="/").stdout == expected
    linked = run("--stage", "2", "--dry-run", "true", script=elsewhere / "grid", cwd="/").stdout
    assert linked == run("--recipe", "grid", "--stage", "2", "--dry-run", "true").stdout != ""


@pytest.mark.parametrize("recipe", ["mini", "grid", "tcd_timit"])
def test_a_recipe_is_a_table_of_contents(recipe):
    lines = (ROOT / "egs" / recipe / "run.sh").read_text().splitlines()
    assert len(lines) < 120
    assert not any("eval" in line for line in lines)
    head = lines[: next(i for i, line in enumerate(lines) if line.startswith("set -eu"))]
    declared = [line for line in head if re.match(r"[a-z_]+=", line)]
    assert all(re.search(r"\S  *# \S", line) for line in declared), "every variable has a comment"
    assert [line.split("=")[0].replace("_", "-") for line in declared] == options_of(recipe)[:-1]
    assert sum(line.startswith("stage ") for line in lines) == 9


def test_help_lists_all_options(run):
    for recipe in ("mini", "grid"):
        done = run("--recipe", recipe, "--help", AVSR_PYTHON="")
        assert done.returncode == 0 and recipe in done.stdout.lower()
        assert re.findall(r"^  --([a-z-]+) +\S", done.stdout, flags=re.M) == options_of(recipe)


def test_what_is_refused(run):
    assert "--recipe lrx: no such recipe; recipes: grid mini" in refused(run("--recipe", "lrx"))
    for name in ("../egs/mini", "..", ".", "../", "mini/", "mini/../grid", "m*", "mini grid", ""):
        assert "no such recipe" in refused(run(f"--recipe={name}"))
    assert "--recipe ..: no such recipe" in refused(run("--recipe", ".."))
    assert "--recipe: value missing" in refused(run("--recipe"))
    assert "--recipe grid: this is the recipe mini" in refused(run("--recipe", "grid", script="egs/mini/run.sh"))
    assert "--preset tiny: no such preset; presets of this recipe: default smoke" in refused(run("--preset", "tiny"))
    assert "--preset recipe" in refused(run("--preset", "recipe"))
    assert "stage 1 needs --corpus-dir" in refused(run("--recipe", "grid"))
    assert "unknown option '--nope'" in refused(run("--recipe", "grid", "--nope", "1"))
    assert "there is no folder 'nowhere'" in refused(run("--noise-dir", "nowhere"))


def test_stages_run_in_order_in_the_environment_of_path_sh(run, tmp_path):
    done = run("--stage", "2", "--stop-stage", "4")
    assert done.returncode == 0 and done.stderr == ""
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"avsr.stages.{name} OMP=1 LC=C" for name in ("crop", "extract", "mix")
    ]
    lines = done.stdout.splitlines()
    assert lines[::2] == [f"=== stage {n} {STAGES[n - 1]} ===" for n in (2, 3, 4)]
    assert re.fullmatch(r"=== stage 3 extract: ended \(code 0\) after \d+ s ===", lines[3])


def test_a_failing_stage_ends_the_run_with_its_code(run, tmp_path):
    done = run(CODE=3)
    assert done.returncode == 3
    assert "stage 1 prepare: ended (code 3)" in done.stdout and "stage 2" not in done.stdout
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_to_the_stage(checkout, tmp_path, number, early):
    """The stage sees the signal even where run.sh alone got it, may finish, and no further stage starts.

    Early: before Python has handlers. SIGINT is ignored then, as bash starts its jobs so, and SIGTERM ends the stage.
    """
    fake, program = tmp_path / "python", tmp_path / "stage.py"
    fake.write_text(f"""#!/usr/bin/env bash\nexec {shlex.quote(sys.executable)} '{program}' "$@"\n""")
    program.write_text(f"""import signal, sys, time
if sys.argv[1] != "-m":
    sys.exit(0)
open({str(tmp_path / "early")!r}, "w").close()
time.sleep({1.5 if early else 0})
def stop(number, frame):
    time.sleep(0.3)
    open({str(tmp_path / "seen")!r}, "w").write(str(number))
    sys.exit(128 + number)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
open({str(tmp_path / "started")!r}, "w").close()
time.sleep(20)
""")
    fake.chmod(0o755)
    command = ["bash", str(checkout / "run.sh")]
    environment = {**os.environ, "AVSR_PYTHON": str(fake)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        end = time.time() + 15
        while not (tmp_path / ("early" if early else "started")).exists() and time.time() < end:
            time.sleep(0.02)
        process.send_signal(number)
        output, _ = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    if early and number == signal.SIGTERM:
        assert not (tmp_path / "started").exists()
    else:
        assert (tmp_path / "seen").read_text() == str(int(number))
    assert "stage 2" not in output
