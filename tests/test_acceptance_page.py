"""docs/acceptance.md: each promise has tests, and every test that it names is there."""

import re

from tests.test_robustness_page import ROOT, functions_of

PAGE = (ROOT / "docs/acceptance.md").read_text(encoding="utf-8")


def test_every_promise_has_tests_that_are_there():
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d", line)]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 10)]
    for _, promise, tests in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
        assert promise and named
        assert not [name for path, name in named if name not in functions_of(ROOT / path)]
