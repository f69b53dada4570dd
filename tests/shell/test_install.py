"""utils/install.sh with a Python that only pretends to install: what it does, when, and what it says when it cannot."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "bash cat cksum cp cut dirname flock grep head ln mkdir mv paste readlink rm sed tail touch".split()
# calls.txt: what pip was asked for; pip.txt: what pip prints; fail: a pattern of requests that it refuses
PYTHON = """#!/bin/bash
state={state}
case "$1 $2" in
  "-c import sys"*) [ ! -e "$state/old" ] ;;
  "-c import os"*) echo "$(cat "$state/headers" 2>/dev/null)" ;;
  "-c "*) ;;
  "-V "*) echo "Python 3.8.1" ;;
  "-m venv")
    [ ! -e "$state/venv.txt" ] || {{ cat "$state/venv.txt"; exit 1; }}
    echo venv >>"$state/calls.txt"
    mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip")
    [ "$3" != --version ] || exit $([ ! -e "$state/nopip" ]; echo $?)
    echo "$* CC=$CC" >>"$state/calls.txt"
    [ ! -e "$state/fail" ] || [[ "$*" != *$(cat "$state/fail")* ]] || {{ cat "$state/pip.txt"; exit 1; }} ;;
  "-m ensurepip") exit 1 ;;
  *requirements.py*)
    if [ "$2" = --missing ]; then cat "$state/missing.txt" 2>/dev/null; exit 0; fi
    printf '%s\\n' 'torch>=2' ${{2:+"$2"}} ;;
