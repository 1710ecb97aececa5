"""Signals of a VMM's threads under ptrace: none is lost, and none keeps a halted VMM waiting.

The requests are recorded; ``tests/contract/test_foreign_signals.py`` makes some.
"""

import errno
import os
import signal

import pytest

from gdbstub.errors import InputError
from gdbstub.foreign import injection, ptrace
from gdbstub.foreign.injection import Injection
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.process import PendingSignals
from gdbstub.foreign.ptrace import Tracee, ffi
from gdbstub.foreign.run_page import RunPage
from gdbstub.foreign.seized import SeizedThreads
from gdbstub.foreign.tracer import Tracer
from gdbstub.foreign.vcpu_thread import ThreadStop, VcpuThread
from gdbstub.kvm import abi
from tests.pure.recorded_threads import (
    AT_SYSTEM_CALL,
    CONT,
    FD,
    GADGETS,
    GROUP_STOP,
    INTERRUPT,
    INTERRUPTED,
    PC,
    RT_TGSIGQUEUEINFO,
    SI_TIMER,
    SI_TKILL,
    SYSCALL,
    TKILL,
    RecordedTracee,
    Text,
    delivery,
    raising,
    siginfo,
    vcpu_thread,
)


def test_signals_wait_for_the_end_of_an_exclusive_section() -> None:
    thread, tracee = vcpu_thread(os.getpid())
    thread.hold_signals()
    infos = [siginfo(signal.SIGUSR1), siginfo(signal.SIGALRM, SI_TIMER, 0x1234)]
    for tracee.info in infos:
        assert thread.handle(delivery(tracee.info[0])) is None
    # But one that is about the thread's own instruction.
    assert thread.handle(delivery(signal.SIGBUS)) is None
    assert tracee.asked == [(CONT, 0), (CONT, 0), (CONT, signal.SIGBUS)]
    assert tracee.sent == []
    thread.release_signals()
    assert tracee.sent == [(info, os.getpid()) for info in infos]
    assert thread.handle(delivery(signal.SIGALRM)) is None
    assert tracee.asked[3:] == [(CONT, signal.SIGALRM)]


