"""Generate the part of docs/architecture.md on packages and layers: ``make docs``."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "gdbstub"
PAGE: Final = ROOT / "docs" / "architecture.md"
PICTURE: Final = ROOT / "docs" / "layers.svg"

BEGIN: Final = "<!-- made by make docs, from docstrings and the layers in pyproject.toml -->\n"
END: Final = "<!-- end of what make docs makes -->\n"

#: Pixels: the margin, a layer's width and height, and from one layer to the next.
EDGE, WIDTH, HEIGHT, STEP = 12, 700, 36, 44

STYLE: Final = """\
<style>
  text { font: 13px "DejaVu Sans Mono", Menlo, monospace; text-anchor: middle; fill: #1b1f24; }
  .side { text-anchor: start; }
  .layer { fill: #f3f5f8; stroke: #c5ccd6; } .box { fill: #ffffff; stroke: #6e7781; }
  path { fill: none; stroke: #3b434d; stroke-width: 1.6; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } path { stroke: #c3ccd6; }
    .layer { fill: #1e242c; stroke: #3d4753; } .box { fill: #28303a; stroke: #8b96a3; }
  }
</style>
"""


def page() -> str:
    """Return the page with its generated part renewed."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + _tree() + "\n![The layers](layers.svg)\n" + END + after


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


def picture() -> str:
    """Draw the layers, one below the other: a component imports only from those below its own."""
    found = layers()
    parts = []
    for number, layer in enumerate(found):
        top = EDGE + number * STEP
        parts.append(
            f'<rect class="layer" x="{EDGE}" y="{top}" width="{WIDTH}" height="{HEIGHT}"/>'
        )
        share = WIDTH / len(layer)
        for place, component in enumerate(layer):
            x, width = EDGE + place * share + 10, share - 20
            parts.append(
                f'<rect class="box" x="{x:.0f}" y="{top + 5}" width="{width:.0f}" height="26"/>'
                f'<text x="{x + width / 2:.0f}" y="{top + 23}">{component}</text>'
            )
    x, bottom = EDGE + WIDTH + 20, EDGE + len(found) * STEP - STEP + HEIGHT
    parts.append(f'<path d="M{x} {EDGE}V{bottom}m-6 -10l6 10l6 -10"/>')
    parts.append(f'<text class="side" x="{x + 14}" y="{bottom // 2}">imports</text>')
    size = f'viewBox="0 0 {x + 80} {bottom + EDGE}" width="{x + 80}" height="{bottom + EDGE}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>Layers</title>\n'
    return head + STYLE + "\n".join((*parts, "</svg>", ""))


if __name__ == "__main__":
    PAGE.write_text(page())
    PICTURE.write_text(picture())
