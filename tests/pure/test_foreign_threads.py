"""Threads of a VMM under ptrace: whatever stops them, none is left stopped or loses a signal.

The requests are recorded; no thread is traced. ``tests/contract/test_foreign_vmm.py`` traces some.
"""

import os
import signal
import struct
from collections.abc import Callable

import pytest

from gdbstub.errors import MachineError
from gdbstub.foreign import injection, ptrace, seized
from gdbstub.foreign.injection import Gadgets, Injection
from gdbstub.foreign.ptrace import Gone, Tracee, ffi
from gdbstub.foreign.seized import SeizedThreads
from gdbstub.foreign.vcpu_thread import RunPage, ThreadStop, VcpuThread
from gdbstub.kvm import abi

SI_TKILL, SI_TIMER = -6, -2  # signal.h
CONT, DETACH, SYSCALL, INTERRUPT, LISTEN = 7, 17, 24, 0x4207, 0x4208
#: Requests that read or write something of a stopped thread.
QUIET = frozenset((0x4204, 0x4205, 0x420A, 0x420B, 0x420E))
PC, FD = 0x1000, 9
GADGETS = Gadgets(0x2000, 0x3000)

INTERRUPTED = ptrace.EVENT_STOP << 16 | signal.SIGTRAP << 8 | 0x7F
GROUP_STOP = ptrace.EVENT_STOP << 16 | signal.SIGSTOP << 8 | 0x7F
EXECUTED = ptrace.EVENT_EXEC << 16 | signal.SIGTRAP << 8 | 0x7F
AT_SYSTEM_CALL = ptrace.SYSCALL_STOP << 8 | 0x7F


def delivery(signum: int) -> int:
    """The status of a stop before a signal is delivered."""
    return signum << 8 | 0x7F


def siginfo(signum: int, code: int = SI_TKILL, value: int = 0) -> bytes:
    """``siginfo_t`` of a signal."""
    return struct.pack("<iii4xiiQ", signum, 0, code, 0, 0, value).ljust(128, b"\0")


class RecordedTracee(Tracee):
    """A thread that has just left KVM_RUN; the requests are recorded."""

    def __init__(self, tid: int) -> None:
        super().__init__(tid)
        self.asked: list[tuple[int, int]] = []
        self.info = siginfo(signal.SIGUSR1)
        self.sent: list[tuple[bytes, int]] = []
        self.gone = False
        self._regs.regs[0] = -4 & (1 << 64) - 1
        self._regs.regs[1], self._regs.regs[8] = abi.RUN, ptrace.IOCTL
        self._regs.pc = PC + 4
        self._regs.sp = 1 << 20

    def _ptrace(self, request: int, address: int = 0, data: int = 0) -> int:
        if self.gone:
            raise Gone(f"thread {self.tid} has ended, or runs")
        if request not in QUIET:
            self.asked.append((request, data))
        return 0

    def siginfo(self) -> bytes:
        return self.info

    def send(self, info: bytes, process: int) -> None:
        self.sent.append((info, process))


class Text:
    """The VMM's memory: an svc everywhere."""

    def read(self, address: int, length: int) -> bytes:
        return (bytes.fromhex("010000d4") * length)[:length]

    def write(self, address: int, data: bytes) -> int:
        return len(data)


def vcpu_thread(tid: int = 7) -> tuple[VcpuThread, RecordedTracee]:
    tracee = RecordedTracee(tid)
    return VcpuThread(tracee, Text(), GADGETS, FD), tracee


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> dict[int, RecordedTracee]:
    """The threads that are not among the seized ones."""
    made: dict[int, RecordedTracee] = {}

    def make(tid: int) -> RecordedTracee:
        return made.setdefault(tid, RecordedTracee(tid))

    monkeypatch.setattr(seized, "Tracee", make)
    return made


def raising(error: Exception) -> Callable[[int, int], None]:
    def handler(_tid: int, _status: int) -> None:
        raise error

    return handler


@pytest.mark.parametrize("error", [KeyError("x"), MachineError("x"), OSError("x")])
@pytest.mark.parametrize(
    ("status", "signum"),
    [(delivery(signal.SIGUSR1), signal.SIGUSR1), (AT_SYSTEM_CALL, 0), (INTERRUPTED, 0)],
)
def test_a_stop_whose_handling_fails(error: Exception, status: int, signum: int) -> None:
    """The VMM must not stand still for it, nor miss its signal."""
    thread, tracee = vcpu_thread()
    threads = SeizedThreads(raising(error))
    threads.by_tid[7] = thread
    with pytest.raises(type(error)):
        threads.stop(7, status)
    assert tracee.asked == [(CONT, signum)]


