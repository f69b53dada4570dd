"""Time and memory of a command."""

import sys

import pytest

from avsr.bench.usage import measured
from avsr.errors import AvsrError

HOLD = "import sys; held = bytearray(int(sys.argv[1]) << 20); held[::4096] = b'x' * len(held[::4096])"


def test_memory_is_that_of_the_largest_process_below():
    held = bytearray(300 << 20)
    held[::4096] = b"x" * len(held[::4096])
    assert measured([sys.executable, "-c", "pass"]).peak_mb < 150  # not what this process holds
    child = measured([sys.executable, "-c", HOLD, "200"])
    assert 200 <= child.peak_mb < 260
    nested = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {HOLD!r}, '200'])"
    assert 200 <= measured([sys.executable, "-c", nested]).peak_mb < 260
    del held


def test_time_is_that_of_the_command():
    assert 0.3 <= measured([sys.executable, "-c", "import time; time.sleep(0.3)"]).seconds
    with pytest.raises(AvsrError, match=r"ended with code 3: the cause$"):
        measured([sys.executable, "-c", "import sys; print('first\\nthe cause', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(AvsrError, match="ended with code -9: it said nothing"):
        measured([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
