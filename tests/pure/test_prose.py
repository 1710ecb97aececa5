"""The first words of docstrings in gdbstub/ and tests/, by the rules of docs/terminology.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

#: A question word, a pronoun or a preposition, which does not name the object.
RIDDLE: Final = re.compile(
    r"(?:What|Whether|Where|How|Who|Whose|Which|That|It|Its|They|Their|Those|Such|When|Why"
    r"|One (?:that|whose|more)|Nothing|Nobody|Not|So|As|By|For|From|In|Of|With)\b"
)


def docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and docstring of the module, and of each class and function."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield 1 if isinstance(node, ast.Module) else node.lineno, text


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for package in ("gdbstub", "tests")
        for file in sorted((ROOT / package).rglob("*.py"))
        for line, text in docstrings(file)
        if RIDDLE.match(text)
    ]
    assert not found, "see docs/terminology.md, Prose:\n" + "\n".join(found)
