"""Hits whose conditions are false: counted, and passed over without a trace, by whoever does it."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import pytest

from gdbstub.aarch64.registers import CPSR, PC, SCTLR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import PSTATE, SCTLR
from gdbstub.agent import Clauses
from gdbstub.debug.placement import Preference, Service
from gdbstub.machine import DebugExit, Machine, RunMode
from gdbstub.target import Action, BreakpointKind, Signal, Stopped, StopReason
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.laps import LAP_COUNT, begin, first
from tests.contract.loops import GOES_ON, MASKS_IRQ, READS_AND_UNMASKS
from tests.contract.programs import (
    BASE,
    DATA,
    LOOPS_AND_PATCHES_ITSELF,
    SPIN,
    SYNC_EL1H,
    VECTORS,
    Program,
)
from tests.contract.spaces import ROUND, TEXT, USER_GVA, Spaces

#: Address of a program with RAM before it, which is searched for an exclusive sequence.
START: Final = BASE + 0x400
IRQ_EL1H: Final = VECTORS + 0x280
HARDWARE, SOFTWARE = BreakpointKind.HARDWARE, BreakpointKind.SOFTWARE
_SS: Final = PSTATE.of(SS=1)
#: The most debug exits that the debug core hears of where a machine passes over the rest.
FEW: Final = 8


def equals(left: str, value: int) -> bytes:
    """Bytecode of *left* ``== value``."""
    return bytes.fromhex(left) + b"\x25" + value.to_bytes(8, "big") + b"\x13\x27"


X5: Final = "260005"
#: Bytecode of ``100 < X10``.
MORE_THAN_100: Final = bytes.fromhex("226426000a1527")
NEVER: Final = Clauses.compile([bytes.fromhex("220027")])


def go_round(start: Start, *, vectors: bool = True) -> Client:
    """All vCPUs at the start of their first lap; there are vectors, as far as can be seen."""
    client = begin(start)
    if not vectors:
        return client
    for vcpu in client.machine.vcpus:
        vcpu.set(VBAR_EL1, VECTORS)
    return client


def place(machine: Machine, program: Program) -> Client:
    """Put *program* at ``START``, where vCPU 0 is then, with vectors and an empty ``DATA``."""
    machine.write_memory(START, program.image)
    vcpu = machine.vcpus[0]
    vcpu.set(PC, START)
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(X[0], DATA + 64)
    vcpu.set(X[6], DATA)
    return Client(machine)


def heard(machine: Machine) -> Callable[[], int]:
    """Count the debug exits that the debug core hears of from now on."""
    listener, exits = machine.listener, list[DebugExit]()
    debug_exit = listener.debug_exit

    def note(exit: DebugExit) -> RunMode | None:
        exits.append(exit)
        return debug_exit(exit)

    listener.debug_exit = note  # type: ignore[method-assign]
    return lambda: len(exits)


def false_hits(client: Client, kind: BreakpointKind, gva: int) -> int:
    return client.target.breakpoints.conditions.false_hits[kind, gva]


def stop_at(client: Client, kind: BreakpointKind, gva: int, *conditions: bytes) -> None:
    client.target.insert(1, kind, gva, 4)
    client.target.attach(kind, gva, Clauses.compile(conditions))


@pytest.mark.parametrize("kind", [SOFTWARE, HARDWARE])
@pytest.mark.parametrize("line", range(4))
def test_each_is_counted_once(start: Start, kind: BreakpointKind, line: int) -> None:
    client = go_round(start)
    gva = first(1) + 4 * line
    for lap in 40, 80:
        stop_at(client, kind, gva, equals(X5, lap))
        assert client.resume({1: Action.CONTINUE}).thread == 1
        assert (client.pc(1), client.x(1, LAP_COUNT)) == (gva, lap)
        client.target.remove(1, kind, gva, 4)
        # Line 0 is met before it counts its lap.
        assert false_hits(client, kind, gva) == lap - (line > 0)


@pytest.mark.needs("passes")
@pytest.mark.parametrize(("line", "vectors"), [*((n, True) for n in range(4)), (0, False)])
def test_a_comparators_never_reach_the_debug_core(start: Start, line: int, vectors: bool) -> None:
    """Nor do those of a BRK, where its instruction is simulated (lines 2 and 3)."""
    client = go_round(start, vectors=vectors)
    for kind in (HARDWARE, SOFTWARE)[: 1 + (line >= 2)]:
        gva, before = first(1) + 4 * line, client.x(1, LAP_COUNT)
        stop_at(client, kind, gva, equals(X5, before + 100))
        number = heard(client.machine)
        assert client.go().thread == 1
        assert client.x(1, LAP_COUNT) == before + 100
        # It comes out to look for vectors, now and then.
        assert number() <= (FEW if vectors else 40)
        client.target.remove(1, kind, gva, 4)


@pytest.mark.needs("passes")
@pytest.mark.parametrize("line", [1, 3])
def test_a_process_s_never_reach_it_either(start: Start, line: int) -> None:
    """A comparator serves it. The process goes by its own tables."""
    spaces = Spaces(start(SPIN).machine, Preference.AUTO)
    spaces.put(TEXT + 0x100, ROUND)
    gva = USER_GVA + 0x100
    spaces.enter(gva, spaces.a, kpti=False)
    client = Client(spaces.machine, Preference.AUTO)
    stop_at(client, SOFTWARE, gva + 4 * line, equals("260000", 90))
    number = heard(client.machine)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), client.x(1, 0)) == (gva + 4 * line, 90)
    assert client.target.breakpoints.served(gva + 4 * line).service is Service.COMPARATOR
    assert number() <= FEW


@pytest.mark.needs("passes")
def test_a_brk_is_lifted_where_no_other_vcpu_is(start: Start) -> None:
    client = place(start(SPIN).machine, READS_AND_UNMASKS)
    stop_at(client, SOFTWARE, START, equals(X5, 100))
    number = heard(client.machine)
    assert client.go().stop is StopReason.SWBREAK
    assert client.x(1, LAP_COUNT) == false_hits(client, SOFTWARE, START) == 100
    assert number() <= FEW
    assert client.target.read_memory(1, START, 16) == READS_AND_UNMASKS.image


def test_all_conditions_of_all_kinds_count(start: Start) -> None:
    client = place(start(SPIN).machine, READS_AND_UNMASKS)
    laps = {HARDWARE: [60, 70], SOFTWARE: [80, 50]}
    for expected in 50, 60, 70, 80:
        for kind in laps:
            stop_at(client, kind, START, *(equals(X5, lap) for lap in laps[kind]), equals(X5, 999))
        assert client.go().thread == 1
        assert client.x(1, LAP_COUNT) == expected
        for each in laps.values():
            each[:] = [lap for lap in each if lap != expected]


def test_a_condition_reads_memory_without_our_brks(start: Start) -> None:
    """``*(int *)START != the word there`` is false: the BRK does not show."""
    client = place(start(SPIN).machine, READS_AND_UNMASKS)
    word = READS_AND_UNMASKS.lines[0][0]
    hidden = equals(f"24{START:08x}19", word)[:-1] + b"\x0e\x27"  # log_not; end
    stop_at(client, SOFTWARE, START, hidden, equals(X5, 30))
    stop_at(client, HARDWARE, START + 4, hidden, equals(f"24{DATA + 64:08x}1a", 1))
    assert client.go().stop is StopReason.SWBREAK
    assert client.x(1, LAP_COUNT) == 30
    client.machine.write_memory(DATA + 64, b"\1")
    client.target.attach(SOFTWARE, START, NEVER)
    assert client.go().stop is StopReason.HWBREAK


@pytest.mark.parametrize("line", [0, 1, 3])
def test_it_can_be_interrupted_and_goes_on(start: Start, line: int) -> None:
    client = place(start(SPIN).machine, READS_AND_UNMASKS)
    gva = START + 4 * line
    stop_at(client, HARDWARE, gva, equals(X5, 0))
    client.machine.vcpus[0].set(X[5], 1)
    client.interrupt_at_once()
    for _ in range(20):
        assert client.go() == Stopped(1, Signal.INT)
        laps, hits = client.x(1, LAP_COUNT) - 1, false_hits(client, HARDWARE, gva)
        # Evaluated for an instruction that is still to come, at each interrupt at most.
        assert laps - 1 <= hits <= laps + 20
        assert START <= client.pc(1) < START + 16


@pytest.mark.needs("passes")
@pytest.mark.parametrize("kind", [SOFTWARE, HARDWARE])
@pytest.mark.parametrize("line", [0, 1])
def test_an_interrupt_that_comes_meanwhile_leaves_no_trace_of_a_step(
    start: Start, backend: Backend, kind: BreakpointKind, line: int
) -> None:
    machine = start(SPIN).machine
    client, gva = place(machine, READS_AND_UNMASKS), START + 4 * line
    machine.write_memory(IRQ_EL1H, MASKS_IRQ.image)
    machine.vcpus[0].set(CPSR, PSTATE(machine.vcpus[0].get(CPSR)).replace(I=0))
    stop_at(client, kind, gva, MORE_THAN_100)  # X10 counts interrupts
    done = threading.Event()

    def pend() -> None:
        while not done.is_set():
            before = machine.read_memory(DATA + 8, 8)
            backend.pend_irq(machine, True)
            while machine.read_memory(DATA + 8, 8) == before and not done.is_set():
                pass
            backend.pend_irq(machine, False)

    beside = threading.Thread(target=pend)
    beside.start()
    try:
        stop = client.go()
    finally:
        done.set()
        beside.join()
    assert (stop.thread, client.pc(1)) == (1, gva)
    assert client.x(1, 10) > 100
    assert not client.x(1, 11) & _SS
    # An interrupt in place of the instruction: it is met again.
    assert client.x(1, LAP_COUNT) - (line > 0) == false_hits(client, kind, gva)


@pytest.mark.needs("passes")  # emulation without KVM checks no alignment
@pytest.mark.parametrize("kind", [SOFTWARE, HARDWARE])
def test_an_instruction_that_fails_takes_its_exception(start: Start, kind: BreakpointKind) -> None:
    machine = start(SPIN).machine
    client = place(machine, READS_AND_UNMASKS)
    machine.write_memory(SYNC_EL1H, GOES_ON.image)
    vcpu = machine.vcpus[0]
    vcpu.set(SCTLR_EL1, vcpu.get(SCTLR_EL1) | SCTLR.of(A=1))
    vcpu.set(X[0], DATA + 65)
    stop_at(client, kind, START + 4, equals(X5, 60))
    assert client.go().thread == 1
    assert (client.x(1, LAP_COUNT), client.x(1, 11) & _SS) == (60, 0)
    assert client.x(1, 11), "no exception was taken"
    assert false_hits(client, kind, START + 4) == 59


class Counter:
    """A device whose register counts how often it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, ipa: int, size: int) -> int:
        self.reads += 1
        return self.reads

    def write(self, ipa: int, size: int, value: int) -> None: ...


