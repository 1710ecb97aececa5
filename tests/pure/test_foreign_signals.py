"""Signals that were held while a thread was traced: each is sent again, and says what it said."""

import errno
import os
import signal

import pytest

from gdbstub.errors import InputError
from gdbstub.foreign import ptrace
from gdbstub.foreign.ptrace import Tracee
from tests.pure.test_foreign_threads import SI_TIMER, SI_TKILL, siginfo

TKILL, RT_TGSIGQUEUEINFO = 130, 240


class SystemCalls:
    """System calls of this process, recorded; one fails by the error ``fails``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[int, ...]] = []
        self.fails = 0
        monkeypatch.setattr(ptrace, "call", self._call)

    def _call(self, *numbers: int) -> int:
        self.made.append(numbers)
        if code := self.fails:
            self.fails = 0
            raise OSError(code, os.strerror(code))
        return 0


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> SystemCalls:
    return SystemCalls(monkeypatch)


def test_a_signal_is_sent_again_with_what_it_says(calls: SystemCalls) -> None:
    """The handler of a timer's signal may go by the value that it has been given."""
    Tracee(7).send(siginfo(signal.SIGALRM, SI_TIMER, 0x1234), 6)
    ((number, *arguments, address),) = calls.made
    assert (number, arguments) == (RT_TGSIGQUEUEINFO, [6, 7, signal.SIGALRM])
    assert address


@pytest.mark.parametrize("code", [0, 0x80, SI_TKILL])
def test_a_signal_that_only_the_kernel_or_its_sender_may_send_so(
    code: int, calls: SystemCalls
) -> None:
    """SI_USER, SI_KERNEL and SI_TKILL tell a handler no more than the number."""
    Tracee(7).send(siginfo(signal.SIGUSR1, code), 6)
    assert calls.made == [(TKILL, 7, signal.SIGUSR1)]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EAGAIN])
def test_a_signal_that_cannot_be_sent_so_is_sent_all_the_same(
    code: int, calls: SystemCalls
) -> None:
    calls.fails = code
    Tracee(7).send(siginfo(signal.SIGALRM, SI_TIMER), 6)
    assert calls.made[1:] == [(TKILL, 7, signal.SIGALRM)]
    calls.fails = errno.ESRCH
    Tracee(7).send(siginfo(signal.SIGUSR1), 6)  # it has ended


def test_a_thread_that_the_kernel_lets_nobody_trace(calls: SystemCalls) -> None:
    calls.fails = errno.EPERM
    with pytest.raises(InputError, match=r"^thread 7 may not be traced: .* container.*SELinux"):
        Tracee(7).seize(0)
