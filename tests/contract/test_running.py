"""Resume, park and interrupt: who runs, who is told, and how often."""

import threading

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.aarch64.sysreg import EC
from gdbstub.machine import DebugExit, DebugRegisters, RunMode, counted, resettable
from tests.bounds import HANGS
from tests.contract.backends import Factory
from tests.contract.conftest import Start, offered
from tests.contract.programs import (
    BREAK_THEN_SPIN,
    BREAKS,
    COUNT,
    SECONDARY,
    SPIN,
    STRAIGHT,
    at,
)
from tests.contract.recorder import StopRecorder


def _into_the_loop(recorder: StopRecorder) -> None:
    """Resume ``BREAK_THEN_SPIN`` and come back when the vCPU is past its BRK."""
    machine = recorder.machine
    still_at = threading.Event()

    def skip(exit: DebugExit) -> RunMode | None:
        machine.vcpus[exit.vcpu].set(PC, at(1))
        still_at.set()
        return RunMode()

    recorder.decide = skip
    machine.arm(DebugRegisters(enabled=True))
    machine.resume({0: RunMode()})
    assert still_at.wait(HANGS)


# The listener.


def test_an_exit_that_is_no_stop_lets_the_vcpu_go_on_at_once(start: Start) -> None:
    recorder = start(BREAKS)
    machine = recorder.machine

    def first_is_skipped(exit: DebugExit) -> RunMode | None:
        if exit.esr.comment != 0x123:
            return None
        machine.vcpus[0].set(PC, at(1))
        return RunMode()

    recorder.decide = first_is_skipped
    machine.arm(DebugRegisters(enabled=True))
    assert recorder.debug().esr.comment == 0xFFFF
    assert [exit.esr.comment for exit, _ in recorder.debug_exits] == [0x123, 0xFFFF]
    assert recorder.nothing_more()


def test_debug_exits_come_on_one_thread_that_is_not_ours(start: Start) -> None:
    recorder = start(STRAIGHT)
    for _ in range(3):
        recorder.step()
    (thread,) = {thread for _, thread in recorder.debug_exits}
    assert thread != threading.get_ident()


def test_the_listener_may_read_and_write_the_vcpu_that_exits(start: Start) -> None:
    recorder = start(STRAIGHT)
    vcpu = recorder.machine.vcpus[0]
    seen: list[int] = []

    def look(exit: DebugExit) -> None:
        seen.append(vcpu.get(X[0]))
        vcpu.set(X[0], 40)

    recorder.decide = look
    recorder.step()
    recorder.step()
    assert seen == [1, 41]
    assert vcpu.get(X[0]) == 40


# Interrupt.


def test_interrupt_stops_a_tight_loop(start: Start) -> None:
    recorder = start(BREAK_THEN_SPIN)
    _into_the_loop(recorder)
    recorder.machine.interrupt()
    assert recorder.wait() == ()
    assert recorder.machine.vcpus[0].get(PC) == at(1)


def test_interrupted_means_at_rest_and_it_can_go_on(start: Start) -> None:
    recorder = start(COUNT)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    for _ in range(10):
        before = vcpu.get(X[0])
        machine.resume({0: RunMode()})
        machine.interrupt()
        assert recorder.wait() == ()
        after = vcpu.get(X[0])
        assert vcpu.get(X[0]) == after >= before
    vcpu.set(PC, at(0))
    recorder.step()
    assert vcpu.get(X[0]) == after + 1


def test_interrupt_twice_is_one_park(start: Start) -> None:
    recorder = start(BREAK_THEN_SPIN)
    _into_the_loop(recorder)
    recorder.machine.interrupt()
    recorder.machine.interrupt()
    assert recorder.wait() == ()
    recorder.decide = lambda _: None
    assert recorder.step().esr.EC == EC.STEP_LOWER
    assert recorder.nothing_more()


def test_interrupt_works_from_another_thread(start: Start) -> None:
    recorder = start(BREAK_THEN_SPIN)
    _into_the_loop(recorder)
    other = threading.Thread(target=recorder.machine.interrupt)
    other.start()
    assert recorder.wait() == ()
    other.join()


