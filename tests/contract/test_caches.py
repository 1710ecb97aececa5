"""KVM's own: which lines are cleaned to the point of coherency, and when.

Emulation has no caches, so what is shown is that the calls are made.
"""

import threading

import pytest

from gdbstub.aarch64.registers import SCTLR_EL1
from gdbstub.aarch64.sysreg import SCTLR
from gdbstub.kvm import host_memory
from gdbstub.kvm.one_reg import Counts, OneReg, VirtualClock
from gdbstub.kvm.port import LOCAL
from gdbstub.kvm.vcpu import KvmVcpu
from gdbstub.kvm_backend import KvmMachine
from gdbstub.machine import DebugExit, DebugRegisters, RunMode
from tests.contract.conftest import Start
from tests.contract.programs import BASE, BREAKS, COUNT, DATA, SPIN
from tests.contract.recorder import StopRecorder

pytestmark = pytest.mark.own_kvm

ON = SCTLR.of(M=1, C=1, I=1)
Call = tuple[str, int, int]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Record the native core's calls on guest RAM, in order, by offset from ``BASE``.

    The calls are made as ever.
    """
    said: list[Call] = []
    clean, read, write = host_memory.clean, host_memory.read, host_memory.write
    fetch = host_memory.fetch

    def noted_clean(address: int, length: int) -> bool:
        said.append(("clean", address, length))
        return clean(address, length)

    def noted_read(address: int, length: int) -> bytes | None:
        said.append(("read", address, length))
        return read(address, length)

    def noted_write(address: int, data: bytes) -> bool:
        said.append(("write", address, len(data)))
        return write(address, data)

    def noted_fetch(address: int, length: int) -> None:
        said.append(("fetch", address, length))
        fetch(address, length)

    monkeypatch.setattr(host_memory, "clean", noted_clean)
    monkeypatch.setattr(host_memory, "read", noted_read)
    monkeypatch.setattr(host_memory, "write", noted_write)
    monkeypatch.setattr(host_memory, "fetch", noted_fetch)
    return said


def begin(start: Start, *sctlrs: int) -> tuple[KvmMachine, int]:
    """A machine whose vCPUs have these in SCTLR_EL1, and where ``DATA`` lies in the host."""
    machine = start(SPIN, vcpus=len(sctlrs)).machine
    assert isinstance(machine, KvmMachine)
    for vcpu, sctlr in zip(machine.vcpus, sctlrs, strict=True):
        vcpu.set(SCTLR_EL1, vcpu.get(SCTLR_EL1) & ~ON | sctlr)
    return machine, machine.ram.region.userspace_addr + DATA - BASE


@pytest.mark.parametrize(
    "sctlrs",
    [
        *[(0,), (SCTLR.of(C=1, I=1),), (SCTLR.of(M=1, I=1),), (SCTLR.of(M=1, C=1),)],
        *[(ON, 0), (0, ON), (ON, ON, SCTLR.of(M=1, I=1))],
    ],
)
def test_with_caches_off_anywhere_all_is_cleaned(
    start_kvm: Start, calls: list[Call], sctlrs: tuple[int, ...]
) -> None:
    machine, hva = begin(start_kvm, *sctlrs)
    calls.clear()
    machine.write_memory(DATA, b"patched!")
    assert calls == [("write", hva, 8), ("clean", hva, 8), ("fetch", hva, 8)]
    calls.clear()
    assert machine.read_memory(DATA + 3, 300)[:5] == b"ched!"
    assert calls == [("clean", hva + 3, 300), ("read", hva + 3, 300)]


def test_with_caches_on_nothing_is_but_what_is_executed(
    start_kvm: Start, calls: list[Call]
) -> None:
    machine, hva = begin(start_kvm, ON, ON)
    calls.clear()
    machine.write_memory(DATA, b"patched!")
    assert machine.read_memory(DATA, 8) == b"patched!"
    assert calls == [("write", hva, 8), ("fetch", hva, 8), ("read", hva, 8)]


def test_each_vcpu_is_asked_once_a_stop(start_kvm: Start) -> None:
    machine, _ = begin(start_kvm, ON, ON)
    before = machine.counts["ioctls"]["KVM_GET_ONE_REG"]
    for _ in range(3):
        machine.write_memory(DATA, b"patched!")
        machine.read_memory(DATA, 8)
    assert machine.counts["ioctls"]["KVM_GET_ONE_REG"] == before + 2


def test_who_switches_them_off_is_noticed(start_kvm: Start, calls: list[Call]) -> None:
    machine, hva = begin(start_kvm, ON)
    machine.read_memory(DATA, 8)
    machine.vcpus[0].set(SCTLR_EL1, 0x30D0_0800)
    calls.clear()
    machine.read_memory(DATA, 8)
    assert calls == [("clean", hva, 8), ("read", hva, 8)]


def test_a_guest_that_switches_them_off_between_two_exits_is_noticed(
    start_kvm: Start, calls: list[Call]
) -> None:
    recorder = start_kvm(COUNT)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    assert isinstance(vcpu, KvmVcpu)
    off = vcpu.get(SCTLR_EL1) & ~ON
    cleaned: list[bool] = []

    def decide(_: DebugExit) -> RunMode | None:
        if not cleaned:
            vcpu.set(SCTLR_EL1, off | ON)
        calls.clear()
        machine.read_memory(DATA, 8)
        cleaned.append("clean" in {name for name, *_ in calls})
        # Not by what knows what it has written: as the guest does.
        OneReg(LOCAL, vcpu.fd, VirtualClock(), Counts()).set(SCTLR_EL1, off)
        return RunMode(step=True) if len(cleaned) == 1 else None

    recorder.decide = decide
    recorder.run({0: True})
    assert cleaned == [False, True]


@pytest.mark.parametrize(("vcpus", "asked"), [(1, 1), (2, 0)])
def test_one_that_may_run_is_not_asked_and_taken_to_have_them_off(
    start_kvm: Start, calls: list[Call], vcpus: int, asked: int
) -> None:
    """A sibling may run during a debug exit, so it is not asked. All caches are off here."""
    recorder = start_kvm(BREAKS, vcpus=vcpus)
    machine, hva = recorder.machine, 0
    assert isinstance(machine, KvmMachine)
    hva = machine.ram.region.userspace_addr
    machine.arm(DebugRegisters(enabled=True))
    seen: list[tuple[list[Call], int]] = []

    def look(_: DebugExit) -> None:
        calls.clear()
        before = machine.counts["ioctls"]["KVM_GET_ONE_REG"]
        machine.read_memory(BASE, 4)
        seen.append((list(calls), machine.counts["ioctls"]["KVM_GET_ONE_REG"] - before))

    recorder.decide = look
    recorder.debug()
    assert seen == [([("clean", hva, 4), ("read", hva, 4)], asked)]


def test_another_thread_asks_no_vcpu_that_runs(start_kvm: Start, calls: list[Call]) -> None:
    """The vCPU's own thread may write a register of it during a debug exit."""
    recorder = start_kvm(BREAKS)
    machine = recorder.machine
    assert isinstance(machine, KvmMachine)
    machine.arm(DebugRegisters(enabled=True))
    seen: list[tuple[set[str], int]] = []

    def look(_: DebugExit) -> None:
        calls.clear()
        before = machine.counts["ioctls"]["KVM_GET_ONE_REG"]
        beside = threading.Thread(target=machine.read_memory, args=(BASE, 4))
        beside.start()
        beside.join()
        asked = machine.counts["ioctls"]["KVM_GET_ONE_REG"] - before
        seen.append(({name for name, *_ in calls}, asked))

    recorder.decide = look
    recorder.debug()
    assert seen == [({"clean", "read"}, 0)]


def test_a_resume_is_reason_to_ask_again(start_kvm: Start) -> None:
    machine, _ = begin(start_kvm, 0)
    machine.read_memory(DATA, 8)
    recorder = StopRecorder(machine)
    recorder.step()
    before = machine.counts["ioctls"]["KVM_GET_ONE_REG"]
    machine.read_memory(DATA, 8)
    machine.read_memory(DATA, 8)
    assert machine.counts["ioctls"]["KVM_GET_ONE_REG"] == before + 1
