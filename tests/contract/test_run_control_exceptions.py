"""Exceptions during a step and in a range that is run: what they save, and where it ends."""

from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.architecture import Register
from gdbstub.machine import Vcpu
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import (
    ADDS,
    BASE,
    DATA,
    LOOPS,
    STRAIGHT,
    VECTORS,
    Program,
    at,
)
from tests.contract.run_control import ADDS_FIVE_TIMES, HW, SW, WRITES_ELR, WRITES_SPSR, put

pytestmark = pytest.mark.usefixtures("patient")

Begin = Callable[[Program], Client]

SERROR_EL1H = VECTORS + 0x380
SERROR_EL1T = VECTORS + 0x180
#: PSTATE with SError, IRQ and FIQ unmasked at EL1h and EL1t.
UNMASKED, UNMASKED_EL1T = 0x205, 0x204
MASKS = 0x3C0

LOOP = Range(at(0), at(3))


@pytest.fixture
def begin(start: Start) -> Begin:
    return lambda program: Client(start(program).machine)


def prepare(client: Client, pstate: int = UNMASKED) -> Vcpu:
    vcpu = client.machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(ELR_EL1, BASE + 0x800)
    vcpu.set(SPSR_EL1, 0x8000_0004)
    vcpu.set(CPSR, pstate)
    return vcpu


def values(vcpu: Vcpu, *rows: Register) -> list[int]:
    return [vcpu.get(row) for row in rows]


# An SError.


@pytest.mark.parametrize("irq", [False, True], ids=["alone", "with an IRQ"])
@pytest.mark.parametrize(
    ("pstate", "vector"), [(UNMASKED, SERROR_EL1H), (UNMASKED_EL1T, SERROR_EL1T)]
)
@pytest.mark.parametrize(
    "action", [Action.STEP, Range(at(0), at(0)), Range(at(0), at(5))], ids=["step", "once", "range"]
)
def test_a_step_ends_at_the_vector_of_an_serror_with_the_state_that_the_guest_had(
    begin: Begin,
    backend: Backend,
    irq: bool,
    pstate: int,
    vector: int,
    action: Action | Range,
) -> None:
    client = begin(STRAIGHT)
    vcpu = prepare(client, pstate)
    if irq:
        backend.pend_irq(client.machine, True)
    backend.pend_serror(client.machine)
    assert client.resume({1: action}) == Stopped(1)
    assert values(vcpu, PC, SPSR_EL1) == [vector, pstate]
    assert vcpu.get(ELR_EL1) in (at(0), at(1)), "before the instruction, or behind it"
    assert vcpu.get(CPSR) & MASKS == MASKS


@pytest.mark.parametrize("irq", [False, True], ids=["alone", "with an IRQ"])
@pytest.mark.parametrize(
    ("pstate", "vector"), [(UNMASKED, SERROR_EL1H), (UNMASKED_EL1T, SERROR_EL1T)]
)
def test_a_range_that_is_run_ends_at_the_vector_of_an_serror(
    begin: Begin, backend: Backend, irq: bool, pstate: int, vector: int
) -> None:
    client = begin(LOOPS)
    vcpu = prepare(client, pstate)
    vcpu.set(X[1], 50)
    if irq:
        backend.pend_irq(client.machine, True)
    backend.pend_serror(client.machine)
    assert client.resume({1: LOOP}) == Stopped(1)
    assert vcpu.get(PC) == vector
    assert vcpu.get(ELR_EL1) in range(at(0), at(3) + 1)
    assert vcpu.get(SPSR_EL1) & (MASKS | 0xF) == pstate
    assert vcpu.get(CPSR) & MASKS == MASKS


@pytest.mark.parametrize("kind", [SW, HW])
def test_a_breakpoint_in_the_handler_of_an_serror_stops_with_the_masks_of_a_handler(
    begin: Begin, backend: Backend, kind: BreakpointKind
) -> None:
    client = begin(LOOPS)
    vcpu = prepare(client)
    vcpu.set(X[1], 50)
    client.machine.write_memory(SERROR_EL1H, 4 * bytes.fromhex("1f2003d5"))
    put(client, kind, SERROR_EL1H + 4)
    backend.pend_serror(client.machine)
    assert client.resume({1: LOOP}) == Stopped(1)
    assert vcpu.get(PC) == SERROR_EL1H
    report = client.go()
    assert report.stop in (StopReason.SWBREAK, StopReason.HWBREAK)
    assert vcpu.get(PC) == SERROR_EL1H + 4
    assert vcpu.get(CPSR) & MASKS == MASKS
    assert vcpu.get(SPSR_EL1) & MASKS == UNMASKED & MASKS


