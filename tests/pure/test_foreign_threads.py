"""Threads of a VMM under ptrace: whatever stops them, none is left stopped or loses a signal.

The requests are recorded; no thread is traced. ``tests/contract/test_foreign_vmm.py`` traces some.
"""

import errno
import os
import signal
import struct
from collections.abc import Callable

import pytest

from gdbstub.errors import InputError, MachineError
from gdbstub.foreign import injection, ptrace, seized
from gdbstub.foreign.injection import Gadgets, Injection
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.ptrace import Gone, Tracee, ffi
from gdbstub.foreign.seized import SeizedThreads
from gdbstub.foreign.tracer import Tracer
from gdbstub.foreign.vcpu_thread import RunPage, ThreadStop, VcpuThread
from gdbstub.kvm import abi

SI_TKILL, SI_TIMER = -6, -2  # signal.h
TKILL, RT_TGSIGQUEUEINFO = 130, 240
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


@pytest.mark.parametrize("status", [AT_SYSTEM_CALL, delivery(signal.SIGUSR1)])
@pytest.mark.parametrize("entry", [False, True])
def test_one_that_is_to_stop_anywhere_stops_though_it_has_another_stop_first(
    status: int, entry: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any stop takes a pending interrupt with it, and then it may wait for ever in its call."""
    thread, tracee = vcpu_thread()
    monkeypatch.setattr(tracee, "syscall_stop", lambda: ptrace.SyscallStop(entry, 98))
    tracee.registers().regs[8] = 98  # futex(2)
    thread.anywhere = True
    thread.kick()
    assert thread.handle(status) is None
    assert tracee.asked == [(INTERRUPT, 0), (INTERRUPT, 0), (SYSCALL, ptrace.signal_of(status))]
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED


def test_what_the_guest_is_waited_for() -> None:
    """A thread that its VMM keeps is none: others may have signals meanwhile."""
    threads = SeizedThreads(raising(AssertionError()))
    (kept, _), (parked, _) = vcpu_thread(7), vcpu_thread(9)
    threads.by_tid = {7: kept, 9: parked}
    assert threads.any_in_guest()
    for thread in kept, parked:
        thread.kick()
        assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    kept.give_way()
    assert threads.any_runs()
    assert not threads.any_in_guest()
    parked.resume(traced=False)
    assert threads.any_in_guest()


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


def in_the_vmm(monkeypatch: pytest.MonkeyPatch) -> tuple[VcpuThread, RecordedTracee]:
    """A thread that was parked, and has gone to its VMM's code for a signal."""
    thread, tracee = vcpu_thread()
    thread.kick()
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    threads = SeizedThreads(raising(AssertionError()))
    threads.by_tid[7] = thread
    threads.give_way(lambda _tid: False)
    assert thread.stopped
    threads.give_way(lambda _tid: True)
    assert (thread.stopped, thread.out_of_guest) == (False, True)
    assert tracee.asked == [(INTERRUPT, 0), (SYSCALL, 0)]  # the VMM sees an interrupted KVM_RUN
    assert tracee.registers().pc == PC + 4
    assert thread.handle(delivery(signal.SIGUSR1)) is None
    assert tracee.asked[2:] == [(SYSCALL, signal.SIGUSR1)]
    del tracee.asked[:]
    tracee.registers().regs[8] = 0  # whatever it does there
    return thread, tracee


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
    memory = injection.ProcessMemory(os.getpid())
    port = RemotePort(Tracer.__new__(Tracer), memory, {FD: thread})
    stops = [INTERRUPTED, AT_SYSTEM_CALL, AT_SYSTEM_CALL]
    monkeypatch.setattr(injection, "wait_for", lambda _tid: stops.pop(0))
    entries = [ptrace.SyscallStop(True), ptrace.SyscallStop(False, result=5)]
    monkeypatch.setattr(tracee, "syscall_stop", lambda: entries.pop(0))
    assert port.syscall(ptrace.MPROTECT) == 5
    assert tracee.asked == [(INTERRUPT, 0), *[(SYSCALL, 0)] * 3]
    assert (thread.stopped, thread.out_of_guest, thread.anywhere) == (False, True, False)
    memory.close()
