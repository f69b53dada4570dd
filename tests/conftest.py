"""What every test may use: the folder of real recordings, where it is there."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real GRID clips, noises and speech; a test that asks for them is skipped where they are absent."""
    folder = Path(os.environ.get("AVSR_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder} (set AVSR_REAL_DATA)")
    return folder