def test_interrupt_of_a_machine_at_rest_does_nothing_and_is_not_kept(start: Start) -> None:
    recorder = start(BREAKS)
    recorder.machine.arm(DebugRegisters(enabled=True))
    recorder.machine.interrupt()
    assert recorder.nothing_more()
    assert recorder.debug().esr.EC == EC.BRK64
    recorder.machine.interrupt()
    assert recorder.debug().esr.EC == EC.BRK64
    assert recorder.nothing_more()


def test_every_interrupt_ends_its_run_and_no_other(start: Start) -> None:
    """Interrupts that race with the end of a run: each run parks exactly once."""
    recorder = start(STRAIGHT)
    machine = recorder.machine
    for _ in range(50):
        machine.vcpus[0].set(PC, at(0))
        machine.resume({0: RunMode(step=True)})
        machine.interrupt()
        exits = recorder.wait()
        assert len(exits) <= 1
        assert machine.vcpus[0].get(PC) in (at(0), at(1))
        assert recorder.nothing_more()


# Which vCPUs run.


def _both_on(start: Start) -> StopRecorder:
    """vCPU 0 at its endless loop, vCPU 1 at its own BRK."""
    recorder = start(SECONDARY, vcpus=2)
    recorder.machine.arm(DebugRegisters(enabled=True))
    assert recorder.debug().vcpu == 1
    return recorder


def test_only_the_vcpus_that_are_named_run(start: Start) -> None:
    recorder = _both_on(start)
    first, second = recorder.machine.vcpus
    second.set(PC, at(9))
    first.set(PC, at(9))
    before = first.get(X[0]), first.get(PC)
    for n in range(1, 11):
        assert recorder.step(1).vcpu == 1
        assert second.get(PC) == at(9 + n % 2)
    assert (first.get(X[0]), first.get(PC)) == before
    recorder.machine.resume({1: RunMode()})
    recorder.machine.interrupt()
    assert recorder.wait() == ()
    assert (first.get(X[0]), first.get(PC)) == before


def test_one_stop_parks_all(start: Start) -> None:
    """vCPU 0 loops while vCPU 1 is stepped: after each step both are at rest."""
    recorder = _both_on(start)
    first, second = recorder.machine.vcpus
    second.set(PC, at(9))
    for _ in range(5):
        exit = recorder.debug({0: False, 1: True})
        assert (exit.vcpu, exit.esr.EC) == (1, EC.STEP_LOWER)
        assert first.get(PC) == at(6)


# The end.


def test_close_twice_is_no_harm(machine_factory: Factory) -> None:
    machine = machine_factory(SPIN.image)
    machine.close()
    machine.close()


def test_close_ends_a_machine_that_runs_and_its_threads(machine_factory: Factory) -> None:
    before = set(threading.enumerate())
    recorder = StopRecorder(machine_factory(BREAK_THEN_SPIN.image, vcpus=2))
    _into_the_loop(recorder)
    assert set(threading.enumerate()) > before
    recorder.machine.close()
    assert set(threading.enumerate()) == before


def test_close_while_a_vcpu_is_off_and_resumed(machine_factory: Factory) -> None:
    recorder = StopRecorder(machine_factory(SPIN.image, vcpus=2))
    recorder.machine.resume({0: RunMode(), 1: RunMode()})
    recorder.machine.close()


@pytest.mark.needs("counts", "reset")
def test_exits_are_counted_over_a_reset(start: Start) -> None:
    recorder = start(BREAKS)
    machine = recorder.machine
    machine.arm(DebugRegisters(enabled=True))

    def exits() -> int:
        return sum(offered(counted(machine)).counts["exits"].values())

    before = exits()
    recorder.debug()
    recorder.debug()
    assert exits() == before + 2
    offered(resettable(machine)).reset()
    machine.arm(DebugRegisters(enabled=True))
    assert exits() == before + 2
    recorder.debug()
    assert exits() == before + 3
