"""KVM's own: an SError that pends for the guest, and its power, survive what a debugger does."""

from contextlib import closing

import pytest

from gdbstub.aarch64.registers import CPSR, ESR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import EC, ESR, PSTATE
from gdbstub.debug.guest_exception import take_exception
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.port import LOCAL, ioctl
from gdbstub.kvm.vcpu import KvmVcpu
from gdbstub.kvm_backend import KvmMachine
from gdbstub.machine import DebugRegisters, Power, RunMode
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import COUNT, EVERY_VECTOR, VECTORS, at
from tests.contract.recorder import StopRecorder

pytestmark = pytest.mark.own_kvm

# Vectors by number: each has 0x80 bytes.
SYNCHRONOUS_EL1H = 4
SERROR_EL1H = 7
#: SError's syndrome, as wide as KVM takes it: IDS, and the implementation's own bits.
SYNDROME = 0x0123_4567
EC_DATA_ABORT_SAME = 0x25
EC_SERROR = 0x2F


def events(vcpu: KvmVcpu) -> CData:
    found = ffi.new("struct kvm_vcpu_events *")
    ioctl(LOCAL, vcpu.fd, abi.GET_VCPU_EVENTS, found)
    return found


def pend_serror(vcpu: KvmVcpu) -> tuple[int, int]:
    """Pend an SError; return its pending flag and its syndrome as KVM then reports them."""
    wanted = events(vcpu)
    wanted.serror_pending = 1
    if wanted.serror_has_esr:
        wanted.serror_esr = SYNDROME
    ioctl(LOCAL, vcpu.fd, abi.SET_VCPU_EVENTS, wanted)
    return pending(vcpu)


def pending(vcpu: KvmVcpu) -> tuple[int, int]:
    found = events(vcpu)
    return found.serror_pending, found.serror_esr


def counting(vcpus: int = 1) -> KvmMachine:
    machine = kvm_machine(COUNT.image, vcpus=vcpus)
    machine.write_memory(VECTORS, EVERY_VECTOR.image)
    for vcpu in machine.vcpus:
        vcpu.set(VBAR_EL1, VECTORS)
    machine.arm(DebugRegisters(enabled=True))
    return machine


def unmask(vcpu: KvmVcpu) -> None:
    vcpu.set(CPSR, PSTATE(PSTATE(vcpu.get(CPSR))).replace(A=0))


def test_an_serror_pends_through_steps_stops_and_injections_and_comes_once() -> None:
    with closing(counting()) as machine:
        recorder, vcpu = StopRecorder(machine), machine.vcpus[0]
        as_pended = pend_serror(vcpu)
        assert as_pended[0] == 1
        for _ in range(4):
            recorder.step()
        assert vcpu.get(X[0]) == 2
        assert pending(vcpu) == as_pended
        machine.resume({0: RunMode()})
        machine.interrupt()
        assert recorder.wait() == ()
        assert pending(vcpu) == as_pended
        take_exception(vcpu, ESR.of(EC=EC.BRK64, IL=1), 0)
        assert vcpu.get(PC) == VECTORS + 0x200
        assert pending(vcpu) == as_pended
        vcpu.abort()
        assert pending(vcpu) == as_pended
        assert recorder.debug().esr.comment == SYNCHRONOUS_EL1H
        assert ESR(vcpu.get(ESR_EL1)).EC == EC_DATA_ABORT_SAME
        assert pending(vcpu) == as_pended
        vcpu.set(PC, at(0))
        unmask(vcpu)
        assert recorder.debug().esr.comment == SERROR_EL1H
        taken = ESR(vcpu.get(ESR_EL1))
        assert taken.EC == EC_SERROR
        if events(vcpu).serror_has_esr:
            assert taken.ISS == SYNDROME
        assert pending(vcpu)[0] == 0
        # Gone back, it does not come again.
        vcpu.set(PC, at(0))
        vcpu.set(CPSR, vcpu.get(SPSR_EL1))
        unmask(vcpu)
        for _ in range(3):
            recorder.step()
        assert vcpu.get(PC) == at(1)


def test_a_step_ends_at_the_vector_of_an_serror() -> None:
    with closing(counting()) as machine:
        recorder, vcpu = StopRecorder(machine), machine.vcpus[0]
        pend_serror(vcpu)
        unmask(vcpu)
        recorder.step()
        assert vcpu.get(PC) == VECTORS + 0x80 * SERROR_EL1H
        assert pending(vcpu)[0] == 0
        assert recorder.step().esr.comment == SERROR_EL1H


def test_power_is_what_psci_left() -> None:
    with closing(counting(vcpus=2)) as machine:
        recorder = StopRecorder(machine)
        for _ in range(2):
            recorder.step()
        machine.resume({0: RunMode(), 1: RunMode()})
        machine.interrupt()
        recorder.wait()
        assert [vcpu.power for vcpu in machine.vcpus] == [Power.ON, Power.OFF]