def test_a_thread_that_was_parked_before_the_failure_stays_parked() -> None:
    thread, tracee = vcpu_thread()

    def handler(_tid: int, status: int) -> None:
        thread.kicked = True
        assert thread.handle(status) is ThreadStop.PARKED
        raise KeyError

    threads = SeizedThreads(handler)
    threads.by_tid[7] = thread
    with pytest.raises(KeyError):
        threads.stop(7, INTERRUPTED)
    assert (thread.stopped, tracee.asked) == (True, [])


@pytest.mark.parametrize(
    ("status", "signum"), [(INTERRUPTED, 0), (GROUP_STOP, 0), (delivery(signal.SIGTERM), 15)]
)
def test_a_thread_that_nobody_has_seized(
    released: dict[int, RecordedTracee], status: int, signum: int
) -> None:
    """A thread that a traced one has made is traced from its first instruction."""
    SeizedThreads(raising(AssertionError())).stop(8, status)
    assert released[8].asked == [(DETACH, signum)]


def test_the_end_of_a_thread_that_nobody_has_seized(released: dict[int, RecordedTracee]) -> None:
    SeizedThreads(raising(AssertionError())).stop(8, 0)
    assert not released


def test_a_vmm_that_executes_another_program(released: dict[int, RecordedTracee]) -> None:
    """The thread that does it gets the number of the first one; no end of it is told."""
    told: list[tuple[int, int]] = []
    threads = SeizedThreads(lambda tid, status: told.append((tid, status)))
    threads.by_tid[7], threads.by_tid[9] = vcpu_thread(7)[0], vcpu_thread(9)[0]
    threads.stop(6, EXECUTED)
    assert released[6].asked == [(DETACH, 0)]
    assert told == [(7, 0), (9, 0)]  # as if they had exited


def test_a_vmm_that_is_stopped_by_a_signal_stays_so() -> None:
    thread, tracee = vcpu_thread()
    assert thread.handle(GROUP_STOP) is None
    assert tracee.asked == [(LISTEN, 0)]


def test_a_vmm_that_is_stopped_by_a_signal_can_be_halted_and_stopped_on() -> None:
    thread, tracee = vcpu_thread()
    thread.kick()
    assert thread.handle(GROUP_STOP) is ThreadStop.PARKED
    assert thread.stopped
    thread.resume(traced=False)
    # It stops at once by the signal that the whole VMM is stopped by, and stays so.
    assert tracee.asked == [(INTERRUPT, 0), (INTERRUPT, 0), (CONT, 0)]
    assert thread.handle(GROUP_STOP) is None
    assert tracee.asked[3:] == [(LISTEN, 0)]
    thread.kick()
    assert thread.handle(GROUP_STOP) is ThreadStop.PARKED
    thread.resume(traced=False)
    del tracee.asked[:]
    assert thread.handle(INTERRUPTED) is None  # it was continued
    assert tracee.asked == [(CONT, 0)]
    assert (tracee.registers().pc, tracee.registers().regs[0]) == (PC, FD)


def test_one_that_is_stopped_in_its_own_code_is_not_run_on() -> None:
    thread, tracee = vcpu_thread()
    tracee.registers().regs[8] = 0
    thread.kick()
    assert thread.handle(GROUP_STOP) is None
    assert tracee.asked == [(INTERRUPT, 0), (LISTEN, 0)]
    thread.anywhere = True
    assert thread.handle(GROUP_STOP) is ThreadStop.PARKED


@pytest.mark.parametrize(
    ("status", "signum"), [(delivery(signal.SIGALRM), signal.SIGALRM), (AT_SYSTEM_CALL, 0)]
)
def test_one_that_stops_for_something_else_is_interrupted_again(status: int, signum: int) -> None:
    """Any stop takes with it an interrupt that has come since, and its code may wait for ever."""
    thread, tracee = vcpu_thread()
    tracee.registers().regs[8] = 0
    thread.anywhere = True
    thread.kick()
    assert thread.handle(status) is None
    assert tracee.asked == [(INTERRUPT, 0), (INTERRUPT, 0), (SYSCALL, signum)]


def test_a_kick_of_a_thread_that_is_gone() -> None:
    """The others must be kicked all the same; its end is a stop of its own."""
    thread, tracee = vcpu_thread()
    tracee.gone = True
    thread.kick()
    assert thread.kicked


