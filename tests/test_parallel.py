"""Work in threads: in order, at the same time, and ended by the first error."""

import threading
import time

import pytest

from avsr.parallel import map_threads


def test_results_come_in_the_order_of_the_items():
    assert map_threads(lambda k: (time.sleep(0.01 * (5 - k)), k * k)[1], range(5), 3, "squares") == [0, 1, 4, 9, 16]
    assert map_threads(str, [], 2, "nothing") == []


def test_so_many_work_at_the_same_time():
    both = threading.Barrier(2, timeout=5)
    map_threads(lambda _: both.wait(), range(4), 2, "pairs")  # one alone would wait for ever


def test_the_first_error_ends_all():
    done = []

    def work(k):
        if k == 1:
            raise ValueError("bad")
        time.sleep(0.01)
        done.append(k)

    with pytest.raises(ValueError, match="bad"):
        map_threads(work, range(200), 2, "items")
    assert len(done) < 100
