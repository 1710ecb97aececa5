"""Load-exclusive and store-exclusive: sequences get on whatever is in them, a step is a step."""

import itertools
from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import PC, SP_EL1, SYSTEM_REGISTERS, X
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import ADDS, DATA, Program, at
from tests.contract.run_control import (
    ADDS_AND_COUNTS,
    ADDS_AND_PATCHES_IT,
    ADDS_FIVE_TIMES,
    ADDS_ONCE,
    EXCLUSIVES,
    HW,
    MEANWHILE,
    NEVER,
    SAYS_HI,
    STOPS,
    SW,
    TAKES_ONCE,
    TRIES_FROM_AFAR,
    X1_IS_3,
    put,
)

Begin = Callable[[Program], Client]
NOP = 0xD503201F
STACK = DATA + 0x2000
LDR = 0xB9400001  # ldr w1, [x0]
#: An interrupt of the host between load and store makes the store fail, as without a debugger: in
#: the lab 2 of 300 times.
TRIES = 4


@pytest.fixture
def begin(start: Start) -> Begin:
    def make(program: Program) -> Client:
        client = Client(start(program).machine)
        # A store to a page that was only read is a fault to the hypervisor: it fails for that.
        client.machine.write_memory(DATA, bytes(8))
        return client

    return make


def word_of(client: Client) -> int:
    return int.from_bytes(client.machine.read_memory(DATA, 4), "little")


# Several breakpoints in one sequence, none of which is to stop.


@pytest.mark.parametrize("kinds", [*itertools.product((SW, HW), repeat=2)], ids=str)
@pytest.mark.parametrize("lines", [*itertools.combinations(range(1, 6), 2)], ids=str)
def test_two_breakpoints_that_do_not_stop_let_a_sequence_get_to_its_end(
    begin: Begin,
    lines: tuple[int, int],
    kinds: tuple[BreakpointKind, BreakpointKind],
) -> None:
    client = begin(ADDS)
    for line, kind in zip(lines, kinds, strict=True):
        put(client, kind, at(line), NEVER)
    put(client, HW, at(6))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.pc(1), word_of(client)) == (at(6), 1)


@pytest.mark.parametrize("kind", [SW, HW])
@pytest.mark.parametrize(
    "action", [Action.CONTINUE, Range(at(0), at(6))], ids=["continue", "range"]
)
def test_a_breakpoint_on_each_instruction_lets_a_sequence_get_to_its_end(
    begin: Begin, kind: BreakpointKind, action: Action | Range
) -> None:
    client = begin(ADDS)
    for line in range(1, 5):
        put(client, kind, at(line), NEVER)
    put(client, SW, at(6))
    client.resume({1: action})
    assert (client.pc(1), word_of(client)) == (at(6), 1)


@pytest.mark.parametrize("kind", [SW, HW])
@pytest.mark.parametrize("line", [3, 4, 5])
def test_a_condition_in_a_sequence_is_asked_of_the_registers_at_its_place(
    begin: Begin, kind: BreakpointKind, line: int
) -> None:
    """Beside others that do not stop; what is told is as if they were not there."""
    client = begin(ADDS_FIVE_TIMES)
    for other in {2, 3, 4} - {line}:
        put(client, SW, at(other), NEVER)
    put(client, kind, at(line), X1_IS_3)
    for _ in range(TRIES):
        assert client.go() == Stopped(1, stop=STOPS[kind])
        if line < 5 or client.x(1, 2) == 0:
            break
        client.machine.vcpus[0].set(PC, at(2))  # as the branch at line 5 does, which is stopped at
    # Line 3 makes it 3 of the 2 that was loaded.
    assert (client.pc(1), client.x(1, 1)) == (at(line), 3)
    assert client.x(1, 5) == (2 if line == 3 else 3)
    assert word_of(client) == (3 if line == 3 or line == 5 else 2)


@pytest.mark.parametrize("kinds", [(SW, SW), (HW, SW), (SW, HW), (HW, HW)], ids=str)
def test_commands_in_a_sequence_print_and_the_guest_gets_on(
    begin: Begin, kinds: tuple[BreakpointKind, BreakpointKind]
) -> None:
    client = begin(ADDS_FIVE_TIMES)
    put(client, kinds[0], at(2), SAYS_HI)
    put(client, kinds[1], at(4), NEVER)
    put(client, HW, at(8))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.pc(1), word_of(client)) == (at(8), 5)
    # Each try prints: hardware may let a store fail without a reason, and a host's interrupt does.
    printed = client.target.take_output()
    assert printed == b"hi\n" * (printed.count(b"\n"))
    assert 5 <= printed.count(b"\n") < 10


@pytest.mark.parametrize("kind", [SW, HW])
def test_a_sequence_that_is_left_before_its_store_goes_on_there(
    begin: Begin, kind: BreakpointKind
) -> None:
    for free in True, False:
        client = begin(TAKES_ONCE)
        client.machine.write_memory(DATA, bytes([0 if free else 7, 0, 0, 0]))
        for line in range(2, 5):
            put(client, kind, at(line), NEVER)
        put(client, SW, at(6))
        for _ in range(TRIES):
            client.machine.vcpus[0].set(PC, at(0))
            assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
            assert client.pc(1) == at(6)
            if not free or client.x(1, 2) == 0:
                break
        assert word_of(client) == (1 if free else 7)


