"""Conditions and commands of breakpoints, evaluated where the breakpoint is hit."""

from collections.abc import Sequence

import pytest

from gdbstub.aarch64.registers import CPSR, PC, SP_EL1, X
from gdbstub.agent import Clauses
from gdbstub.target import Action, BreakpointKind, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.laps import LAP_COUNT, begin, first
from tests.contract.programs import ADDS, COMPUTES, DATA, at

#: ``reg 5; const8 20; equal; end``: in this lap, and in no other.
IN_LAP_20 = Clauses.compile([bytes.fromhex("26000522141327")])
#: ``const8 0; end``.
NEVER = Clauses.compile([bytes.fromhex("220027")])
#: ``printf("hi\\n")``.
SAYS_HI = Clauses.compile([], [bytes.fromhex("220022003400000568695c6e0027")])


@pytest.mark.parametrize(
    ("kind", "stop"),
    [(BreakpointKind.SOFTWARE, StopReason.SWBREAK), (BreakpointKind.HARDWARE, StopReason.HWBREAK)],
)
def test_only_a_hit_for_which_the_condition_holds_is_told(
    start: Start, kind: BreakpointKind, stop: StopReason
) -> None:
    client = begin(start)
    client.target.insert(1, kind, first(2), 4)
    client.target.attach(kind, first(2), IN_LAP_20)
    report = client.go()
    assert (report.thread, report.stop, client.pc(2)) == (2, stop, first(2))
    assert client.x(2, LAP_COUNT) == 20


def test_no_vcpu_runs_through_while_another_steps_over(start: Start) -> None:
    """All go round in the same lap: each must be seen in its 20th, whoever steps over meanwhile."""
    client = begin(start)
    for vcpu in client.machine.vcpus:
        vcpu.set(PC, first(1))
    client.target.insert(1, BreakpointKind.SOFTWARE, first(1), 4)
    client.target.attach(BreakpointKind.SOFTWARE, first(1), IN_LAP_20)
    reported: set[int] = set()
    while reported != set(client.threads):
        report = client.go()
        assert report.stop is StopReason.SWBREAK
        assert client.x(report.thread, LAP_COUNT) == 20
        reported.add(report.thread)
        for thread in client.threads:
            assert client.x(thread, LAP_COUNT) <= 20 or thread in reported
        client.target.remove(1, BreakpointKind.SOFTWARE, first(1), 4)
        assert client.resume({report.thread: Action.STEP}) == Stopped(report.thread)
        client.target.insert(1, BreakpointKind.SOFTWARE, first(1), 4)
        client.target.attach(BreakpointKind.SOFTWARE, first(1), IN_LAP_20)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [(BreakpointKind.SOFTWARE, range(15)), (BreakpointKind.HARDWARE, (2, 4, 5, 6, 12))],
)
def test_what_is_done_without_execution_does_what_it_would(
    start: Start, kind: BreakpointKind, lines: Sequence[int]
) -> None:
    values = []
    for still_at in (), lines:
        client = Client(start(COMPUTES).machine)
        for line in still_at:
            client.target.insert(1, kind, at(line), 4)
            client.target.attach(kind, at(line), NEVER)
        client.target.insert(1, BreakpointKind.HARDWARE, at(16), 4)
        assert client.resume({1: Action.CONTINUE}) == Stopped(1, stop=StopReason.HWBREAK)
        vcpu = client.machine.vcpus[0]
        values.append([vcpu.get(row) for row in (*X, SP_EL1, PC, CPSR)])
    assert values[1] == values[0]


def test_what_is_stepped_over_is_done_once(start: Start) -> None:
    client = begin(start)
    for line in range(4):
        client.target.insert(1, BreakpointKind.SOFTWARE, first(1) + 4 * line, 4)
        client.target.attach(BreakpointKind.SOFTWARE, first(1) + 4 * line, NEVER)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(2), 4)
    client.target.attach(BreakpointKind.SOFTWARE, first(2), IN_LAP_20)
    assert client.go().thread == 2
    laps = client.x(1, LAP_COUNT)
    stored = int.from_bytes(client.machine.read_memory(DATA, 8), "little")
    assert stored in (laps - 1, laps)
    # And what was inserted first is still there, whole.
    assert client.target.read_memory(1, first(1), 4) == bytes.fromhex("a50400b1")


def test_the_last_word_counts(start: Start) -> None:
    client = begin(start)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(1), 4)
    client.target.attach(BreakpointKind.SOFTWARE, first(1), NEVER)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(1), 4)
    client.target.attach(BreakpointKind.SOFTWARE, first(1), Clauses())
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)


def test_commands_print_and_the_guest_goes_on(start: Start) -> None:
    client = begin(start)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(1), 4)
    client.target.attach(BreakpointKind.SOFTWARE, first(1), SAYS_HI)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(2), 4)
    client.target.attach(BreakpointKind.SOFTWARE, first(2), IN_LAP_20)
    assert client.go().thread == 2
    laps, printed = client.x(1, LAP_COUNT), client.target.take_output()
    # It may have been cut short between what it prints and the instruction.
    assert printed in (b"hi\n" * laps, b"hi\n" * (laps + 1) if client.pc(1) == first(1) else b"")
    assert client.target.take_output() == b""


def test_a_condition_that_cannot_be_evaluated_is_told(start: Start) -> None:
    client = begin(start)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(1), 4)
    # ``const8 0; ref64; end``: nothing is mapped there.
    client.target.attach(
        BreakpointKind.SOFTWARE, first(1), Clauses.compile([bytes.fromhex("22001a27")])
    )
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)


@pytest.mark.parametrize("line", range(1, 5))
@pytest.mark.parametrize("kind", [BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE])
def test_an_exclusive_sequence_gets_to_its_end_though_a_condition_is_evaluated_in_it(
    start: Start, kind: BreakpointKind, line: int
) -> None:
    client = Client(start(ADDS).machine)
    client.target.insert(1, kind, at(line), 4)
    client.target.attach(kind, at(line), NEVER)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(5), 4)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(5)
    assert client.machine.read_memory(DATA, 4) == bytes([1, 0, 0, 0])
