"""Sweeps whose runs are executed by a stand-in for ``gdbstub run``."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import pytest

from gdbstub.sweep.outcome import RunOutcome
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.pure.elves import Elf

STAND_IN: Final = (sys.executable, "-S", str(Path(__file__).with_name("stand_in.py")))


class _Started(subprocess.Popen[str]):
    """A process that is killed if its block fails: nobody would wait for its end in vain."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.kill()
        super().__exit__(kind, error, traceback)


class Sweeps:
    """A directory with guests, in which ``gdbstub sweep`` is called."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.out = directory / "out"
        self.environment = {**os.environ, "STAND_IN": str(directory / "faults")}
        (directory / "faults").mkdir()
        for name in ("guest", "other"):
            (directory / name).write_bytes(Elf().build())

    def command(self, *words: str) -> list[str]:
        """Return the command line of a sweep, or of one of its subcommands on its results."""
        program = [sys.executable, "-m", "gdbstub", "sweep"]
        if words[0] in ("show", "resume", "replay", "report", "export"):
            return [*program, words[0], str(self.out), *words[1:]]
        return [*program, *words, f"--command={' '.join(STAND_IN)}", f"--out={self.out}"]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return _Started(
            self.command(*words),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *words: str, status: int = 0, seconds: float = HANGS) -> tuple[str, str]:
        """Return what it printed, on both streams."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=seconds)
        assert process.returncode == status, err
        return out, err

    def outcomes(self) -> Sequence[RunOutcome]:
        with Store.read(self.out) as store:
            return [row.outcome for row in store.rows() if row.outcome is not None]


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that is empty for some workers of a cluster, as on another host."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture
def hidden_sweeps(hidden: Path) -> Sweeps:
    """Sweeps in a directory that these workers do not see."""
    return Sweeps(Path(tempfile.mkdtemp(dir=hidden)))


@pytest.fixture
def pygal_here() -> None:
    """Import pygal in this process, without the finder of the old kind that it adds.

    For that the import system warns at each later import, in whatever test.
    """
    import pygal  # noqa: F401

    sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
