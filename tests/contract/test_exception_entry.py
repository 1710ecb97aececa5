"""KVM's own: the kernel's exception entry as the oracle of ours.

An external data abort is the one synchronous exception that KVM enters by itself; but for
ESR_EL1 and FAR_EL1 it is what any other does. Source: arch/arm64/kvm/hyp/exception.c.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, product

import pytest

from gdbstub.aarch64.exceptions import Before, enter
from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    MDSCR_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import EC, ESR, MDSCR, PSTATE, SCTLR
from gdbstub.debug.guest_exception import take_exception
from gdbstub.errors import MachineError, RegisterRefused
from gdbstub.kvm import abi
from gdbstub.kvm.port import LOCAL, ioctl
from gdbstub.kvm.vcpu import KvmVcpu
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import SPIN, at

pytestmark = pytest.mark.own_kvm

VBAR = 0xFFFF_8000_0801_0800
PLACE = 0xFFFF_8000_0812_3454
#: KVM cuts PC to 32 bits while PSTATE is AArch32's.
PLACE32 = 0x0041_2346
ABORT_LOWER = 0x24  # ESR_EL1.EC of a data abort from EL0; from EL1 it is one more

ORIGINS = {
    "EL1h": PSTATE.of(EL=1, SP=1),
    "EL1t": PSTATE.of(EL=1, SP=0),
    "EL0": PSTATE(),
    "EL0_32": PSTATE.of(nRW=1),
}
FLAGS = ("TCO", "DIT", "UAO", "PAN", "SS", "IL", "SSBS")
#: NZCV, DAIF and BTYPE (in AArch32: two bits of the IT state).
FIELDS = ((0b0000, 0b1111, 0b00), (0b1111, 0b0000, 0b11), (0b1010, 0b0110, 0b01))


@dataclass(frozen=True, slots=True)
class State:
    """The registers that an exception entry reads or writes."""

    pc: int
    pstate: PSTATE
    elr: int
    spsr: PSTATE
    esr: ESR


@pytest.fixture
def vcpu() -> Iterator[KvmVcpu]:
    """Make a vCPU that executes nothing: each KVM_RUN ends before the guest is entered."""
    machine = kvm_machine(SPIN.image)
    machine.vcpus[0].stop()
    yield machine.vcpus[0]
    machine.close()


def put(vcpu: KvmVcpu, before: Before) -> None:
    vcpu.set(PC, before.pc)
    vcpu.set(CPSR, before.pstate)
    vcpu.set(VBAR_EL1, before.vbar)
    vcpu.set(SCTLR_EL1, before.sctlr)
    vcpu.set(MDSCR_EL1, before.mdscr)
    for register in (ELR_EL1, SPSR_EL1, ESR_EL1, FAR_EL1):
        vcpu.set(register, 0)


def state(vcpu: KvmVcpu) -> State:
    return State(
        vcpu.get(PC),
        PSTATE(vcpu.get(CPSR)),
        vcpu.get(ELR_EL1),
        PSTATE(vcpu.get(SPSR_EL1)),
        ESR(vcpu.get(ESR_EL1)),
    )


def kernels_entry(vcpu: KvmVcpu) -> State:
    """The state after the kernel has taken an external abort for this vCPU."""
    events = abi.ffi.new("struct kvm_vcpu_events *")
    events.ext_dabt_pending = 1
    ioctl(LOCAL, vcpu.fd, abi.SET_VCPU_EVENTS, events)
    # Newer kernels have entered by now; older ones do as KVM_RUN returns.
    with pytest.raises(MachineError, match=r"^KVM_RUN: ") as error:
        ioctl(LOCAL, vcpu.fd, abi.RUN)
    assert error.value.errno == errno.EINTR
    return state(vcpu)


def before_each(origin: PSTATE) -> Iterator[Before]:
    """Every state to enter from: all flags by all controls, over the fields in turn."""
    combinations = product((0, 1), repeat=2 + len(FLAGS))
    for (span, dssbs, *flags), fields in zip(combinations, cycle(FIELDS)):
        nzcv, daif, btype = fields
        pstate = PSTATE(origin).replace(
            NZCV=nzcv, DAIF=daif, BTYPE=btype, **dict(zip(FLAGS, flags, strict=True))
        )
        yield Before(
            pc=PLACE32 if origin.nRW else PLACE,
            pstate=pstate,
            vbar=VBAR,
            sctlr=SCTLR(0x0030_D098_5180).replace(SPAN=span, DSSBS=dssbs),
            # The guest steps itself or not: of no concern to entry but for SPSR_EL1.SS.
            mdscr=MDSCR.of(SS=nzcv & 1),
        )


@pytest.mark.parametrize("name", ORIGINS)
def test_entry_is_the_kernels(vcpu: KvmVcpu, name: str) -> None:
    origin = ORIGINS[name]
    if origin.nRW:
        try:
            vcpu.set(CPSR, origin)
        except RegisterRefused:
            pytest.skip("this host has no AArch32 at EL0")
    syndrome = ESR.of(EC=EC.WATCHPOINT_LOWER, IL=1, WnR=1)
    differences = []
    for before in before_each(origin):
        put(vcpu, before)
        theirs = kernels_entry(vcpu)

        ours = enter(before, syndrome, at(0))
        right = State(
            theirs.pc,
            theirs.pstate,
            theirs.elr,
            # KVM saves SS as it stands; ours is that of a debugger that may have set it.
            theirs.spsr if before.mdscr.SS else PSTATE(theirs.spsr).replace(SS=0),
            ESR(syndrome).replace(EC=syndrome.EC + theirs.esr.EC - ABORT_LOWER),
        )
        if State(ours.pc, ours.pstate, ours.elr, ours.spsr, ours.esr) != right:
            differences.append((before, ours, theirs))
        assert ours.far == at(0)
    assert not differences, differences[:3]


@pytest.mark.parametrize("name", ORIGINS)
@pytest.mark.parametrize("ec", [EC.BRK64, EC.STEP_LOWER, EC.WATCHPOINT_LOWER])
def test_what_is_computed_is_what_the_vcpu_gets(vcpu: KvmVcpu, name: str, ec: int) -> None:
    before = Before(
        PLACE32 if ORIGINS[name].nRW else PLACE,
        PSTATE(ORIGINS[name]).replace(NZCV=0b0110, SS=1, IL=1, PAN=1),
        VBAR,
        SCTLR(0x0030_D098_5180).replace(SPAN=1),
    )
    try:
        put(vcpu, before)
    except RegisterRefused:
        pytest.skip("this host has no AArch32 at EL0")
    after = enter(before, ESR.of(EC=ec, IL=1), at(1))
    take_exception(vcpu, ESR.of(EC=ec, IL=1), at(1))
    assert state(vcpu) == State(after.pc, after.pstate, after.elr, after.spsr, after.esr)
    assert vcpu.get(FAR_EL1) == (0 if after.far is None else after.far)