@pytest.mark.parametrize("kind", [SW, HW])
@pytest.mark.parametrize("lines", [(2,), (2, 3)], ids=str)
def test_a_sequence_is_tried_again_from_anywhere(
    begin: Begin, kind: BreakpointKind, lines: tuple[int, ...]
) -> None:
    client = begin(TRIES_FROM_AFAR)
    for line in lines:
        put(client, kind, at(line), NEVER)
    put(client, SW, at(9))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), word_of(client)) == (at(9), 1)


# What is in a sequence besides.


def with_line(client: Client, line: int, word: int) -> None:
    client.machine.write_memory(at(line), word.to_bytes(4, "little"))


def prepared(begin: Begin) -> Client:
    """A guest with a stack, whose vectors registers can be used."""
    client = begin(ADDS_AND_COUNTS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(SP_EL1, STACK)
    vcpu.set(SYSTEM_REGISTERS["CPACR_EL1"], 3 << 20)
    client.machine.write_memory(STACK - 0x400, bytes(0x400))
    client.machine.write_memory(DATA + 0x1_0000, bytes(0x400))
    return client


@pytest.mark.parametrize(("kind", "lines"), [(SW, (4,)), (HW, (2, 5, 6))], ids=str)
@pytest.mark.parametrize(
    ("word", "text"), MEANWHILE.lines, ids=[text for _, text in MEANWHILE.lines]
)
def test_breakpoints_let_a_sequence_get_to_its_end_whatever_is_in_it(
    begin: Begin, word: int, text: str, kind: BreakpointKind, lines: tuple[int, ...]
) -> None:
    client = prepared(begin)
    with_line(client, 4, word)
    for line in lines:
        put(client, kind, at(line), NEVER)
    put(client, HW, at(9))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    tries, vcpu = client.x(1, 5), client.machine.vcpus[0]
    assert client.pc(1) == at(9)
    if text == "b . + 20":
        assert (word_of(client), tries) == (0, 1)
        return
    assert (word_of(client), client.x(1, 2), client.x(1, 1)) == (1, 0, 1)
    assert 1 <= tries <= len(lines) + TRIES
    # What it did besides is done once in each try.
    moved = 16 * tries if "sp" in text else 0
    assert STACK - vcpu.get(SP_EL1) == moved
    assert client.x(1, 4) - (DATA + 0x1_0000) == (4 * tries if "x4], #4" in text else 0)
    stored = client.machine.read_memory(DATA + 0x1_0000, 4 * tries)
    if "x4], #4" in text:
        assert [*stored[::4]] == [*range(1, tries + 1)]


@pytest.mark.parametrize("number", range(0, len(EXCLUSIVES), 2))
def test_a_store_exclusive_of_any_kind_is_done_behind_another_store(
    begin: Begin, number: int
) -> None:
    client = prepared(begin)
    (load, _), (store, _) = EXCLUSIVES.lines[number : number + 2]
    client.machine.write_memory(DATA, b"\xff" * 16)
    with_line(client, 2, load)
    with_line(client, 4, MEANWHILE.lines[1][0])
    with_line(client, 6, store)
    put(client, HW, at(4), NEVER)
    put(client, SW, at(6), NEVER)
    put(client, HW, at(9))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    size = 1 << (store >> 30)  # of the one register in which 1 was added to all ones
    assert client.machine.read_memory(DATA, 16) == bytes(size) + b"\xff" * (16 - size)
    assert client.x(1, 2) == 0
    client.target.release()
    assert client.machine.read_memory(at(6), 4) == store.to_bytes(4, "little")


@pytest.mark.parametrize("kind", [SW, HW])
def test_a_watchpoint_on_a_store_exclusive_behind_another_store_stops(
    begin: Begin, kind: BreakpointKind
) -> None:
    client = prepared(begin)
    with_line(client, 4, MEANWHILE.lines[1][0])
    for line in 4, 6:
        put(client, kind, at(line), NEVER)
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    report = client.go()
    assert (report.stop, report.gva, client.pc(1)) == (StopReason.WATCH, DATA, at(6))
    assert word_of(client) == 0
    client.step_over(1, BreakpointKind.WRITE, DATA, 4)
    assert word_of(client) == 1
    client.target.release()
    assert client.machine.read_memory(at(6), 4) == 0x88027C01.to_bytes(4, "little")


def test_a_store_exclusive_that_must_fail_fails(begin: Begin) -> None:
    """A CLREX before it, in a sequence of which a lap is stepped."""
    client = prepared(begin)
    with_line(client, 3, MEANWHILE.lines[0][0])
    with_line(client, 4, 0xD5033F5F)  # clrex
    with_line(client, 7, NOP)
    for line in 2, 5:
        put(client, SW, at(line), NEVER)
    put(client, HW, at(9))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.x(1, 2), word_of(client)) == (1, 0)


