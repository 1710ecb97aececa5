"""KVM's own: the guest's clock stands still while a debugger looks."""

import time

import pytest

from gdbstub.aarch64.registers import PC, Register, X
from gdbstub.errors import MachineError
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import READS_CLOCK, at
from tests.contract.recorder import Recorder

PAUSE = 1.0  # seconds that pass outside, and must not inside


@pytest.mark.own_kvm
def test_virtual_time_stands_still_while_all_are_parked() -> None:
    recorder = Recorder(kvm_machine(READS_CLOCK.image))
    vcpu = recorder.machine.vcpus[0]
    try:
        for _ in range(2):
            recorder.step()
        before, frequency = vcpu.get(X[1]), vcpu.get(X[2])
        start = time.monotonic()
        time.sleep(PAUSE)
        vcpu.set(PC, at(0))
        recorder.step()
        outside = time.monotonic() - start
        inside = (vcpu.get(X[1]) - before) / frequency
        assert 0 < inside < outside - PAUSE + 0.05
    finally:
        recorder.machine.close()


@pytest.mark.own_kvm
def test_a_clock_that_cannot_be_read_does_not_swallow_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder(kvm_machine(READS_CLOCK.image))
    vcpu = recorder.machine.vcpus[0]

    def refuse(_: Register) -> int:
        raise MachineError("no clock")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(vcpu, "get", refuse)
            recorder.step()  # returns only if the stop was told
        assert vcpu.get(PC) == at(1)
    finally:
        recorder.machine.close()
