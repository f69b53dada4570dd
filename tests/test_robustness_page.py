"""docs/robustness.md: every case has a test, and every test that it names is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/robustness.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not re.match(r"\|-|\| case ", line)
]


def functions_of(path: Path) -> set[str]:
    """The test functions of a file, which is parsed and not run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_row_has_a_case_an_end_a_code_and_its_tests():
    assert len(ROWS) >= 50
    for row in ROWS:
        case, ending, code, tests = row
        assert case and ending and re.fullmatch(r"(0|1|2|3|130|143|–)(, \d+)*", code), row
        assert re.fullmatch(r"(`tests/[\w/]+\.py::test_\w+` ?)+", tests), row
    assert len({row[0] for row in ROWS}) == len(ROWS)


def test_every_test_that_the_page_names_is_there():
    named = {tuple(name.split("::")) for row in ROWS for name in re.findall(r"`([^`]+::[^`]+)`", row[3])}
    missing = [f"{path}::{name}" for path, name in sorted(named) if name not in functions_of(ROOT / path)]
    assert len(named) >= 40 and not missing
