"""Generate the part of docs/architecture.md on packages and layers: ``make docs``."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "gdbstub"
PAGE: Final = ROOT / "docs" / "architecture.md"

BEGIN: Final = "<!-- made by make docs, from docstrings and the layers in pyproject.toml -->\n"
END: Final = "<!-- end of what make docs makes -->\n"


def page() -> str:
    """Return the page with its generated part renewed."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + _tree() + "\n" + _picture() + END + after


def layers() -> list[list[str]]:
    """Return the components of each layer, from the top one down."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = project["tool"]["importlinter"]["contracts"][0]
    return [layer.split(" | ") for layer in contract["layers"]]


def _tree() -> str:
    """Format one line for each component: its name and the first line of its docstring."""
    lines = [f"{name:<22} {purpose}".rstrip() for name, purpose in _components(PACKAGE, "")]
    return "\n".join(("```text", "gdbstub/", *lines, "```", ""))


def _components(folder: Path, indent: str) -> Iterator[tuple[str, str]]:
    folders = [path.parent for path in folder.glob("*/__init__.py")]
    modules = [path for path in folder.glob("*.py") if not path.name.startswith("__")]
    for path in sorted([*folders, *modules], key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir():
            yield f"{indent}  {path.name}/", _purpose(path / "__init__.py")
            yield from _components(path, indent + "  ") if list(path.glob("*/__init__.py")) else ()
        elif folder == PACKAGE:
            yield f"{indent}  {path.name}", _purpose(path)


def _purpose(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text())) or ""
    return docstring.partition("\n")[0].replace("``", "").removesuffix(".")


def _picture() -> str:
    """Draw the layers as a diagram: a component imports only from layers below its own."""
    lines = ["```mermaid", "flowchart TB"]
    found = layers()
    for number, layer in enumerate(found):
        lines.append(f'  subgraph f{number}[" "]')
        lines += [f"    {component}" for component in layer]
        lines.append("  end")
    lines += [f"  f{number} --> f{number + 1}" for number in range(len(found) - 1)]
    return "\n".join((*lines, "```", ""))


if __name__ == "__main__":
    PAGE.write_text(page())
