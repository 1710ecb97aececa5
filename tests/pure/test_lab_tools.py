"""Programs that the lab runs: none outlives who runs it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import pytest

from gdbstub.lab import tools


class Ended(Exception):
    pass


@pytest.fixture
def ended_by_sigterm() -> Iterator[None]:
    def end(_signum: int, _frame: FrameType | None) -> NoReturn:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield
    assert signal.getsignal(signal.SIGTERM) is end
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("ended_by_sigterm")
@pytest.mark.parametrize("command", ["exec sleep 4720", "kill -TERM $PPID; exec sleep 4720"])
def test_a_signal_ends_a_program_with_who_runs_it(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Whether it comes while the program runs, or while it is being started."""
    started: list[int] = []

    class Popen(subprocess.Popen[bytes]):
        def _execute_child(self, *arguments: object) -> None:
            super()._execute_child(*arguments)  # type: ignore[misc]
            started.append(self.pid)
            if "kill" not in command:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    with pytest.raises(Ended):
        tools.call(["sh", "-c", command])
    with pytest.raises(ProcessLookupError):  # not even as a zombie
        os.kill(started[0], 0)


def test_what_a_program_is_given_and_says() -> None:
    done = tools.call(["sh", "-c", "cat; echo no >&2; exit 3"], stdin=b"yes")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"yes", b"no\n")
