"""Which state of the code made a result."""

import subprocess
from functools import cache
from pathlib import Path

PUBLISHED = ("egs/*/RESULTS.md", "egs/*/figures/*", "egs/*/scores/*")


@cache
def commit() -> str:
    """The commit of the checkout, `-dirty` where files differ from it, what `--publish` writes left aside; "unknown"
    outside of one."""
    own = _git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed package may lie in another checkout
    head = own and _git("describe", "--always", "--abbrev=12", "--exclude=*")
    aside = (f":(top,exclude){pattern}" for pattern in PUBLISHED)
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *aside)
    return head + "-dirty" * bool(changed) if head and changed is not None else "unknown"


def _git(*words: str) -> str | None:
    """What git prints in the folder of this file; None where it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip()
