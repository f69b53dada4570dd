"""Which state of the code made a result."""

import subprocess
from functools import cache
from pathlib import Path


@cache
def commit() -> str:
    """The commit of the checkout, `-dirty` when files differ from it; "unknown" outside of one."""
    own = _git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed package may lie in another checkout
    return own and _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or "unknown"


def _git(*words: str) -> str:
    """What git prints in the folder of this file; nothing where it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()