esac
"""


class Box:
    """A checkout, a PATH of its own, and a pretended Python on it."""

    def __init__(self, folder: Path):
        self.root, self.bin, self.state = folder / "check out", folder / "bin", folder / "state"
        self.venv = self.root / ".venv"
        for made in (self.root / "utils", self.root / "conf", self.bin, self.state):
            made.mkdir(parents=True)
        for name in ("utils/install.sh", "utils/requirements.py", "setup.cfg", "conf/constraints.txt"):
            shutil.copy(ROOT / name, self.root / name)
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        self.program("python3", PYTHON.format(state=f"'{self.state}'"))

    def program(self, name: str, text: str = "#!/bin/bash\n") -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def put(self, name: str, text: str = "") -> None:
        (self.state / name).write_text(text)

    def install(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        self.put("calls.txt")
        command = [shutil.which("bash"), str(self.root / "utils/install.sh"), *words]
        environment = {"PATH": str(self.bin), **environment}
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=30)

    def calls(self) -> list[str]:
        return (self.state / "calls.txt").read_text().splitlines()


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def one_line(done, code: int = 1) -> str:
    assert done.returncode == code, done.stderr
    return done.stderr.splitlines()[-1]


def test_first_run_installs_and_the_second_costs_nothing(box):
    box.program("cc")
    assert box.install().returncode == 0
    venv, packages, pesq = box.calls()
    assert venv == "venv"
    assert packages.split(" CC=")[0].endswith(f"-c {box.root}/conf/constraints.txt torch>=2")
    assert pesq.endswith(f"pesq CC={box.bin}/cc")
    second = box.install()
    assert (second.returncode, second.stderr, box.calls()) == (0, "", [])


def test_test_extras_come_on_top(box):
    box.program("cc")
    box.install()
    assert box.install("test").returncode == 0
    (call,) = box.calls()
    assert "torch>=2 test" in call
    assert box.install().stderr == "" and box.calls() == []


@pytest.mark.parametrize("name", ["conf/constraints.txt", "setup.cfg"])
def test_changed_pins_are_installed(box, name):
    box.program("cc")
    box.install()
    with (box.root / name).open("a") as file:
        file.write("# changed\n")
    assert box.install().returncode == 0
    assert "torch>=2" in box.calls()[0]
    box.install()
    assert box.calls() == []


def test_without_a_compiler_all_but_pesq_is_installed_and_it_follows_when_there_is_one(box):
    done = box.install()
    assert "no C compiler, so no pesq" in one_line(done, 0)
    assert len(box.calls()) == 2
    again = box.install()
    assert again.stderr.count("\n") == 1 and "no C compiler" in again.stderr and box.calls() == []
    box.program("gcc")
    assert box.install().returncode == 0
    assert [call.split()[-2:] for call in box.calls()] == [["pesq", f"CC={box.bin}/gcc"]]
    assert box.install().stderr == ""


def test_pesq_that_does_not_build_is_said_and_not_tried_each_time(box):
    box.program("cc")
    box.put("fail", ".txt pesq")
    box.put("pip.txt", "blah\nerror: command 'cc' failed with exit code 1\nmore blah\n")
    box.put("headers", "False")
    assert "pesq does not build" in one_line(box.install(), 0)
    again = box.install()
    assert again.returncode == 0 and again.stderr.count("\n") == 1 and "pesq did not build" in again.stderr
    assert box.calls() == []
    (box.state / "fail").unlink()
    box.put("headers", "True")
    box.install()
    assert len(box.calls()) == 1 and box.install().stderr == ""


def test_an_interrupted_installation_goes_on(box):
    box.put("fail", "torch")
    box.put("pip.txt", "ERROR: Operation cancelled by user\n")
    assert "Operation cancelled" in one_line(box.install())
    assert box.venv.exists()
    (box.state / "fail").unlink()
    assert box.install().returncode == 0
    assert "venv" not in box.calls() and "torch>=2" in box.calls()[0]


@pytest.mark.parametrize(
    "printed, said",
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk full"),
        ("WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution for torch", "no network"),
        ("ERROR: No matching distribution found for torch==9", "No matching distribution found for torch==9"),
    ],
)
def test_why_pip_failed(box, printed, said):
    box.put("fail", "torch")
    box.put("pip.txt", printed + "\n")
    line = one_line(box.install())
    assert said in line and "run again to go on" in line
    assert not list(box.venv.glob("installed-*"))


def test_no_python_that_fits(box):
    box.put("old")
    assert "Python 3.10 to 3.13 is needed; " in one_line(box.install())
    assert f"{box.bin}/python3 (Python 3.8.1)" in box.install().stderr
    (box.bin / "python3").unlink()
    assert "needed; none is on PATH" in one_line(box.install())


def test_a_later_python_on_path_is_found(box, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "python3").write_text("#!/bin/bash\nexit 1\n")
    (old / "python3").chmod(0o755)
    done = box.install(PATH=f"{old}:{box.bin}")
    assert done.returncode == 0 and f"with {box.bin}/python3" in done.stderr


def test_no_ensurepip(box):
    box.put("venv.txt", "The virtual environment was not created successfully because ensurepip is not\navailable.\n\n")
    assert "has no ensurepip" in one_line(box.install()) and "python3-venv" in one_line(box.install())


def test_disk_full_already_for_the_environment(box):
    box.put("venv.txt", "Error: [Errno 28] No space left on device: 'x'\n")
    assert "disk full" in one_line(box.install())


def test_an_environment_without_pip(box):
    box.install()
    box.put("nopip")
    (box.venv / "installed-base").unlink()
    assert "has no pip and cannot get it" in one_line(box.install())


def test_avsr_python_is_used_and_nothing_is_installed(box):
    done = box.install(AVSR_PYTHON="python3")
    assert (done.returncode, done.stderr, box.calls()) == (0, "", [])
    box.put("missing.txt", "torch>=2.6\nPyYAML>=6.0\n")
    line = one_line(box.install(AVSR_PYTHON="python3"))
    assert line == "install: AVSR_PYTHON: 'python3' lacks: torch PyYAML"
    box.put("old")
    assert "is no Python 3.10 to 3.13" in one_line(box.install(AVSR_PYTHON="python3"))
    assert "there is no interpreter 'nothing'" in one_line(box.install(AVSR_PYTHON="nothing"))
    assert not box.venv.exists() and box.calls() == []


def test_avsr_python_may_lack_pesq(box):
    box.program("python3", "#!/bin/bash\ncase \"$*\" in *--missing*pesq) echo 'pesq>=0.0.4' ;; esac\n")
    assert "lacks pesq" in one_line(box.install(AVSR_PYTHON="python3"), 0)


def requirements(*words: str) -> list[str]:
    command = [sys.executable, str(ROOT / "utils/requirements.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_requirements_are_those_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    everything = setup["options"]["install_requires"].split()
    assert set(everything) - set(requirements()) <= {"dlib-bin>=19.24"}  # where plain dlib is installed
    assert "pytest>=8" in requirements("test") and "pytest>=8" not in requirements()
    assert "pesq>=0.0.4" not in requirements("test")
    assert requirements("--missing") == []  # this environment has them all


def test_plain_dlib_stands_for_dlib_bin(tmp_path):
    bare = [sys.executable, "-I", "-S", "-c"]  # without site-packages, so that everything is missing
    code = "import sys, runpy; sys.path.insert(0, sys.argv[1]); sys.argv = ['requirements.py', '--missing']; "
    code += f"runpy.run_path({str(ROOT / 'utils/requirements.py')!r}, run_name='__main__')"

    def lacks() -> str:
        return subprocess.run([*bare, code, str(tmp_path)], capture_output=True, text=True, check=True).stdout

    assert "dlib-bin" in lacks() and "torch" in lacks()
    (tmp_path / "dlib-20.0.1.dist-info").mkdir()
    (tmp_path / "dlib-20.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dlib\nVersion: 20.0.1\n")
    assert "dlib" not in lacks() and "torch" in lacks()


def pins() -> list[Requirement]:
    lines = (ROOT / "conf/constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_requirement_has_one_pin_in_its_range_for_every_python(python):
    here = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            assert canonicalize_name(pin.name) not in here, f"{pin.name} twice"
            here[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    text = (ROOT / "setup.cfg").read_text()
    declared = [Requirement(line) for line in re.findall(r"^    ([A-Za-z0-9_-]+>=[0-9.]+)$", text, flags=re.M)]
    assert len(declared) > 20
    for requirement in declared:
        assert requirement.specifier.contains(here[canonicalize_name(requirement.name)]), requirement
    assert here["torch"] == "2.13.0"
