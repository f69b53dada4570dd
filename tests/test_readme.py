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
    results = (ROOT / page).with_name("RESULTS.md").read_text(encoding="utf-8")
    found = MEASURED.findall((ROOT / page).read_text(encoding="utf-8"))
    assert found and not [one for one in found if one not in results]