# One instruction.


def test_a_step_of_a_store_exclusive_that_fails_ends_behind_it(begin: Begin) -> None:
    client = begin(ADDS_ONCE)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], DATA)
    vcpu.set(PC, at(3))
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert (client.pc(1), client.x(1, 2), client.x(1, 4)) == (at(4), 1, 0)
    assert word_of(client) == 0


def test_a_step_of_a_store_exclusive_that_is_tried_again_ends_behind_it(begin: Begin) -> None:
    client = begin(ADDS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], DATA)
    vcpu.set(PC, at(3))
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert (client.pc(1), client.x(1, 2), word_of(client)) == (at(4), 1, 0)
    assert client.x(1, 1) == 0, "nothing else was executed"


@pytest.mark.parametrize("program", [ADDS, ADDS_ONCE], ids=["loop", "once"])
def test_a_step_of_a_store_exclusive_to_a_watched_word_ends_behind_it_or_at_the_watchpoint(
    begin: Begin, program: Program
) -> None:
    """Hardware may check the watchpoint of a store that fails, and need not."""
    client = begin(program)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], DATA)
    vcpu.set(PC, at(3))
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    report = client.resume({1: Action.STEP})
    assert (client.pc(1), report.stop) in (
        (at(4), StopReason.PLAIN),
        (at(3), StopReason.WATCH),
    )
    assert (client.x(1, 4), word_of(client)) == (0, 0)


def test_a_step_of_a_load_exclusive_is_one(begin: Begin) -> None:
    client = begin(ADDS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], DATA)
    vcpu.set(PC, at(1))
    for line in 2, 3, 4:
        assert client.resume({1: Action.STEP}) == Stopped(1)
        assert client.pc(1) == at(line)
    assert word_of(client) == 0


def test_a_client_that_steps_over_a_watchpoint_on_a_lock_sees_its_change_and_no_more(
    begin: Begin,
) -> None:
    client = begin(ADDS_ONCE)
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    report = client.go()
    assert (report.stop, client.pc(1)) == (StopReason.WATCH, at(3))
    client.step_over(1, BreakpointKind.WRITE, DATA, 4)
    assert client.x(1, 4) == 0


# Ranges.


@pytest.mark.parametrize("line", [0, 1])
@pytest.mark.parametrize("end", [4, 5, 7])
def test_a_range_over_a_sequence_that_is_tried_once_succeeds(
    begin: Begin, line: int, end: int
) -> None:
    client = begin(ADDS_ONCE)
    vcpu = client.machine.vcpus[0]
    for _ in range(TRIES):
        vcpu.set(X[0], DATA)
        vcpu.set(PC, at(line))
        assert client.resume({1: Range(at(0), at(end))}) == Stopped(1)
        if client.x(1, 2) == 0:
            break
    assert (client.pc(1), client.x(1, 2), word_of(client)) == (at(end), 0, 1)


def test_a_range_over_a_lock_takes_it(begin: Begin) -> None:
    client = begin(TAKES_ONCE)
    for _ in range(TRIES):
        client.machine.vcpus[0].set(PC, at(0))
        assert client.resume({1: Range(at(0), at(6))}) == Stopped(1)
        if client.x(1, 2) == 0:
            break
    assert (client.pc(1), client.x(1, 2), word_of(client)) == (at(6), 0, 1)


def test_a_range_that_ends_within_a_sequence_ends_there(begin: Begin) -> None:
    client = begin(ADDS_ONCE)
    assert client.resume({1: Range(at(0), at(2))}) == Stopped(1)
    assert client.pc(1) in (at(2), at(4)), "as the client asked, or behind what cannot be broken"


@pytest.mark.parametrize("kind", [SW, HW])
def test_a_breakpoint_in_a_sequence_stops_a_range_at_its_first_lap(
    begin: Begin, kind: BreakpointKind
) -> None:
    client = begin(ADDS_ONCE)
    put(client, kind, at(2))
    assert client.resume({1: Range(at(0), at(7))}) == Stopped(1, stop=STOPS[kind])
    assert client.pc(1) == at(2)


# Text that changes.


@pytest.mark.parametrize("kind", [SW, HW])
@pytest.mark.parametrize(
    ("line", "new"), [(3, NOP), (1, LDR)], ids=["the store goes", "the load goes"]
)
def test_a_sequence_that_is_changed_under_a_breakpoint_is_one_no_more(
    begin: Begin, kind: BreakpointKind, line: int, new: int
) -> None:
    client = begin(ADDS_AND_PATCHES_IT)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[3], at(line))
    vcpu.set(X[4], new)
    put(client, kind, at(2), NEVER)
    put(client, SW, at(14))
    if line == 1:
        # Without its load, its store fails: it must not be tried again. So may the first one.
        client.machine.write_memory(at(4), NOP.to_bytes(4, "little"))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(14)
    assert word_of(client) == 1 or (line == 1 and word_of(client) == 0)
    assert client.x(1, 1) == word_of(client) + 1