@pytest.mark.needs("passes")  # the emulator of the fake reads a device more than once
def test_a_device_is_read_once_a_lap(
    machine_factory: Callable[..., Machine],
) -> None:
    device = Counter()
    client = place(machine_factory(SPIN.image, device=device), READS_AND_UNMASKS)
    client.machine.vcpus[0].set(X[0], 0x900_0000)
    stop_at(client, HARDWARE, START + 4, equals("260001", 40))
    assert client.go().stop is StopReason.HWBREAK
    assert (device.reads, client.x(1, 1), client.x(1, LAP_COUNT)) == (40, 40, 41)
    assert false_hits(client, HARDWARE, START + 4) == 40


def test_code_that_the_guest_writes_anew_is_what_is_executed(start: Start) -> None:
    client = place(start(SPIN).machine, LOOPS_AND_PATCHES_ITSELF)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], START)
    vcpu.set(X[1], 0x91000863)  # add x3, x3, #2
    stop_at(client, HARDWARE, START, equals("260003", 41))
    assert client.go().stop is StopReason.HWBREAK
    assert (client.x(1, 3), false_hits(client, HARDWARE, START)) == (41, 21)


def test_a_breakpoint_of_others_stops_all_the_same(start: Start) -> None:
    """All vCPUs pass over hits of one; another breakpoint stops them, and what is counted stays."""
    client = go_round(start)
    lines: Sequence[int] = (first(1), first(2) + 8, first(3) + 4)
    for gva in lines:
        stop_at(client, HARDWARE, gva, equals(X5, 0))
    stop_at(client, SOFTWARE, first(4) + 4, equals(X5, 60))
    for vcpu in client.machine.vcpus:
        vcpu.set(X[5], vcpu.get(X[5]) + 1)
    report = client.go()
    assert (report.thread, client.x(4, LAP_COUNT)) == (4, 60)
    for thread, gva in enumerate(lines, 1):
        laps = client.x(thread, LAP_COUNT) - 1
        assert laps - 1 <= false_hits(client, HARDWARE, gva) <= laps + 1
