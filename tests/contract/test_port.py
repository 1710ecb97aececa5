"""A KVM machine of which one ioctl fails: a clean error, nothing left over, and it goes on."""

import errno
import os
import threading
from contextlib import closing

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.errors import MachineError
from gdbstub.kvm import abi
from gdbstub.machine import DebugExit, DebugRegisters, RunFailure, RunMode
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import BREAKS, COUNT, at
from tests.contract.recorder import StopRecorder
from tests.fakes.port import FaultyPort

pytestmark = pytest.mark.own_kvm

CODES = [errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.EIO, errno.EBUSY]
CREATION = {
    "KVM_CREATE_VM": abi.CREATE_VM,
    "KVM_SET_USER_MEMORY_REGION": abi.SET_USER_MEMORY_REGION,
    "KVM_CREATE_VCPU": abi.CREATE_VCPU,
    "KVM_ARM_PREFERRED_TARGET": abi.ARM_PREFERRED_TARGET,
    "KVM_ARM_VCPU_INIT": abi.ARM_VCPU_INIT,
    "KVM_SET_ONE_REG": abi.SET_ONE_REG,
    "KVM_GET_REG_LIST": abi.GET_REG_LIST,
}


@pytest.mark.parametrize("name", CREATION)
def test_a_machine_that_cannot_be_made_leaves_nothing(name: str) -> None:
    kvm_machine(COUNT.image).close()  # what is opened once for all is open
    before = os.listdir("/proc/self/fd"), threading.active_count()
    port = FaultyPort()
    port.faults[CREATION[name]] = errno.ENOMEM
    with pytest.raises(MachineError, match=f"^{name}.*: Cannot allocate memory$"):
        kvm_machine(COUNT.image, vcpus=2, port=port)
    assert (os.listdir("/proc/self/fd"), threading.active_count()) == before


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_resume_that_cannot_be_armed(code: int) -> None:
    port = FaultyPort()
    with closing(kvm_machine(COUNT.image, port=port)) as machine:
        recorder = StopRecorder(machine)
        port.faults[abi.SET_GUEST_DEBUG] = code
        with pytest.raises(MachineError, match=r"^KVM_SET_GUEST_DEBUG: ") as caught:
            machine.resume({0: RunMode(step=True)})
        assert caught.value.errno == code
        recorder.step()
        assert machine.vcpus[0].get(PC) == at(1)


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_vcpu_that_cannot_go_on_parks_with_the_reason(code: int) -> None:
    """The call is made on the vCPU's own thread."""
    port = FaultyPort()
    with closing(kvm_machine(BREAKS.image, port=port)) as machine:
        recorder = StopRecorder(machine)
        machine.arm(DebugRegisters(enabled=True))

        def step_on(_: DebugExit) -> RunMode:
            port.faults[abi.SET_GUEST_DEBUG] = code
            return RunMode(step=True)

        recorder.decide = step_on
        exits = recorder.run()
        assert exits == (RunFailure(0, f"KVM_SET_GUEST_DEBUG: {os.strerror(code)}"),)
        recorder.decide = lambda _: None
        assert recorder.debug().esr.comment == 0x123


def test_a_register_that_cannot_be_read_once() -> None:
    port = FaultyPort()
    with closing(kvm_machine(COUNT.image, port=port)) as machine:
        vcpu = machine.vcpus[0]
        port.faults[abi.GET_ONE_REG] = errno.EINTR
        with pytest.raises(MachineError, match=r"^KVM_GET_ONE_REG of x1: "):
            vcpu.get(X[1])
        vcpu.set(X[1], 7)
        assert vcpu.get(X[1]) == 7


def test_a_reset_that_fails_leaves_no_vcpus_and_can_be_tried_again() -> None:
    port = FaultyPort()
    with closing(kvm_machine(COUNT.image, vcpus=2, port=port)) as machine:
        recorder, threads = StopRecorder(machine), threading.active_count()
        port.faults[abi.GET_REG_LIST] = errno.ENOMEM
        with pytest.raises(MachineError, match=r"^KVM_GET_REG_LIST: "):
            machine.reset()
        assert (len(machine.vcpus), threading.active_count()) == (0, threads - 2)
        machine.reset()
        recorder.step()
        assert machine.vcpus[0].get(PC) == at(1)
