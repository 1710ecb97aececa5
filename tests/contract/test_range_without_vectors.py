"""A loop of a range that faults where the guest has no exception vectors."""

from contextlib import suppress

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, ESR_EL1, FAR_EL1, SPSR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import ESR, PSTATE
from gdbstub.architecture import Register
from gdbstub.errors import MachineError, StubError
from gdbstub.target import Action, Range, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import STRAIGHT, Program, at, program

#: The end of the addresses that a guest can have; in front of it there is a device, or none.
END = 1 << 40
LAPS = 20
DATA_ABORT = 0x25
# x0: where; x1: how often. KVM does not decode a store with an index for a device.
STORES_ON = program(
    (0xF9000002, "str x2, [x0]"),
    (0x91002000, "add x0, x0, #8"),
    (0xF1000421, "subs x1, x1, #1"),
    (0x54FFFFA1, "b.ne . - 12"),
    (0x14000000, "b ."),
)
# x1: how often.
READS_VBAR = program(
    (0xD538C002, "mrs x2, vbar_el1"),
    (0xAA020063, "orr x3, x3, x2"),
    (0xF1000421, "subs x1, x1, #1"),
    (0x54FFFFA1, "b.ne . - 12"),
    (0x14000000, "b ."),
)


def faulting(start: Start, vbar: int) -> Client:
    client = Client(start(STORES_ON).machine)
    vcpu = client.machine.vcpus[0]
    for register, value in {VBAR_EL1: vbar, X[0]: END - 8 * LAPS, X[1]: 2 * LAPS}.items():
        vcpu.set(register, value)
    return client


def is_told(client: Client, vbar: int) -> None:
    """Go through the loop as one range, which faults in its lap number ``LAPS``."""
    vcpu = client.machine.vcpus[0]
    pstate = vcpu.get(CPSR)
    report = client.resume({1: Range(at(0), at(4))})
    assert report.stop is StopReason.PLAIN
    assert f"data abort, ESR_EL1 {vcpu.get(ESR_EL1):#x}, FAR_EL1 {END:#x}" in report.text
    assert (vcpu.get(ELR_EL1), vcpu.get(FAR_EL1)) == (at(0), END)
    assert ESR(vcpu.get(ESR_EL1)).EC == DATA_ABORT
    assert (vcpu.get(VBAR_EL1), client.pc(1)) == (vbar, vbar + 0x200)
    assert (vcpu.get(X[0]), vcpu.get(X[1])) == (END, LAPS)
    assert PSTATE(vcpu.get(SPSR_EL1)).DAIF == PSTATE(pstate).DAIF


@pytest.mark.parametrize("vbar", [0, 0x1000_0000_0000], ids=hex)
def test_the_first_fault_of_a_loop_is_told(start: Start, vbar: int) -> None:
    is_told(faulting(start, vbar), vbar)


def test_a_vbar_that_cannot_be_written_leaves_the_masks(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = faulting(start, 0)
    vcpu = client.machine.vcpus[0]
    pstate = PSTATE(vcpu.get(CPSR)).replace(A=0, I=0, F=0)
    vcpu.set(CPSR, pstate)
    write, failed = vcpu.set, list[int]()

    def fail_once(register: Register, value: int) -> None:
        if register is VBAR_EL1 and not failed:
            failed.append(value)
            raise MachineError("no")
        write(register, value)

    with monkeypatch.context() as patch, suppress(StubError):
        patch.setattr(vcpu, "set", fail_once)
        client.resume({1: Range(at(0), at(4))})
    assert failed
    assert (vcpu.get(CPSR), vcpu.get(VBAR_EL1)) == (pstate, 0)


def test_a_loop_reads_the_guests_own_vbar(start: Start) -> None:
    client = Client(start(READS_VBAR).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[1], LAPS)
    vcpu.set(X[3], 0)
    assert client.resume({1: Range(at(0), at(4))}) == Stopped(1)
    assert (client.pc(1), vcpu.get(X[3]), vcpu.get(VBAR_EL1)) == (at(4), 0, 0)


# A word that is in the place of computations, and is not allocated.
NOT_ALLOCATED = program((0x5AC0FC00, ".inst 0x5ac0fc00"), (0x14000000, "b ."))


@pytest.mark.parametrize(("program_", "il"), [(NOT_ALLOCATED, 0), (STRAIGHT, 1)])
@pytest.mark.parametrize("action", [Action.STEP, Range(at(0), at(1)), Action.CONTINUE], ids=str)
def test_what_looks_harmless_and_is_an_exception_is_told(
    start: Start, action: Action | Range, program_: Program, il: int
) -> None:
    client = Client(start(program_).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(CPSR, PSTATE(vcpu.get(CPSR)).replace(IL=il))
    report = client.resume({1: action})
    assert ("Illegal" if il else "unknown reason") in report.text
    assert (vcpu.get(ELR_EL1), vcpu.get(VBAR_EL1), client.pc(1)) == (at(0), 0, 0x200)
    assert ESR(vcpu.get(ESR_EL1)).EC == (0x0E if il else 0)
