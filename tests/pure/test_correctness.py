"""The tests that docs/correctness.md names exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGE = ROOT / "docs" / "correctness.md"
TESTS = ROOT / "tests"

#: A test that is named, and the file that its name leads to.
NAMED = re.compile(r"\[`([\w/]+\.py)::(\w+)`\]\(\.\./tests/([\w/]+\.py)\)")


@cache
def functions(file: str) -> frozenset[str]:
    """The tests of a file below ``tests``; none if there is no such file."""
    path = TESTS / file
    if not path.exists():
        return frozenset()
    body = ast.parse(path.read_text()).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))


def rows() -> list[tuple[str, str]]:
    """Return the rule and the last cell of each row of the page's tables."""
    tables = PAGE.read_text().partition("\n## Nineteen")[2].partition("\n## Known gaps")[0]
    lines = [line.strip("| ") for line in tables.splitlines() if line.startswith("| ")]
    found = [(said.strip(), tests) for said, _, tests in (line.rpartition(" | ") for line in lines)]
    return [row for row in found if row[1] != "shown by"]


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE.read_text())
    assert len(named) == PAGE.read_text().count("::test_")
    for file, name, target in named:
        assert file == target, name
        assert name in functions(file), f"{file}::{name}"


def test_every_row_names_a_test() -> None:
    assert len(rows()) > 19
    for said, tests in rows():
        links = tests.split("<br>")
        assert all(NAMED.fullmatch(link) for link in links), said
        assert len(links) == len(set(links)), f"{said}: a test is named twice"


@pytest.mark.parametrize("number", range(1, 20))
def test_the_list_is_whole(number: int) -> None:
    assert [said for said, _ in rows() if said.startswith(f"{number} | ")]
