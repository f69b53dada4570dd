"""The commit that results carry."""

import subprocess
import sys
from pathlib import Path

from avsr import revision

ROOT = Path(__file__).resolve().parents[1]


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def said_by(folder: Path) -> str:
    """What the module says that lies in `folder`."""
    code = "import revision; print(revision.commit())"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True).stdout[
        :-1
    ]


def test_only_a_checkout_of_the_module_itself_names_a_commit(tmp_path):
    inner = tmp_path / "repository" / "site-packages"
    inner.mkdir(parents=True)
    (inner / "revision.py").write_bytes((ROOT / "avsr" / "revision.py").read_bytes())
    assert said_by(inner) == "unknown"
    (inner.parent / "other.txt").write_text("a\n")
    git(inner.parent, "init", "-q")
    git(inner.parent, "add", "other.txt")
    git(inner.parent, "commit", "-q", "-m", "another project")
    assert said_by(inner) == "unknown"
    git(inner, "add", "revision.py")
    git(inner, "commit", "-q", "-m", "this project")
    assert said_by(inner) == git(inner, "rev-parse", "--short=12", "HEAD")
    clean = said_by(inner)
    published = inner.parent / "egs/a/RESULTS.md"
    published.parent.mkdir(parents=True)
    published.write_text("a\n")
    git(inner.parent, "add", "egs")
    git(inner.parent, "commit", "-q", "-m", "tables")
    published.write_text("b\n")  # a section was published, and the next one is scored by the same code
    assert said_by(inner) == git(inner, "rev-parse", "--short=12", "HEAD") != clean
    (inner.parent / "other.txt").write_text("b\n")
    assert said_by(inner).endswith("-dirty")


def test_a_checkout_that_git_cannot_compare_is_unknown(monkeypatch):
    """As where `git status` takes too long: no row may call itself clean then."""
    monkeypatch.setattr(revision, "_git", lambda *words: None if words[0] == "status" else "0123456789ab")
    assert revision.commit.__wrapped__() == "unknown"
