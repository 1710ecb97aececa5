"""Accesses where no RAM is: finished before anybody looks at the registers."""

from gdbstub.aarch64.registers import PC, X
from gdbstub.machine import DebugRegisters, RunMode
from tests.contract.conftest import Start
from tests.contract.programs import DEVICE, at

NOWHERE = 0x0900_0000


def test_a_step_over_a_device_access_ends_behind_it(start: Start) -> None:
    recorder = start(DEVICE)
    vcpu = recorder.machine.vcpus[0]
    vcpu.set(X[0], NOWHERE)
    vcpu.set(X[1], 0x1234)
    recorder.step()
    assert (vcpu.get(PC), vcpu.get(X[1])) == (at(1), 0)


def test_registers_written_after_an_interrupt_stay_as_written(start: Start) -> None:
    """KVM finishes an access when the vCPU runs next: by then it must be long done."""
    recorder = start(DEVICE)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    vcpu.set(X[0], NOWHERE)
    for _ in range(50):
        vcpu.set(PC, at(0))
        machine.arm(DebugRegisters())
        machine.resume({0: RunMode()})
        machine.interrupt()
        recorder.wait()
        assert vcpu.get(PC) in (at(0), at(1))
        vcpu.set(PC, at(2))
        vcpu.set(X[1], 0x1234)
        recorder.step()
        assert (vcpu.get(PC), vcpu.get(X[1])) == (at(3), 0x1234)
