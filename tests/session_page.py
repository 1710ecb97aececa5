"""Put the recorded sessions into the pages of docs/tasks: ``make docs``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.doc_sessions import FOLDER, ROOT, SCRIPT, names

PAGES: Final = ROOT / "docs" / "tasks"

BEGIN: Final = "<!-- session {name}, made by make docs -->\n"
END: Final = "<!-- end of the session -->\n"


def page(path: Path) -> str:
    """The page *path* with the sessions that it has renewed."""
    text = path.read_text()
    for name in names():
        before, begin, rest = text.partition(BEGIN.format(name=name))
        if begin:
            _, end, after = rest.partition(END)
            assert end, f"{path.name}: the session {name} has no end"
            text = before + begin + "".join(_block(name)) + end + after
    return text


def _block(name: str) -> Iterator[str]:
    first, _, script = (FOLDER / f"{name}.gdb").read_text().partition("\n")
    yield f"\n```text\n$ cat {name}.gdb\n{script}"
    yield f"$ {first.removeprefix('# ')} --script \\\n      '{SCRIPT.format(name=name)}'\n"
    yield f"{(FOLDER / f'{name}.txt').read_text()}```\n\n"


if __name__ == "__main__":
    for path in PAGES.glob("*.md"):
        path.write_text(page(path))
