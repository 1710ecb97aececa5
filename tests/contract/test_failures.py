"""A machine that fails in the middle of something: what is left in the guest, and who goes on."""

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, SPSR_EL1, VBAR_EL1
from gdbstub.aarch64.sysreg import EC, ESR
from gdbstub.debug.vcpu_steps import ThreadPlan
from gdbstub.errors import MachineError
from gdbstub.machine import DebugExit, RunFailure
from gdbstub.swbp import BRK, BRK_COMMENT
from gdbstub.target import Action, BreakpointKind, Range, Resume, Signal, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import COUNT, STRAIGHT, VECTORS, at
from tests.contract.test_conditions import NEVER

OUR_BRK = DebugExit(0, ESR.of(EC=EC.BRK64, IL=1, ISS=BRK_COMMENT))
STEPPED = DebugExit(0, ESR.of(EC=EC.STEP_LOWER, IL=1))


def fail(*_: object) -> None:
    raise MachineError("it has failed")


@pytest.mark.parametrize("action", [Action.CONTINUE, Action.STEP, Range(at(0), at(3))])
def test_a_resume_that_fails_is_an_error_and_the_next_one_works(
    start: Start, monkeypatch: pytest.MonkeyPatch, action: Action | Range
) -> None:
    client = Client(start(STRAIGHT).machine)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(3), 4)
    with monkeypatch.context() as patch:
        patch.setattr(client.machine, "resume", fail)
        with pytest.raises(MachineError):
            client.target.resume(Resume({1: action}))
    assert not client.target.running
    assert client.target.take_report() is None
    assert client.pc(1) == at(0)
    assert client.resume({1: Range(at(0), at(2))}) == Stopped(1)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.x(1, 0) == 2


def test_a_resume_that_fails_cuts_short_what_it_has_begun(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(start(COUNT).machine)
    plans = client.target._control._plans[0]
    plan = plans.plan
    ended: list[str] = []

    def begin(action: Action | Range, *, step_irqs: bool) -> ThreadPlan:
        try:
            return (yield from plan(action, step_irqs=step_irqs))
        except Exception as error:
            ended.append(type(error).__name__)
            raise

    monkeypatch.setattr(plans, "plan", begin)
    monkeypatch.setattr(client.machine, "resume", fail)
    with pytest.raises(MachineError):
        client.target.resume(Resume({1: Action.STEP}))
    assert ended == ["CutShort"]


def test_a_breakpoint_that_is_being_passed_over_is_back_after_an_error(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(start(COUNT).machine)
    machine, target = client.machine, client.target
    target.insert(1, BreakpointKind.SOFTWARE, at(0), 4)
    target.attach(BreakpointKind.SOFTWARE, at(0), NEVER)
    ended: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(machine, "resume", lambda _: None)
        patch.setattr(machine, "end_exclusive", ended.append)
        target.resume(Resume({1: Action.CONTINUE}))
        assert machine.listener.debug_exit(OUR_BRK) is not None
        assert machine.read_memory(at(0), 4) == COUNT.image[:4], "it is out of RAM"
        with monkeypatch.context() as broken:
            broken.setattr("gdbstub.debug.stepping.must_repeat", fail)
            with pytest.raises(MachineError):
                machine.listener.debug_exit(STEPPED)
        assert machine.read_memory(at(0), 4) == BRK
        assert ended == [0]
        machine.listener.parked([RunFailure(0, "it has failed")])
        report = target.take_report()
    assert isinstance(report, Stopped)
    assert report.signal is Signal.ABRT
    target.attach(BreakpointKind.SOFTWARE, at(0), NEVER)
    target.insert(1, BreakpointKind.SOFTWARE, at(1), 4)
    machine.end_exclusive(0)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert machine.vcpus[0].get(PC) == at(1)


def test_nobody_is_kept_out_where_a_breakpoint_cannot_be_lifted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(start(COUNT).machine)
    machine, target = client.machine, client.target
    target.insert(1, BreakpointKind.SOFTWARE, at(0), 4)
    target.attach(BreakpointKind.SOFTWARE, at(0), NEVER)
    ended: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(machine, "resume", lambda _: None)
        patch.setattr(machine, "end_exclusive", ended.append)
        target.resume(Resume({1: Action.CONTINUE}))
        patch.setattr(machine, "write_memory", fail)
        with pytest.raises(MachineError):
            machine.listener.debug_exit(OUR_BRK)
        assert ended == [0]
        machine.listener.parked([RunFailure(0, "it has failed")])
        target.take_report()
    machine.end_exclusive(0)
    target.remove(1, BreakpointKind.SOFTWARE, at(0), 4)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert machine.read_memory(at(0), 4) == COUNT.image[:4]


def test_a_step_that_is_cut_short_at_an_interrupts_vector_leaves_it_there(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vCPU has executed nothing, so it has taken no interrupt, although PC is at the vector."""
    client = Client(start(COUNT).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(PC, VECTORS + 0x280)
    vcpu.set(ELR_EL1, at(1))
    vcpu.set(SPSR_EL1, vcpu.get(CPSR))
    before = [vcpu.get(row) for row in (PC, CPSR, ELR_EL1, SPSR_EL1)]
    monkeypatch.setattr(client.machine, "resume", lambda _: None)
    client.target.resume(Resume({1: Action.STEP}))
    client.machine.listener.parked(())
    client.target.take_report()
    assert [vcpu.get(row) for row in (PC, CPSR, ELR_EL1, SPSR_EL1)] == before
