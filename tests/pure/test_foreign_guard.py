"""The process that guards a debugger of a foreign guest."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from gdbstub.cli.serving import attach
from gdbstub.cli.serving.attach import guarded
from gdbstub.foreign import launch, ptrace
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.process import VmmProcess
from gdbstub.signals import STOP_SIGNALS


def killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_a_signal_while_it_recovers_does_not_cut_that_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recovered: list[int] = []

    def stale() -> Iterator[int]:
        os.kill(os.getpid(), signal.SIGTERM)  # as Ctrl-C, pressed twice
        recovered.append(1)
        return iter(())

    monkeypatch.setattr(Journal, "stale_processes", stale)
    monkeypatch.setattr(ptrace, "end_with_parent", lambda parent: None)  # of arm64 alone
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    try:
        assert guarded(killed) == 128 + signal.SIGKILL
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert recovered == [1]


@contextmanager
def vmm(program: str) -> Iterator[VmmProcess]:
    """Run a program of Python in a process; give it once that has said that it is ready."""
    ready, say = os.pipe()
    if (pid := os.fork()) == 0:
        os.dup2(say, 1)
        os.execv(sys.executable, (sys.executable, "-c", program))
    os.close(say)
    try:
        assert os.read(ready, 1) == b"."
        yield VmmProcess(pid)
    finally:
        os.close(ready)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


DEAF = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b'.')
signal.pause()
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["deaf", "stopped"])
def test_a_vmm_that_does_not_end_is_killed_and_that_is_said(
    stopped: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "_ENDING_SECONDS", 0.1)
    with vmm(DEAF) as process:
        name = process.name
        if stopped:
            os.kill(process.pid, signal.SIGSTOP)
        assert attach.end_of(process, 3) == 3
        with pytest.raises(ChildProcessError):
            os.waitpid(process.pid, 0)
    assert caplog.messages == [
        f"the VMM, process {process.pid} ({name}), did not end in 0.1 s after SIGTERM: killed"
    ]


def test_a_vmm_ends_by_sigterm(caplog: pytest.LogCaptureFixture) -> None:
    with vmm("import os, signal; os.write(1, b'.'); signal.pause()") as process:
        assert attach.end_of(process, 0) == 0
    assert caplog.messages == []


def test_the_status_of_a_vmm_that_has_ended_is_ours() -> None:
    with vmm("import os; os.write(1, b'.'); os._exit(7)") as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert attach.end_of(process, 0) == 7
