"""Which state of the code made a result."""

import subprocess
from functools import cache
from pathlib import Path

MADE = ("egs/*/RESULTS.md", "egs/*/results.csv", "egs/*/figures/*", "egs/*/scores/*")


@cache
def commit() -> str:
    """The commit of the checkout, `-dirty` where files differ from it, what `--publish` writes left aside; "unknown"
    outside of one."""
    own = _git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed package may lie in another checkout
    if not own:
        return "unknown"
    head = _git("describe", "--always", "--abbrev=12", "--exclude=*")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *(f":(top,exclude){it}" for it in MADE))
    return head and head + "-dirty" * bool(changed) or "unknown"


def _git(*words: str) -> str:
    """What git prints in the folder of this file; nothing where it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()
