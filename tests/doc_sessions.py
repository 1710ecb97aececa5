"""Sessions of docs/tasks: scripts of GDB, run against a guest, and what they showed.

``python -m tests.doc_sessions [NAME...]`` records them anew, ``make docs`` puts them into the pages.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.gdb.build import build

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "sessions"
PAGES: Final = ROOT / "docs" / "tasks"
BOUND: Final = 180.0  # seconds

BEGIN: Final = "<!-- session {name}, made by make docs -->\n"
END: Final = "<!-- end of the session -->\n"

SCRIPT: Final = 'gdb-multiarch -batch "$GDB_SYMBOLS" -ex "target remote $GDB_REMOTE" -x {name}.gdb'

#: What differs between one run and another, and between compilers and kernels.
_VARIES: Final = (
    (r"0x[0-9a-f]+", "0x…"),
    (r"\b\d+\.\d{6}\]", "…]"),
    (r"(?<=localhost:)\d+", "…"),
    (r"unix:\S+", "unix:…"),
    (r"(?<=Thread )\d{7}(?=\.)", "…"),
    (r"(?<=process )\d+", "…"),
)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.gdb"))


def arguments(name: str) -> list[str]:
    """The arguments of ``gdbstub run``, of the first line of the script."""
    first = (FOLDER / f"{name}.gdb").read_text().partition("\n")[0]
    return shlex.split(first.removeprefix("# gdbstub run"))


def run(name: str) -> str:
    """Run the session; all that GDB, the stub and the guest showed."""
    with tempfile.TemporaryDirectory(prefix="session-") as made:
        folder = Path(made)
        words = arguments(name)
        for place, word in enumerate(words):
            if word.endswith(".elf"):
                source = FOLDER / f"{Path(word).stem}.c"
                mapped = f"-ffile-prefix-map={FOLDER}/="
                words[place] = str(build(folder, source, mapped).elf)
        # The guest's source is where GDB looks for it, and no setting of this user's.
        shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "gdbstub", "run", *words),
                *("--timeout", str(BOUND / 2), "--script", SCRIPT.format(name=name)),
            ],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", "GDBHISTFILE": "", "XDG_CONFIG_HOME": made},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BOUND,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    return done.stdout.replace(f"{made}/", "")


def settled(shown: str) -> str:
    """*shown* without what differs between runs; of the lab's own messages nothing."""
    lines = [line for line in shown.splitlines() if not line.startswith("gdbstub: ")]
    text = "\n".join(line.rstrip() for line in lines if line.strip())
    for pattern, instead in _VARIES:
        text = re.sub(pattern, instead, text)
    return text


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


def main() -> None:
    for name in sys.argv[1:] or names():
        shown = [line.rstrip() for line in run(name).splitlines()]
        kept = [line for line in shown if not line.startswith("gdbstub: ")]
        (FOLDER / f"{name}.txt").write_text("\n".join(kept).strip("\n") + "\n")


if __name__ == "__main__":
    main()
