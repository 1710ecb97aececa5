"""A guest that debugs itself: it gets what it would have taken undebugged, and no more.

It is what the ``debug`` test of kvm-unit-tests does: its handlers go back to the instruction with
debug exceptions masked (PSTATE.D).
"""

import platform
from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import CPSR, MDSCR_EL1, PC, SYSTEM_REGISTERS, VBAR_EL1, X
from gdbstub.aarch64.sysreg import EC, ESR, MDSCR, PSTATE
from gdbstub.debug.placement import Preference
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import DATA, SYNC_EL1H, VECTORS, Program, at
from tests.contract.run_control import (
    COUNTS_AND_MASKS,
    HW,
    NEVER,
    OWN_BREAKPOINT,
    OWN_WATCHPOINT,
    SW,
    put,
)

pytestmark = pytest.mark.own_kvm

Begin = Callable[[Program], Client]

#: Since then KVM hides the guest's comparators while anything at all is armed.
_HOST_OWNED = (6, 14)
HIDDEN = tuple(map(int, platform.release().split("-")[0].split(".")[:2])) >= _HOST_OWNED
END = 12
PROGRAMS = pytest.mark.parametrize(
    ("program", "ec"),
    [(OWN_BREAKPOINT, EC.BREAKPOINT_SAME), (OWN_WATCHPOINT, EC.WATCHPOINT_SAME)],
    ids=["breakpoint", "watchpoint"],
)


@pytest.fixture
def begin(start_kvm: Start) -> Begin:
    def make(program: Program) -> Client:
        client = Client(start_kvm(program).machine)
        vcpu = client.machine.vcpus[0]
        client.machine.write_memory(SYNC_EL1H, COUNTS_AND_MASKS.image)
        vcpu.set(VBAR_EL1, VECTORS)
        vcpu.set(X[10], DATA)
        return client

    return make


def handled(client: Client) -> int:
    return client.x(1, 21)


@PROGRAMS
def test_it_comes_once_though_its_handler_goes_back_with_it_masked(
    begin: Begin, program: Program, ec: int
) -> None:
    """A breakpoint is armed that is hit at the end only."""
    client = begin(program)
    put(client, SW, at(END))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(END)
    assert handled(client) == (0 if HIDDEN else 1)
    if not HIDDEN:
        assert (ESR(client.x(1, 19)).EC, client.x(1, 20)) == (ec, at(10))
        assert PSTATE(client.machine.vcpus[0].get(CPSR)).D == 1


@PROGRAMS
def test_it_comes_though_nothing_has_shown_it(begin: Begin, program: Program, ec: int) -> None:
    """A comparator would serve the breakpoint better, and hide those of the guest."""
    client = begin(program)
    client.target.breakpoints.preference = Preference.AUTO
    put(client, SW, at(END))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), handled(client)) == (at(END), 0 if HIDDEN else 1)
    assert ec


@PROGRAMS
def test_masked_from_the_start_it_does_not_come(begin: Begin, program: Program, ec: int) -> None:
    client = begin(program)
    unmask = 8 if program is OWN_BREAKPOINT else 7
    client.machine.write_memory(at(unmask), bytes.fromhex("1f2003d5"))  # nop: D stays set
    put(client, SW, at(END))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), handled(client)) == (at(END), 0)
    assert ec


@PROGRAMS
def test_without_kde_it_does_not_come_at_el1(begin: Begin, program: Program, ec: int) -> None:
    client = begin(program)
    client.machine.write_memory(
        at(5 if program is OWN_BREAKPOINT else 4), (0xD290_0000).to_bytes(4, "little")
    )  # mov x0, #0x8000
    put(client, SW, at(END))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), handled(client)) == (at(END), 0)
    assert ec


@PROGRAMS
def test_with_the_os_lock_it_does_not_come(begin: Begin, program: Program, ec: int) -> None:
    client = begin(program)
    # mov x0, #1 stands for the unlocking, and the lock is set behind: msr oslar_el1, x1.
    client.machine.write_memory(at(9), (0xD510_1081).to_bytes(4, "little"))
    client.machine.vcpus[0].set(X[1], 1)
    if program is OWN_WATCHPOINT:
        client.machine.write_memory(at(8), (0xD280_0021).to_bytes(4, "little"))  # mov x1, #1
    put(client, SW, at(END))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), handled(client)) == (at(END), 0)
    assert ec


@PROGRAMS
@pytest.mark.parametrize("how", ["step", "range"])
def test_steps_meet_it_once_and_get_on(begin: Begin, program: Program, ec: int, how: str) -> None:
    """No comparator of the debugger's is armed: KVM leaves them to the guest, or hides them."""
    client = begin(program)
    put(client, SW, at(9))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    client.target.remove(1, SW, at(9), 4)
    action = Action.STEP if how == "step" else Range(at(9), at(END))
    for _ in range(20):
        assert client.resume({1: action}) == Stopped(1)
        if client.pc(1) == at(END):
            break
    assert client.pc(1) == at(END)
    assert handled(client) == (0 if HIDDEN else 1)
    assert ec


@PROGRAMS
def test_a_breakpoint_of_ours_that_does_not_stop_and_its_own_at_one_place(
    begin: Begin, program: Program, ec: int
) -> None:
    client = begin(program)
    put(client, SW, at(10), NEVER)
    put(client, SW, at(END))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(END)
    assert handled(client) == (0 if HIDDEN else 1)
    assert ec


@PROGRAMS
def test_what_it_had_armed_before_the_last_stop_is_armed_beside_ours(
    begin: Begin, program: Program, ec: int
) -> None:
    """A comparator of ours takes all of KVM's; its own go beside it while slots last."""
    client = begin(program)
    put(client, SW, at(9))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    client.target.remove(1, SW, at(9), 4)
    put(client, HW, at(END))
    client.target.insert(1, BreakpointKind.WRITE, DATA + 0x100, 8)
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.pc(1), handled(client)) == (at(END), 1)
    assert (ESR(client.x(1, 19)).EC, client.x(1, 20)) == (ec, at(10))


def test_a_guest_whose_comparators_find_no_place_does_without_and_gets_on(begin: Begin) -> None:
    client = begin(OWN_BREAKPOINT)
    put(client, SW, at(9))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    client.target.remove(1, SW, at(9), 4)
    for n in range(1, client.machine.breakpoint_slots):
        put(client, HW, DATA + 4 * n)
    put(client, HW, at(END))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.pc(1), handled(client)) == (at(END), 0)


def test_comparators_that_the_guest_does_not_enable_are_not_armed(begin: Begin) -> None:
    client = begin(OWN_BREAKPOINT)
    vcpu = client.machine.vcpus[0]
    vcpu.set(SYSTEM_REGISTERS["DBGBVR0_EL1"], at(9))
    vcpu.set(SYSTEM_REGISTERS["DBGBCR0_EL1"], 0x1E7)
    vcpu.set(MDSCR_EL1, MDSCR.of(KDE=1))
    vcpu.set(PC, at(7))
    put(client, HW, at(10))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.pc(1), handled(client)) == (at(10), 0)
