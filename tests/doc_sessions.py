"""Sessions of docs/tasks: scripts of GDB, run against a guest, and what they showed.

``python -m tests.doc_sessions [NAME...]`` records them anew; ``make docs`` renews the pages.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.gdb.build import build

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "sessions"
BOUND: Final = 180.0  # seconds

SCRIPT: Final = 'gdb-multiarch -batch "$GDB_SYMBOLS" -ex "target remote $GDB_REMOTE" -x {name}.gdb'

#: Text that differs between one run and another, and between compilers.
_VARIES: Final = (
    (r"0x[0-9a-f]+", "0x…"),
    (r"\b\d+\.\d{6}\]", "…]"),
    (r"(?<=Thread )\d{7}(?=\.)", "…"),
    (r"(?<=process )\d+", "…"),
    (r"(?m)^#\d+ +(0x… in )?", "#… "),
    (r"(?<=cpu=\d\) at hang\.c:)\d+", "…"),  # in a loop
)
#: Lines of the lab; which of two vCPUs comes first, and how far the other one is in its loop.
_LEFT_OUT: Final = re.compile(
    r"gdbstub: |\[Switching to|Thread \d \"CPU\d\" hit|\d+\t|#\d+ .*\btry_lock |Backtrace stopped"
)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.gdb"))


def arguments(name: str) -> list[str]:
    """The arguments of ``gdbstub run``, of the first line of the script."""
    first = (FOLDER / f"{name}.gdb").read_text().partition("\n")[0]
    return shlex.split(first.removeprefix("# gdbstub run"))


def run(name: str, stub: str = "gdbstub") -> str:
    """Run the session by the module *stub*; all that GDB, the stub and the guest showed."""
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
                *(sys.executable, "-m", stub, "run", *words),
                *("--timeout", str(BOUND / 2), "--script", SCRIPT.format(name=name)),
            ],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "LC_ALL": "C",
                "GDBHISTFILE": "",
                "XDG_CONFIG_HOME": made,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BOUND,
            check=False,
        )
    panicked = "--stop-on" in words  # the session's status then tells of it
    assert done.returncode == (100 if panicked else 0), done.stdout
    return done.stdout.replace(f"{made}/", "")


def settled(shown: str) -> str:
    """*shown* without what differs between runs."""
    lines = [line for line in shown.splitlines() if not _LEFT_OUT.match(line)]
    text = "\n".join(line.rstrip() for line in lines if line.strip())
    for pattern, instead in _VARIES:
        text = re.sub(pattern, instead, text)
    return text


def main() -> None:
    for name in sys.argv[1:] or names():
        shown = [line.rstrip() for line in run(name).splitlines()]
        kept = [line for line in shown if not line.startswith("gdbstub: ")]
        (FOLDER / f"{name}.txt").write_text("\n".join(kept).strip("\n") + "\n")


if __name__ == "__main__":
    main()
