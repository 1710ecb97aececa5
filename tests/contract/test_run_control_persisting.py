"""Commands that print while nobody is there stay, wherever their breakpoint is."""

import queue

import pytest

from gdbstub.aarch64.registers import SCTLR_EL1, TTBR0_EL1, X
from gdbstub.aarch64.sysreg import SCTLR
from gdbstub.agent import Clauses
from gdbstub.target import Action, BreakpointKind, Resume, Stopped, StopReason
from tests.bounds import HANGS
from tests.contract.backends import Factory
from tests.contract.programs import MMU_ON
from tests.contract.run_control import HW, SW
from tests.contract.spaces import KERNEL_GVA, OTHER, ROUND, Spaces
from tests.tables import AF

PLACE = KERNEL_GVA + 8
#: ``printf("hi\\n")``, while no client is there too.
PERSISTS = Clauses.compile([], [bytes.fromhex("220022003400000568695c6e0027")], persist=True)


@pytest.fixture
def early(machine_factory: Factory) -> Spaces:
    """A kernel that is about to turn its MMU on and to go to its virtual addresses."""
    spaces = Spaces(machine_factory(ROUND.image))
    spaces.put(OTHER, MMU_ON)
    one_to_one = spaces._tables(4, AF, {OTHER: OTHER})
    spaces.enter(OTHER, spaces.a, el=1)
    vcpu = spaces.machine.vcpus[0]
    vcpu.set(TTBR0_EL1, one_to_one.ttbr)
    sctlr = SCTLR(vcpu.get(SCTLR_EL1))
    vcpu.set(X[0], sctlr)
    vcpu.set(X[1], KERNEL_GVA)
    vcpu.set(SCTLR_EL1, SCTLR(sctlr).replace(M=0))
    return spaces


def runs_to(spaces: Spaces, gva: int) -> None:
    """Run to a breakpoint at *gva*; what commands print on the way is an event, too."""
    events: queue.Queue[None] = queue.Queue()
    spaces.debugger.notify = lambda: events.put(None)
    spaces.debugger.resume(Resume({1: Action.CONTINUE}))
    report = None
    while report is None:
        events.get(timeout=HANGS)
        report = spaces.debugger.take_report()
    assert report == Stopped(1, stop=StopReason.SWBREAK)
    assert spaces.pc() == gva


@pytest.mark.parametrize("kind", [SW, HW])
@pytest.mark.parametrize("times", [1, 3])
def test_a_command_on_an_address_that_is_not_mapped_yet_outlives_its_clients(
    early: Spaces, kind: BreakpointKind, times: int
) -> None:
    early.debugger.insert(1, kind, PLACE, 4)
    early.debugger.attach(kind, PLACE, PERSISTS)
    for _ in range(times):
        early.debugger.release()
    # The next client hears of what was printed.
    early.insert(PLACE + 4)
    runs_to(early, PLACE + 4)
    assert early.debugger.take_output() == b"hi\n"


@pytest.mark.parametrize("kind", [SW, HW])
def test_it_can_still_be_taken_back(early: Spaces, kind: BreakpointKind) -> None:
    early.debugger.insert(1, kind, PLACE, 4)
    early.debugger.attach(kind, PLACE, PERSISTS)
    early.debugger.release()
    early.debugger.remove(1, kind, PLACE, 4)
    early.insert(PLACE + 4)
    runs_to(early, PLACE + 4)
    assert early.debugger.take_output() == b""
