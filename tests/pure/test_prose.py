"""First words of docstrings and ``#:`` comments in gdbstub/ and tests/: docs/terminology.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

#: A question word or a pronoun, which does not name the object.
PRONOUN: Final = re.compile(
    r"(?:What|Whether|Where|How|Who|Whose|Which|That|It|Its|They|Their|Those|Such|When|Why)\b"
)
#: The same or a preposition. A comment may begin with one: "By number" names the key.
RIDDLE: Final = re.compile(
    rf"{PRONOUN.pattern}|One (?:that|whose|more)\b"
    r"|(?:Nothing|Nobody|Not|So|As|By|For|From|In|Of|With)\b"
)


def docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and docstring of the module, and of each class and function."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield 1 if isinstance(node, ast.Module) else node.lineno, text


def comments(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and first line of each ``#:`` comment, which documents a value."""
    before = ""
    for line, text in enumerate(map(str.strip, file.read_text().splitlines()), 1):
        if text.startswith("#: ") and not before.startswith("#:"):
            yield line, text.removeprefix("#: ")
        before = text


def test_docstrings_and_comments_open_with_a_verb_or_a_noun() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for package in ("gdbstub", "tests")
        for file in sorted((ROOT / package).rglob("*.py"))
        for texts, riddle in ((docstrings(file), RIDDLE), (comments(file), PRONOUN))
        for line, text in texts
        if riddle.match(text)
    ]
    assert not found, "see docs/terminology.md, Prose:\n" + "\n".join(found)
