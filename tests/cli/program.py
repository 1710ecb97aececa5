"""Running the program where it finds neither a tool nor a lab, and seeing what it leaves."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bounds import HANGS

ROOT: Final = Path(__file__).parents[2]
GDBSTUB: Final = (sys.executable, "-m", "gdbstub")
#: The default port may be in use: a test that wants another than a free one names it.
_PORT: Final = "--gdb=localhost:0"
RUN: Final = (*GDBSTUB, "run", _PORT)
RUN_STUB: Final = (sys.executable, str(ROOT / "scripts/run_stub.py"), _PORT)
#: A hang is a failure; how long a run takes is not looked at.


class Place:
    """A directory to be called in; everything that the program could write to lies below it."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "files"
        self.environment = {"PATH": str(directory / "bin"), "LC_ALL": "C.UTF-8"}
        places = {"HOME": "home", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}
        for name, folder in {"": "files", **places}.items():
            (directory / folder).mkdir()
            if name:
                self.environment[name] = str(directory / folder)
        self._directory = directory

    def everything(self) -> dict[str, bytes | None]:
        """Return the content of all files below the place, and the names of all else."""
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in self._directory.rglob("*")
        }

    def call(
        self, *arguments: str | bytes | Path, program: Sequence[str] = GDBSTUB
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*program, *arguments],
            cwd=self.files,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=HANGS,
            check=False,
        )

    def refusal(self, *arguments: str | bytes | Path, program: Sequence[str] = RUN) -> str:
        """The one line by which the program refuses; that it is one, and does nothing else."""
        before = self.everything()
        done = self.call(*arguments, program=program)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("gdbstub: "), done.stderr
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1, done.stderr
        assert self.everything() == before
        return done.stderr.removeprefix("gdbstub: ").removesuffix("\n")
