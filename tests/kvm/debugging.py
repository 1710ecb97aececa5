"""gdb-multiarch, scripted, against a stub of the kvm ring."""

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import pytest

from tests.bounds import HANGS
from tests.gdb.conftest import without_process
from tests.kvm.stub import Lines

_SETTINGS: Final = (
    "set confirm off", "set width 0", "set height 0", "set style enabled off",
    "set remotetimeout 30",
)  # fmt: skip


class Remote(Protocol):
    """A stub that GDB can reach."""

    @property
    def remote(self) -> str:
        """The stub's address, in the notation of GDB's ``target remote``."""
        ...


def _command(symbols: Path) -> list[str]:
    settings = [word for line in _SETTINGS for word in ("-ex", line)]
    return ["gdb-multiarch", "-q", "-nx", "-nh", *settings, str(symbols)]


def gdb(stub: Remote, symbols: Path, *commands: str, expected: Sequence[str] = ()) -> str:
    """Attach, run *commands* and quit; all that gdb said. A file of Python begins with ``@``.

    *expected* is what it may be displeased with.
    """
    words: list[str] = []
    for command in (f"target remote {stub.remote}", *commands):
        words += ["-x", command[1:]] if command.startswith("@") else ["-ex", command]
    done = subprocess.run(
        [*_command(symbols), "-batch", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=HANGS,
    )  # fmt: skip
    rest = done.stdout
    for each in expected:
        rest = rest.replace(each, "")
    for complaint in ("warning:", "Remote failure", "packet error", "internal-error"):
        assert complaint not in rest, done.stdout
    return without_process(done.stdout)


def marked(*commands: str) -> list[str]:
    """Return *commands* of GDB, each behind one that names it for ``parts``."""
    return [line for each in commands for line in (f"echo @@ {each}\\n", each)]


def parts(said: str) -> dict[str, str]:
    """Return what each marked command has printed, by the command."""
    return dict(re.findall(r"^@@ (.*)\n((?:(?!@@ ).*\n?)*)", said, re.M))


class Interactive:
    """A gdb that is typed at: for what must happen while the guest runs."""

    def __init__(self, stub: Remote, symbols: Path) -> None:
        self._process = subprocess.Popen(
            _command(symbols),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.said = Lines(self._process.stdout)
        self.type(f"target remote {stub.remote}")

    def type(self, *commands: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in commands).encode())
        self._process.stdin.flush()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def finish(self, *commands: str) -> str:
        """Type the last commands; all that gdb said."""
        self.type(*commands, "quit")
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(HANGS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            pytest.fail(f"gdb did not end; it said:\n{self.said.text}")
        return without_process(self.said.rest())
