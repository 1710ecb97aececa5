"""Maps of packages in their docstrings: each names all modules of its package, and no other."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2] / "gdbstub"
#: Modules that a docstring names before it is a map, and not a remark on a few.
MAP: Final = 5
GENERATED: Final = {"cdef"}


def _named(package: Path) -> set[str]:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    return set(re.findall(r"``([a-z][a-z0-9_]*)``", docstring))


def _modules(package: Path) -> set[str]:
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return files | {path.name for path in package.iterdir() if path.is_dir()} - {"__pycache__"}


MAPPED: Final = [
    each.parent
    for each in sorted(ROOT.rglob("__init__.py"))
    if len(_named(each.parent) & _modules(each.parent)) >= MAP
]


def test_the_big_packages_have_a_map() -> None:
    assert {"cli", "debug", "foreign", "kvm", "lab", "linux"} <= {each.name for each in MAPPED}


@pytest.mark.parametrize("package", MAPPED, ids=lambda package: package.name)
def test_a_map_names_each_module_of_its_package(package: Path) -> None:
    named, modules = _named(package), _modules(package)
    assert not named - modules, "these are no modules of the package"
    files = {path.stem for path in package.glob("*.py")}
    assert not (modules & files) - named - GENERATED, "the map lacks these"
