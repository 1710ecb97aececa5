"""Threads of a VMM under ptrace: whatever stops them, none is left stopped or loses a signal.

The requests are recorded; no thread is traced. ``tests/contract/test_foreign_vmm.py`` traces some.
"""

import signal

import pytest

from gdbstub.errors import MachineError
from gdbstub.foreign import injection, ptrace, seized
from gdbstub.foreign.injection import Injection
from gdbstub.foreign.run_page import RunPage
from gdbstub.foreign.seized import SeizedThreads
from gdbstub.foreign.vcpu_thread import ThreadStop
from gdbstub.kvm import abi
from tests.pure.recorded_threads import (
    AT_SYSTEM_CALL,
    CONT,
    DETACH,
    EXECUTED,
    FD,
    GADGETS,
    GROUP_STOP,
    INTERRUPT,
    INTERRUPTED,
    LISTEN,
    PC,
    SYSCALL,
    RecordedTracee,
    Text,
    delivery,
    raising,
    vcpu_thread,
)


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> dict[int, RecordedTracee]:
    """The threads that are not among the seized ones."""
    made: dict[int, RecordedTracee] = {}

    def make(tid: int) -> RecordedTracee:
        return made.setdefault(tid, RecordedTracee(tid))

    monkeypatch.setattr(seized, "Tracee", make)
    return made


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
        assert thread.scratch == thread.scratch == (1 << 20) - injection.SCRATCH_SIZE
        assert tracee.registers().pc == GADGETS.sigreturn  # where the thread goes without a tracer
        thread.resume(traced=traced)
        assert (tracee.registers().pc, tracee.registers().regs[0]) == (PC, FD)
    assert len(written) == frames


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


def test_calls_are_no_target_of_a_branch_that_the_thread_was_stopped_in() -> None:
    """PSTATE.BTYPE is of that branch; guarded text takes an exception at an svc with it."""
    _, tracee = vcpu_thread()
    context = tracee.registers()
    context.pstate = 3 << 10 | 1 << 31
    Injection(tracee, Text(), GADGETS, context)
    assert tracee.registers().pstate == 1 << 31


@pytest.mark.parametrize("calls", [False, True])
def test_a_call_that_was_under_way_goes_on_where_it_was(
    calls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made again from its start, a sleep would take its whole time again."""
    thread, tracee = vcpu_thread()
    nanosleep, restart_syscall, restart_block = 101, 128, -516
    monkeypatch.setattr(
        tracee, "syscall_stop", lambda: ptrace.SyscallStop(False, result=restart_block)
    )
    tracee.registers().regs[8] = nanosleep
    thread.anywhere = True
    thread.kick()
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    if calls:
        assert thread.scratch
    thread.go_back()
    assert tracee.registers().regs[8] == restart_syscall


@pytest.mark.parametrize("between", [delivery(signal.SIGUSR1), AT_SYSTEM_CALL])
def test_a_call_that_was_under_way_and_is_over(
    between: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, tracee = vcpu_thread()
    results = [-516, 0]
    monkeypatch.setattr(
        tracee, "syscall_stop", lambda: ptrace.SyscallStop(False, result=results.pop(0))
    )
    tracee.registers().regs[8] = 101
    thread.anywhere = True
    thread.kick()
    assert thread.handle(AT_SYSTEM_CALL) is None
    assert thread.handle(between) is None
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    thread.go_back()
    assert tracee.registers().regs[8] == 101


@pytest.mark.parametrize("line", [0, 1])
def test_a_vmm_that_passes_on_the_lines_of_its_vcpus_sees_each_exit(
    line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KVM tells of a line's change once: made again, KVM_RUN would keep it from the VMM."""
    thread, tracee = vcpu_thread()
    page = RunPage.__new__(RunPage)
    page.run = abi.ffi.new("struct kvm_run *")
    thread.page = page
    page.run.device_irq_level = line
    thread.kick()
    assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
    page.run.device_irq_level = 0
    for _ in range(2):
        thread.resume(traced=True)
        assert tracee.registers().pc == (PC + 4 if line else PC)
        tracee.registers().pc, tracee.registers().regs[0] = PC + 4, -4 & (1 << 64) - 1
        thread.kick()
        assert thread.handle(INTERRUPTED) is ThreadStop.PARKED
