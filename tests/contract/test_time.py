"""The guest's clock: it stands still while a debugger looks, unless told to run on."""

import time

import pytest

from gdbstub.aarch64.registers import CNTVCT_EL0, PC, X
from gdbstub.architecture import Register
from gdbstub.errors import MachineError, RegisterRefused
from gdbstub.kvm import one_reg as kvm_one_reg
from gdbstub.machine import DebugExit, RunMode, resettable, virtual_time
from tests.contract.conftest import Start, offered
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import READS_CLOCK, SYSTEM_RESET, at
from tests.contract.recorder import StopRecorder

PAUSE = 1.0  # seconds that pass outside


def _over_a_pause(recorder: StopRecorder) -> tuple[float, float]:
    """Halt the guest for PAUSE; return the seconds that its clock and the host's have counted.

    The host's begins before the guest reads its own, and ends after.
    """
    vcpu = recorder.machine.vcpus[0]
    start = time.monotonic()
    for _ in range(2):
        recorder.step()
    before, frequency = vcpu.get(X[1]), vcpu.get(X[2])
    time.sleep(PAUSE)
    vcpu.set(PC, at(0))
    recorder.step()
    outside = time.monotonic() - start
    return (vcpu.get(X[1]) - before) / frequency, outside


@pytest.mark.needs("time")
def test_virtual_time_stands_still_while_all_are_parked(start: Start) -> None:
    recorder = start(READS_CLOCK)
    assert offered(virtual_time(recorder.machine)).time_stands_still
    for _ in range(2):
        recorder.machine.vcpus[0].set(PC, at(0))
        inside, outside = _over_a_pause(recorder)
        assert 0 < inside <= outside - PAUSE


@pytest.mark.needs("time")
def test_virtual_time_runs_on_where_it_may(start: Start) -> None:
    recorder = start(READS_CLOCK)
    clock = offered(virtual_time(recorder.machine))
    clock.time_stands_still = False
    inside, _ = _over_a_pause(recorder)
    assert inside >= PAUSE
    # And stands still again.
    clock.time_stands_still = True
    recorder.machine.vcpus[0].set(PC, at(0))
    inside, outside = _over_a_pause(recorder)
    assert 0 < inside <= outside - PAUSE


@pytest.mark.needs("time")
def test_a_change_is_no_leap(start: Start) -> None:
    machine = start(READS_CLOCK).machine
    clock, vcpu = offered(virtual_time(machine)), machine.vcpus[0]
    vcpu.set(CNTVCT_EL0, 5 << 40)
    clock.time_stands_still = False
    running = vcpu.get(CNTVCT_EL0)
    assert 5 << 40 <= running < 6 << 40
    clock.time_stands_still = True
    assert running <= vcpu.get(CNTVCT_EL0) == vcpu.get(CNTVCT_EL0) < 6 << 40


@pytest.mark.needs("time", "reset")
@pytest.mark.parametrize("still", [True, False])
def test_a_reset_leaves_it_as_it_was_told(start: Start, still: bool) -> None:
    recorder = start(SYSTEM_RESET)
    offered(virtual_time(recorder.machine)).time_stands_still = still
    (exit,) = recorder.run()
    assert not isinstance(exit, DebugExit)
    offered(resettable(recorder.machine)).reset()
    assert offered(virtual_time(recorder.machine)).time_stands_still is still
    vcpu = recorder.machine.vcpus[0]
    looks = {vcpu.get(CNTVCT_EL0) for _ in range(1000)}
    assert (len(looks) == 1) is still


@pytest.mark.own_kvm
def test_a_clock_that_cannot_be_written_stands_still_until_it_can(
    start_kvm: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = start_kvm(READS_CLOCK)
    vcpu = recorder.machine.vcpus[0]
    recorder.step()
    stopped_at = vcpu.get(CNTVCT_EL0)
    with monkeypatch.context() as patch:
        patch.setattr(kvm_one_reg, "_SET_ONE_REG", 0)  # no request of KVM's
        with pytest.raises(RegisterRefused):
            recorder.machine.resume({0: RunMode()})
    assert vcpu.get(CNTVCT_EL0) == stopped_at
    vcpu.set(PC, at(0))
    recorder.step()
    recorder.step()
    assert stopped_at <= vcpu.get(X[1]) < stopped_at + vcpu.get(X[2])


@pytest.mark.own_kvm
def test_a_clock_that_cannot_be_read_does_not_swallow_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = StopRecorder(kvm_machine(READS_CLOCK.image))
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
