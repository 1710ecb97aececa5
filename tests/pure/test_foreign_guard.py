"""The process that guards a debugger of a foreign guest."""

import os
import signal
from collections.abc import Iterator

import pytest

from gdbstub.cli.serving.attach import guarded
from gdbstub.foreign import ptrace
from gdbstub.foreign.journal import Journal
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