def test_a_sequence_of_exclusives_ends_at_the_vector_of_an_serror(
    begin: Begin, backend: Backend
) -> None:
    client = begin(ADDS)
    vcpu = prepare(client)
    vcpu.set(X[0], DATA)
    vcpu.set(PC, at(1))
    backend.pend_serror(client.machine)
    assert client.resume({1: Range(at(1), at(5))}) == Stopped(1)
    assert vcpu.get(PC) == SERROR_EL1H
    assert vcpu.get(SPSR_EL1) & (MASKS | 0xF) == UNMASKED


def test_a_masked_serror_does_not_show(begin: Begin, backend: Backend) -> None:
    client = begin(LOOPS)
    vcpu = prepare(client, 0x305)
    vcpu.set(X[1], 50)
    backend.pend_serror(client.machine)
    assert client.resume({1: LOOP}) == Stopped(1)
    assert vcpu.get(PC) == at(3)
    assert vcpu.get(CPSR) & MASKS == 0x300
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert vcpu.get(PC) == at(3)


# Code that lies where a vector is.


def beside(client: Client, program: Program, vector: int) -> int:
    """Write *program* so that its last line is at a vector, and return its first address."""
    start = VECTORS + vector - 4 * (len(program) - 1)
    client.machine.write_memory(start, program.image)
    return start


@pytest.mark.parametrize("pstate", [0x305, UNMASKED, 0x3C5], ids=hex)
@pytest.mark.parametrize("vector", [0x200, 0x380])
def test_a_loop_that_falls_through_to_a_vector_is_no_exception(
    begin: Begin, pstate: int, vector: int
) -> None:
    client = begin(STRAIGHT)
    vcpu = prepare(client, pstate)
    start = beside(client, LOOPS, vector)
    vcpu.set(PC, start)
    vcpu.set(X[1], 50)
    end = VECTORS + vector
    assert client.resume({1: Range(start, end)}) == Stopped(1)
    assert values(vcpu, PC, X[0], ELR_EL1, SPSR_EL1) == [end, 50, BASE + 0x800, 0x8000_0004]
    assert vcpu.get(CPSR) & MASKS == pstate & MASKS


def test_a_loop_that_falls_through_to_a_vector_where_it_has_faulted_before(begin: Begin) -> None:
    """ELR_EL1 and SPSR_EL1 already hold the values that an exception would save."""
    client = begin(STRAIGHT)
    vcpu = prepare(client, 0x305)
    start = beside(client, LOOPS, 0x200)
    vcpu.set(PC, start)
    vcpu.set(X[1], 50)
    vcpu.set(ELR_EL1, start + 4)
    vcpu.set(SPSR_EL1, 0x3C5)
    assert client.resume({1: Range(start, start + 12)}) == Stopped(1)
    assert values(vcpu, PC, ELR_EL1, SPSR_EL1) == [start + 12, start + 4, 0x3C5]
    assert vcpu.get(CPSR) & MASKS == 0x300


def test_a_sequence_of_exclusives_that_ends_at_a_vector_is_no_exception(begin: Begin) -> None:
    client = begin(STRAIGHT)
    vcpu = prepare(client, 0x305)
    start = VECTORS + 0x200 - 16
    client.machine.write_memory(start, ADDS.image)
    vcpu.set(PC, start + 4)
    vcpu.set(X[0], DATA)
    assert client.resume({1: Range(start, start + 16)}) == Stopped(1)
    assert values(vcpu, PC, ELR_EL1, SPSR_EL1) == [start + 16, BASE + 0x800, 0x8000_0004]
    assert vcpu.get(CPSR) & MASKS == 0x300


@pytest.mark.parametrize("irq", [False, True], ids=["quiet", "irq"])
@pytest.mark.parametrize("vector", [0x200, 0x280, 0x380])
@pytest.mark.parametrize(
    ("program", "row"), [(WRITES_SPSR, SPSR_EL1), (WRITES_ELR, ELR_EL1)], ids=["spsr", "elr"]
)
def test_a_step_to_a_vector_that_writes_what_an_exception_saves_is_none(
    begin: Begin, backend: Backend, irq: bool, vector: int, program: Program, row: Register
) -> None:
    client = begin(STRAIGHT)
    vcpu = prepare(client, 0x305)
    backend.pend_irq(client.machine, irq)
    start = beside(client, program, vector)
    vcpu.set(PC, start)
    written = 0x60_2000_0305 if row is ELR_EL1 else 0x6020_0305
    vcpu.set(X[2], written)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert values(vcpu, PC, row) == [VECTORS + vector, written]
    assert vcpu.get(CPSR) & MASKS == 0x300


# Masks.


def test_a_watchpoint_in_a_sequence_leaves_the_masks_as_they_were(
    begin: Begin, backend: Backend
) -> None:
    client = begin(ADDS_FIVE_TIMES)
    vcpu = prepare(client, UNMASKED)
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    report = client.resume({1: Range(at(0), at(8))})
    assert (report.stop, vcpu.get(PC)) == (StopReason.WATCH, at(4))
    assert PSTATE(vcpu.get(CPSR)).DAIF == PSTATE(UNMASKED).DAIF
