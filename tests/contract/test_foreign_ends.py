"""VMMs that end while their guest is debugged: the end is told once, as that of the guest."""

import os
import signal

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.errors import InputError
from gdbstub.foreign import journal
from gdbstub.foreign.attach import attached
from gdbstub.foreign.attachment import Attachment
from gdbstub.machine import DebugExit, RunMode, SystemEvent, SystemEventKind
from tests.contract.foreign_machine import foreign_machine
from tests.contract.foreign_vmm import Vmm
from tests.contract.programs import COUNT, SYSTEM_OFF, at
from tests.contract.recorder import StopRecorder

pytestmark = pytest.mark.own_kvm


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_a_vmm_that_ends_while_its_guest_runs(vmm: Vmm, signum: signal.Signals) -> None:
    """A SIGSEGV goes to a vCPU's own thread, and ends the VMM from there."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        machine.resume({0: RunMode()})
        os.kill(machine.vcpus[0].thread.tracee.tid, signum)
        assert recorder.wait() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)


def test_a_vmm_that_exits(vmm: Vmm) -> None:
    """The guest powers off, which is the VMM's own business while nothing is armed."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        machine.write_memory(at(100), SYSTEM_OFF.image)
        machine.vcpus[0].set(PC, at(100))
        assert recorder.run() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)


def test_a_vmm_that_is_killed_while_its_guest_is_halted(vmm: Vmm) -> None:
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        os.kill(vmm.pid, signal.SIGKILL)
        assert recorder.run() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)


def test_a_vmm_that_is_killed_while_its_exit_is_looked_at(vmm: Vmm) -> None:
    """The end of a thread in a call of ours is told as any other."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)

        def kill(_exit: DebugExit) -> RunMode:
            os.kill(vmm.pid, signal.SIGKILL)
            machine.vcpus[0].set(X[5], 5)
            return RunMode()

        recorder.decide = kill
        assert recorder.run({0: True}) == (SystemEvent(0, SystemEventKind.SHUTDOWN),)
        assert recorder.nothing_more()


def test_a_vmm_that_is_killed_as_a_vcpu_is_to_run_alone() -> None:
    """The end is told once, and not before the listener has returned."""
    machine = foreign_machine(COUNT.image, vcpus=2)
    recorder, pid = StopRecorder(machine), machine.process.pid

    def kill(_exit: DebugExit) -> RunMode:
        os.kill(pid, signal.SIGKILL)
        while machine.start_exclusive(0):
            machine.end_exclusive(0)
        assert recorder.nothing_more()
        return RunMode()

    recorder.decide = kill
    exits = recorder.run({0: True, 1: False})
    assert {*exits} == {SystemEvent(number, SystemEventKind.SHUTDOWN) for number in range(2)}
    machine.close()
    assert recorder.nothing_more()


def test_a_vmm_that_is_killed_while_it_is_attached_to(monkeypatch: pytest.MonkeyPatch) -> None:
    vmm = Vmm()

    def kill(_attachment: Attachment, _tid: int) -> None:
        os.kill(vmm.pid, signal.SIGKILL)

    monkeypatch.setattr(Attachment, "_consider", kill)
    with (
        pytest.raises(InputError, match=rf"^process {vmm.pid} has ended$"),
        attached(vmm.process, [vmm.slot]),
    ):
        pass
    assert not list(journal.directory().glob(f"{vmm.pid}-*"))
