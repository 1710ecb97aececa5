"""KVM's own: memory errors of the host within guest RAM."""

import mmap

import pytest

from gdbstub.aarch64.registers import ELR_EL1, ESR_EL1, FAR_EL1, PC, SCTLR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import EC, ESR, SCTLR
from gdbstub.debug.ram_comparison import unchanged
from gdbstub.errors import MemoryFault
from gdbstub.kvm_backend import KvmMachine
from gdbstub.machine import Capabilities, RunMode, SystemEvent, SystemEventKind
from tests.contract.broken import break_ram
from tests.contract.conftest import Start
from tests.contract.programs import (
    ACCESSES,
    BASE,
    DATA,
    ERET,
    HANDLER,
    SPIN,
    SYNC_EL1H,
    VECTORS,
    Program,
    at,
)
from tests.contract.recorder import StopRecorder

pytestmark = pytest.mark.own_kvm

PAGE = mmap.PAGESIZE
#: ESR_EL1: a data abort from the same level, by a synchronous external abort.
DATA_ABORT_SAME = 0x25
EXTERNAL = 0x10


def broken(
    start: Start, backend_program: Program, handler: Program
) -> tuple[StopRecorder, KvmMachine]:
    """A guest with a page broken at ``DATA``, whose address is in x0."""
    recorder = start(backend_program)
    machine = recorder.machine
    assert isinstance(machine, KvmMachine)
    machine.write_memory(SYNC_EL1H, handler.image)
    machine.write_memory(DATA - PAGE, b"before")
    break_ram(machine, DATA)
    machine.vcpus[0].set(VBAR_EL1, VECTORS)
    machine.vcpus[0].set(X[0], DATA + 8)
    return recorder, machine


@pytest.mark.parametrize("line", [0, 1, 2, 3])
def test_the_guest_takes_an_external_abort(start_kvm: Start, line: int) -> None:
    recorder, machine = broken(start_kvm, ACCESSES, HANDLER)
    vcpu = machine.vcpus[0]
    vcpu.set(PC, at(line))
    assert recorder.run() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)
    syndrome = ESR(vcpu.get(X[19]))
    assert (syndrome.EC, syndrome & 0x3F) == (DATA_ABORT_SAME, EXTERNAL)
    assert vcpu.get(X[20]) == at(line)
    assert vcpu.get(FAR_EL1) == DATA + (13 if line >= 2 else 8)


@pytest.mark.parametrize("own", [True, False], ids=["by the machine", "by reads"])
def test_a_word_that_cannot_be_read_is_not_as_it_was(
    start_kvm: Start, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    machine = start_kvm(SPIN).machine
    assert isinstance(machine, KvmMachine)
    if not own:
        monkeypatch.setattr(KvmMachine, "capabilities", Capabilities())
    as_they_were = unchanged(machine, [(DATA - PAGE, bytes(8)), (DATA, bytes(8))])
    vcpu = machine.vcpus[0]
    for sctlr in (vcpu.get(SCTLR_EL1), vcpu.get(SCTLR_EL1) | SCTLR.of(M=1, C=1, I=1)):
        vcpu.set(SCTLR_EL1, sctlr)
        assert as_they_were()
    break_ram(machine, DATA)
    for sctlr in (vcpu.get(SCTLR_EL1), vcpu.get(SCTLR_EL1) & ~SCTLR.of(M=1, C=1, I=1)):
        vcpu.set(SCTLR_EL1, sctlr)
        assert not as_they_were()


def test_a_step_ends_at_the_vector(start_kvm: Start) -> None:
    recorder, machine = broken(start_kvm, ACCESSES, HANDLER)
    assert recorder.step().esr.EC == EC.STEP_LOWER
    vcpu = machine.vcpus[0]
    assert vcpu.get(PC) == SYNC_EL1H
    assert (vcpu.get(ELR_EL1), ESR(vcpu.get(ESR_EL1)) & 0x3F) == (BASE, EXTERNAL)
    for steps in 1, 2:
        assert recorder.step().esr.EC == EC.STEP_LOWER
        assert vcpu.get(PC) == SYNC_EL1H + 4 * steps


def test_a_guest_that_tries_again_and_again_can_be_stopped(start_kvm: Start) -> None:
    """Each try is a SIGBUS and each stop a SIGUSR1, in whatever order they come."""
    recorder, machine = broken(start_kvm, ACCESSES, ERET)
    for _ in range(100):
        machine.resume({0: RunMode()})
        machine.interrupt()
        assert recorder.wait() == ()
    assert machine.vcpus[0].get(PC) in (BASE, SYNC_EL1H)


def test_what_is_around_it_is_read(start_kvm: Start) -> None:
    _, machine = broken(start_kvm, SPIN, HANDLER)
    with pytest.raises(MemoryFault, match="broken"):
        machine.read_memory(DATA + 8, 8)
    with pytest.raises(MemoryFault, match="broken"):
        machine.write_memory(DATA + 8, b"x")
    short = machine.read_memory(DATA - PAGE - 1, 4 * PAGE)
    assert short == b"\0before" + bytes(PAGE - 6)
    assert machine.read_memory(DATA + PAGE, 2 * PAGE) == bytes(2 * PAGE)
    machine.write_memory(DATA + PAGE, b"behind")
    assert machine.read_memory(DATA + PAGE, 6) == b"behind"


def test_a_reset_gives_whole_memory(start_kvm: Start) -> None:
    _, machine = broken(start_kvm, SPIN, HANDLER)
    machine.reset()
    assert machine.read_memory(DATA, 8) == bytes(8)