def test_a_kicked_thread_is_out_of_the_guest_once_it_has_stopped_anywhere() -> None:
    thread, tracee = vcpu_thread()
    tracee.registers().regs[8] = 0
    thread.kick()
    assert not thread.out_of_guest
    assert thread.handle(INTERRUPTED) is None
    assert (thread.stopped, thread.out_of_guest) == (False, True)
    assert tracee.asked == [(INTERRUPT, 0), (SYSCALL, 0)]
    tracee.registers().regs[8] = ptrace.IOCTL
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    assert thread.out_of_guest
    thread.resume(traced=False)
    assert not thread.out_of_guest
    assert thread.handle(INTERRUPTED) is None  # of which nobody waits for the end
    assert not thread.out_of_guest


def test_the_reason_of_a_debug_exit_is_hidden_from_a_vmm_that_looks_at_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread, tracee = vcpu_thread()
    page = RunPage.__new__(RunPage)
    page.run = abi.ffi.new("struct kvm_run *")
    page.run.exit_reason, thread.page, thread.traced = abi.EXIT_DEBUG, page, True
    stops = [ptrace.SyscallStop(True, ptrace.IOCTL, (FD, abi.RUN, 0)), ptrace.SyscallStop(False)]
    monkeypatch.setattr(tracee, "syscall_stop", lambda: stops.pop(0))
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert thread.handle(AT_SYSTEM_CALL) is ThreadStop.DEBUG
    assert page.run.exit_reason == abi.EXIT_INTR


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


@pytest.mark.parametrize(("traced", "frames"), [(True, 1), (False, 2)])
def test_the_frame_for_calls_lasts_until_the_vmms_code_runs(
    traced: bool, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While every exit is looked at, KVM_RUN is made again without a return to that code."""
    written: list[int] = []

    def write(_self: Text, address: int, data: bytes) -> int:
        written.append(address)
        return len(data)

    monkeypatch.setattr(Text, "write", write)
    thread, tracee = vcpu_thread()
    for _ in range(2):
        tracee.registers().regs[0], tracee.registers().pc = -4 & (1 << 64) - 1, PC + 4
        thread.kick()
        assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
        assert thread.scratch == thread.scratch == (1 << 20) - 8192 - injection.SCRATCH_SIZE
        assert tracee.registers().pc == GADGETS.sigreturn  # where the thread goes without a tracer
        thread.resume(traced=traced)
        assert (tracee.registers().pc, tracee.registers().regs[0]) == (PC, FD)
    assert len(written) == frames


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


def test_a_stack_without_room_for_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    _, tracee = vcpu_thread()

    def fail(self: Text, address: int, data: bytes) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Text, "write", fail)
    with pytest.raises(MachineError, match=r"^the stack of thread 7 has no room .*: Input/output"):
        Injection(tracee, Text(), GADGETS, tracee.registers())


def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lets go whatever a thread has traced when that thread ends."""
    monkeypatch.setattr(seized, "PARK_TIMEOUT", 0.01)
    thread, tracee = vcpu_thread()
    threads = SeizedThreads(raising(AssertionError()))
    threads.by_tid[7] = thread
    threads.stop_all(lambda: None)
    assert not thread.stopped
    assert tracee.asked == [(INTERRUPT, 0)] * 2


class Stops:
    """A tracer of a launch, of whose other thread each look finds a group-stop."""

    def __init__(self, stopped: Callable[[int, int], None], _anything_runs: object) -> None:
        self._stopped = stopped
        self._looks = 0

    def call(self, _function: object) -> None:
        pass

    def pump(self, *, block: bool) -> None:
        self._looks += 1
        assert self._looks < 5
        self._stopped(8, GROUP_STOP)


def test_a_resume_that_is_tried_again_makes_the_same_call() -> None:
    thread, tracee = vcpu_thread()
    thread.kicked = True
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    set_registers = tracee.set_registers

    def fails(regs: object) -> None:
        raise MachineError("ptrace request: I/O error")

    tracee.set_registers = fails  # type: ignore[method-assign]
    with pytest.raises(MachineError):
        thread.resume(traced=False)
    assert thread.stopped
    tracee.set_registers = set_registers  # type: ignore[method-assign]
    thread.resume(traced=False)
    assert tracee._regs.pc == PC


def test_a_call_is_known_by_the_halves_of_its_registers_that_the_kernel_takes() -> None:
    """A descriptor is an int: what its register holds above that is the compiler's."""
    rubbish = 0x1234_5678 << 32
    thread, tracee = vcpu_thread()
    info = tracee._info
    info.op, info.entry.nr = ptrace.SYSCALL_ENTRY, ptrace.IOCTL
    info.entry.args[0], info.entry.args[1] = FD | rubbish, abi.RUN | rubbish
    assert tracee.syscall_stop() == (True, ptrace.IOCTL, (FD, abi.RUN, 0), 0)
    tracee.registers().regs[1] = abi.RUN | rubbish
    thread.kick()
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    thread.resume(traced=False)
    assert thread._about_to_run(tracee.registers())