@pytest.mark.parametrize("wanted", [False, True])
def test_a_run_that_a_held_signal_has_ended_is_made_again(
    wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not if the VMM has asked for its end: it would end at once for ever."""
    thread, tracee = vcpu_thread()
    page = RunPage.__new__(RunPage)
    page.run = abi.ffi.new("struct kvm_run *")
    page.run.immediate_exit = wanted
    thread.page, thread.traced = page, True
    stops = [ptrace.SyscallStop(True, ptrace.IOCTL, (FD, abi.RUN, 0)), ptrace.SyscallStop(False)]
    monkeypatch.setattr(tracee, "syscall_stop", lambda: stops.pop(0)._replace(result=-4))
    thread.hold_signals()
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert tracee.registers().pc == (PC + 4 if wanted else PC)
    assert tracee.asked == [(SYSCALL, 0), (SYSCALL, 0)]


def test_a_signal_that_kvm_run_alone_lets_through_is_the_vmms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each KVM_RUN ends at once until the VMM has taken it (KVM_SET_SIGNAL_MASK)."""
    thread, tracee = vcpu_thread()
    page = RunPage.__new__(RunPage)
    page.run = abi.ffi.new("struct kvm_run *")
    thread.page, thread.traced = page, True
    entry = ptrace.SyscallStop(True, ptrace.IOCTL, (FD, abi.RUN, 0))
    stops = [entry, ptrace.SyscallStop(False, result=-4)] * 4
    monkeypatch.setattr(tracee, "syscall_stop", lambda: stops.pop(0))

    def interrupted() -> int:
        """The PC after a KVM_RUN that a signal has ended."""
        for _ in range(2):
            assert thread.handle(AT_SYSTEM_CALL) is None
        pc: int = tracee.registers().pc
        tracee.registers().pc, tracee.registers().regs[0] = PC + 4, -4 & (1 << 64) - 1
        return pc

    thread.hold_signals()
    assert [interrupted(), interrupted()] == [PC, PC + 4]
    thread.hold_signals()
    assert interrupted() == PC
    assert thread.handle(delivery(signal.SIGUSR1)) is None  # another, which is held
    assert interrupted() == PC


def test_a_signal_that_no_mask_blocks_in_the_middle_of_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, tracee = vcpu_thread()
    stops = [delivery(signal.SIGSTOP), GROUP_STOP, INTERRUPTED, AT_SYSTEM_CALL, AT_SYSTEM_CALL]
    monkeypatch.setattr(injection, "wait_for", lambda _tid: stops.pop(0))
    entries = [ptrace.SyscallStop(True), ptrace.SyscallStop(False, result=5)]
    monkeypatch.setattr(tracee, "syscall_stop", lambda: entries.pop(0))
    call = Injection(
        tracee, Text(), GADGETS, ffi.new("struct user_pt_regs *", tracee.registers()[0])
    )
    assert call.call(ptrace.IOCTL) == 5
    assert tracee.asked == [(SYSCALL, n) for n in (0, signal.SIGSTOP, 0, 0, 0)]
    assert tracee.in_group_stop


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


#: Masks of signals.
USR1, USR2 = 1 << signal.SIGUSR1 - 1, 1 << signal.SIGUSR2 - 1


def in_the_vmm(monkeypatch: pytest.MonkeyPatch) -> tuple[VcpuThread, RecordedTracee]:
    """A thread that was parked, and has gone to its VMM's code for a signal."""
    thread, tracee = vcpu_thread()
    thread.kick()
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    threads = SeizedThreads(raising(AssertionError()))
    threads.by_tid[7] = thread
    threads.give_way(lambda _tid, _blocked: PendingSignals(0, 0))
    assert thread.stopped
    threads.give_way(lambda _tid, _blocked: PendingSignals(USR1, 0))
    assert (thread.stopped, thread.out_of_guest) == (False, True)
    assert tracee.asked == [(INTERRUPT, 0), (SYSCALL, 0)]  # the VMM sees an interrupted KVM_RUN
    assert tracee.registers().pc == PC + 4
    assert thread.handle(delivery(signal.SIGUSR1)) is None
    assert tracee.asked[2:] == [(SYSCALL, signal.SIGUSR1)]
    del tracee.asked[:]
    tracee.registers().regs[8] = 0  # whatever it does there
    return thread, tracee


def test_the_mask_of_a_thread_is_its_own_while_it_makes_calls_of_ours() -> None:
    """All signals are blocked then, and none of them by the VMM."""
    thread, tracee = vcpu_thread()
    tracee.set_signal_mask(USR2)
    thread.kick()
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    assert thread.blocked == USR2
    assert thread.scratch
    assert tracee.signal_mask() == ptrace.ALL_SIGNALS
    assert thread.blocked == USR2


class Parked(VcpuThread):
    """A thread that is parked all the time, and counts how often it has given way."""

    may_give_way = True
    blocked = 0

    def __init__(self) -> None:
        self.turns = 0

    def give_way(self) -> None:
        self.turns += 1


def test_a_signal_that_the_thread_blocks_lets_it_run_ever_more_rarely() -> None:
    """A VMM unblocks it for KVM_RUN alone (KVM_SET_SIGNAL_MASK), or calls sigwait(3) later."""
    threads, thread = SeizedThreads(raising(AssertionError())), Parked()
    threads.by_tid[7] = thread

    def turns(looks: int, deliverable: int, blocked: int) -> int:
        before = thread.turns
        for _ in range(looks):
            threads.give_way(lambda _tid, _blocked: PendingSignals(deliverable, blocked))
        return thread.turns - before

    assert turns(1, 0, USR1) == 1
    assert turns(1000, 0, USR1) <= 14
    assert turns(1, 0, USR1 | USR2) == 1  # another one
    assert turns(1, USR2, USR1) == 1  # it is blocked no more
    assert turns(1000, 0, USR1) <= 14
    assert turns(1, 0, 0) == 0
    assert turns(1, 0, USR1) == 1  # it was taken, and was sent again
    assert turns(10, USR1, 0) == 10


def test_a_parked_thread_takes_its_signals_and_parks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A VMM that pauses its guest waits for its vCPUs, and is halted itself without that."""
    thread, tracee = in_the_vmm(monkeypatch)
    stops = [ptrace.SyscallStop(True, ptrace.IOCTL, (FD, abi.RUN, 0)), ptrace.SyscallStop(False)]
    monkeypatch.setattr(tracee, "syscall_stop", lambda: stops.pop(0)._replace(result=-4))
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert tracee.asked == [(INTERRUPT, 0), (SYSCALL, 0)]  # KVM_RUN, which enters no guest
    assert thread.handle(AT_SYSTEM_CALL) is ThreadStop.PARKED


def test_a_thread_that_its_vmm_keeps_goes_on_when_it_is_let(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread, tracee = in_the_vmm(monkeypatch)
    thread.resume(traced=False)
    assert tracee.asked == []  # it runs already
    stops = [ptrace.SyscallStop(True, ptrace.IOCTL, (FD, abi.RUN, 0)), ptrace.SyscallStop(False)]
    monkeypatch.setattr(tracee, "syscall_stop", lambda: stops.pop(0)._replace(result=-4))
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert not thread.out_of_guest
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert tracee.asked == [(SYSCALL, 0), (CONT, 0)]


def test_a_thread_that_its_vmm_keeps_makes_calls_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread, tracee = in_the_vmm(monkeypatch)
    port = RemotePort(Tracer.__new__(Tracer), {FD: thread})
    stops = [INTERRUPTED, AT_SYSTEM_CALL, AT_SYSTEM_CALL]
    monkeypatch.setattr(injection, "wait_for", lambda _tid: stops.pop(0))
    entries = [ptrace.SyscallStop(True), ptrace.SyscallStop(False, result=5)]
    monkeypatch.setattr(tracee, "syscall_stop", lambda: entries.pop(0))
    assert port.syscall(ptrace.MPROTECT) == 5
    assert tracee.asked == [(INTERRUPT, 0), *[(SYSCALL, 0)] * 3]
    assert (thread.stopped, thread.out_of_guest, thread.anywhere) == (False, True, False)
