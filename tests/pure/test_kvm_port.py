"""An ioctl that fails once: a clean error that names it, and the next call works."""

import errno
import os
from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import X
from gdbstub.errors import MachineError, RegisterRefused
from gdbstub.kvm import abi
from gdbstub.kvm.features import CpuOptions, Features, initialise, start_pmu
from gdbstub.kvm.guest_debug import GuestDebug
from gdbstub.kvm.one_reg import Counts, VirtualClock
from gdbstub.kvm.port import IoctlPort, LocalPort, ioctl
from gdbstub.kvm.tags import KvmTags
from gdbstub.kvm.vcpu_state import VcpuState
from gdbstub.machine import DebugRegisters
from gdbstub.vmm import gic
from gdbstub.vmm.board import irq_line
from gdbstub.vmm.layout import Gic
from tests.fakes.port import FaultyPort, NullPort

BASE = 0x4000_0000
CODES = [errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.EIO, errno.EBUSY]


def vcpu(port: IoctlPort) -> VcpuState:
    return VcpuState(port, -1, VirtualClock(), Counts())


def copy_tags(port: IoctlPort) -> None:
    tags = KvmTags(port, -1, BASE, 1 << 20)
    tags.write_tags(BASE, b"")


def build_gic(port: IoctlPort) -> None:
    gic.offers(port, -1, Gic.V3)


CALLS: dict[str, Callable[[IoctlPort], object]] = {
    "KVM_GET_REG_LIST": lambda port: vcpu(port).listed(),
    "KVM_GET_MP_STATE": lambda port: vcpu(port).power,
    "KVM_GET_VCPU_EVENTS": lambda port: vcpu(port).abort(),
    "KVM_SET_VCPU_EVENTS": lambda port: vcpu(port).abort(),
    "KVM_SET_GUEST_DEBUG": lambda port: GuestDebug(port, -1).set(True, DebugRegisters()),
    "KVM_ARM_MTE_COPY_TAGS": copy_tags,
    "KVM_IRQ_LINE": lambda port: irq_line(port, -1, 33)(True),
    "KVM_CREATE_DEVICE": build_gic,
    "KVM_SET_DEVICE_ATTR": lambda port: start_pmu([vcpu(port)], 23),
    "KVM_ARM_PREFERRED_TARGET": lambda port: initialise(port, -1, [], CpuOptions(), Features()),
    "KVM_ARM_VCPU_INIT": lambda port: initialise(port, -1, [vcpu(port)], CpuOptions(), Features()),
}
REQUESTS = {name: request for request, name in abi.names().items()}


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_once(name: str, code: int) -> None:
    port = FaultyPort(NullPort())
    port.faults[REQUESTS[name]] = code
    with pytest.raises(MachineError) as caught:
        CALLS[name](port)
    assert str(caught.value) == f"{name}: {os.strerror(code)}"
    assert caught.value.errno == code
    assert port.faults == {}
    CALLS[name](port)


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_register_that_cannot_be_read_once(code: int) -> None:
    port = FaultyPort(NullPort())
    state = vcpu(port)
    port.faults[abi.GET_ONE_REG] = code
    with pytest.raises(MachineError) as caught:
        state.get(X[0])
    assert str(caught.value) == f"KVM_GET_ONE_REG of x0: {os.strerror(code)}"
    assert caught.value.errno == code
    assert state.get(X[0]) == 0


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_register_that_cannot_be_written_once(code: int) -> None:
    port = FaultyPort(NullPort())
    state = vcpu(port)
    state.get(X[0])
    port.faults[abi.SET_ONE_REG] = code
    refused = code == errno.EBUSY
    with pytest.raises(RegisterRefused if refused else MachineError) as caught:
        state.set(X[0], 5)
    assert str(caught.value) == (
        "KVM does not take 0x5 for x0" if refused else f"KVM_SET_ONE_REG of x0: {os.strerror(code)}"
    )
    before = state.counts.gets
    state.get(X[0])
    assert state.counts.gets == before + 1, "what was known before the write is not believed"


def test_guest_debug_is_told_again_after_a_failure() -> None:
    port = FaultyPort(NullPort())
    guest_debug = GuestDebug(port, -1)
    port.faults[abi.SET_GUEST_DEBUG] = errno.EINTR
    with pytest.raises(MachineError):
        guest_debug.set(True, DebugRegisters())
    assert not guest_debug.steps
    guest_debug.set(True, DebugRegisters())
    assert guest_debug.steps
    assert port.calls == {abi.SET_GUEST_DEBUG: 2}


def test_the_local_port_says_why_the_kernel_refuses() -> None:
    with pytest.raises(MachineError, match=r"^KVM_CREATE_VM: Bad file descriptor$") as caught:
        ioctl(LocalPort(), -1, abi.CREATE_VM)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(MachineError, match=r"^ioctl 0x1234: "):
        ioctl(LocalPort(), -1, 0x1234)


class Interrupted(NullPort):
    """A port whose calls fail so many times in a row."""

    def __init__(self, times: int, code: int) -> None:
        super().__init__()
        self.left = times
        self.errno = code

    def ioctl(self, fd: int, request: int, argument: object, /) -> int:
        self.left -= 1
        return -1 if self.left >= 0 else 7


@pytest.mark.parametrize("code", [errno.EINTR, errno.EAGAIN], ids=errno.errorcode.get)
@pytest.mark.parametrize("request_", [abi.CREATE_VM, abi.CREATE_VCPU, abi.SET_USER_MEMORY_REGION])
def test_a_signal_while_a_vm_is_made_changes_nothing(request_: int, code: int) -> None:
    assert ioctl(Interrupted(3, code), -1, request_) == 7
    with pytest.raises(MachineError):
        ioctl(Interrupted(10_000, code), -1, request_)
    with pytest.raises(MachineError):
        ioctl(Interrupted(1, errno.ENOMEM), -1, request_)
