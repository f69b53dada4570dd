"""Every command of the README runs, the long ones as a dry run or with --help; every file that it names is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    {line.strip().split("#")[0].strip() for line in README.splitlines() if re.match(r"    (\./|python )", line)}
)


def call(words, **more):
    environment = {**os.environ, "AVSR_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment, **more)


def test_the_readme_has_commands():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, tmp_path):
    words = shlex.split(command)
    if words[0] == "python":
        done = call([sys.executable, *words[1:3], "--help"])
        options = [word for word in words[3:] if word.startswith("--")]
        assert done.returncode == 0 and all(option in done.stdout for option in options), done.stderr
        return
    if words[0] == "./utils/test.sh":
        done = call([*words, "--help"])
        assert done.returncode == 0, done.stderr
        return
    for name in ("GRID", "NOISE", "SPEECH"):
        (tmp_path / name).mkdir()
    checkpoint = tmp_path / "best.pt"
    checkpoint.touch()
    words = [str(tmp_path / w) if w in ("GRID", "NOISE", "SPEECH") else w for w in words]
    words = [str(checkpoint) if w.endswith("best.pt") else w for w in words]
    if "--help" not in words and "--dry-run" not in words:
        words += ["--dry-run", "true"]
    done = call(words)
    assert done.returncode == 0 and done.stdout, done.stderr
    if "--dry-run" in words:
        assert "avsr.stages." in done.stdout


def test_files_named_in_the_readme_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`((?:avsr|conf|egs|utils|docs)/[\w/.]+)`", README)
    made = ("egs/mini/corpus", "egs/mini/RESULTS.md", "egs/grid/RESULTS.md", "egs/mini/data", "egs/mini/exp")
    missing = [link for link in links if not (ROOT / link).exists() and not link.startswith(made)]
    assert links and not missing
