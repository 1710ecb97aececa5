"""Watchpoints: which accesses exit, that they have not been done, and what FAR says."""

from dataclasses import dataclass

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.aarch64.sysreg import DBGWCR, EC
from gdbstub.machine import DebugRegisters
from tests.contract.conftest import Start
from tests.contract.programs import ACCESSES, DATA, STORES, at
from tests.contract.recorder import StopRecorder

READ, WRITE, BOTH = 0b01, 0b10, 0b11
OLD = bytes(range(0xA0, 0xA8))


@dataclass(frozen=True)
class Access:
    """A line of ``ACCESSES``: where it starts to access, how far, and which way."""

    line: int
    start: int
    size: int
    write: bool


LDR = Access(0, 0, 8, write=False)
STR = Access(1, 0, 8, write=True)
LDRB = Access(2, 5, 1, write=False)
STRB = Access(3, 5, 1, write=True)
FAR_STR = Access(4, 64, 8, write=True)
IN_ORDER = (LDR, STR, LDRB, STRB)


def _watch(lsc: int, *, bas: int = 0xFF, mask: int = 0, gva: int = DATA) -> tuple[int, int]:
    return int(DBGWCR.of(E=1, PAC=0b11, LSC=lsc, BAS=bas, MASK=mask)), gva


def _begin(start: Start) -> StopRecorder:
    recorder = start(ACCESSES)
    recorder.machine.write_memory(DATA, OLD)
    recorder.machine.vcpus[0].set(X[0], DATA)
    return recorder


def _hits(recorder: StopRecorder, *watches: tuple[int, int], watched: range) -> list[int]:
    """The lines that hit, checked one by one, until BRK; each is let go in between."""
    machine = recorder.machine
    vcpu = machine.vcpus[0]
    accesses = {access.line: access for access in (*IN_ORDER, FAR_STR)}
    lines: list[int] = []
    while True:
        machine.arm(DebugRegisters(watchpoints=watches, enabled=True))
        exit = recorder.debug()
        if exit.esr.EC == EC.BRK64:
            return lines
        assert exit.esr.EC == EC.WATCHPOINT_LOWER
        line = (vcpu.get(PC) - at(0)) // 4
        access = accesses[line]
        assert exit.esr.WnR == access.write
        # Arm ARM D2.9.6: from the lowest byte accessed to the highest one watched.
        assert DATA + access.start <= exit.far < watched.stop
        lines.append(line)
        machine.arm(DebugRegisters(enabled=True))
        assert recorder.step().esr.EC == EC.STEP_LOWER


@pytest.mark.parametrize(("lsc", "lines"), [(READ, [0, 2]), (WRITE, [1, 3]), (BOTH, [0, 1, 2, 3])])
def test_a_watchpoint_catches_its_kind_of_access(start: Start, lsc: int, lines: list[int]) -> None:
    watched = range(DATA, DATA + 8)
    assert _hits(_begin(start), _watch(lsc), watched=watched) == lines


@pytest.mark.parametrize(
    ("bas", "lines"), [(0b0010_0000, [0, 1, 2, 3]), (0b0001_0000, [0, 1]), (0b1100_0000, [0, 1])]
)
def test_bas_selects_bytes(start: Start, bas: int, lines: list[int]) -> None:
    watched = range(DATA, DATA + bas.bit_length())
    assert _hits(_begin(start), _watch(BOTH, bas=bas), watched=watched) == lines


@pytest.mark.parametrize(("mask", "lines"), [(3, [1, 3]), (6, [1, 3]), (7, [1, 3, 4])])
def test_mask_widens_the_range(start: Start, mask: int, lines: list[int]) -> None:
    watched = range(DATA, DATA + (1 << mask))
    assert _hits(_begin(start), _watch(WRITE, mask=mask), watched=watched) == lines


def test_a_caught_access_has_not_been_done_and_happens_when_it_is_let_go(start: Start) -> None:
    recorder = _begin(start)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    vcpu.set(X[2], 0x1122_3344_5566_7788)
    machine.arm(DebugRegisters(watchpoints=(_watch(BOTH),)))
    for _ in range(2):  # and it is caught again
        recorder.debug()
        assert (vcpu.get(PC), vcpu.get(X[1])) == (at(0), 0)
    assert recorder.step().esr.EC == EC.WATCHPOINT_LOWER
    machine.arm(DebugRegisters())
    recorder.step()
    assert vcpu.get(X[1]) == int.from_bytes(OLD, "little")

    machine.arm(DebugRegisters(watchpoints=(_watch(BOTH),)))
    recorder.debug()
    assert vcpu.get(PC) == at(1)
    assert machine.read_memory(DATA, 8) == OLD
    machine.arm(DebugRegisters())
    recorder.step()
    assert machine.read_memory(DATA, 8) == (0x1122_3344_5566_7788).to_bytes(8, "little")


def test_every_watchpoint_slot_works(start: Start) -> None:
    recorder = start(STORES)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    slots = machine.watchpoint_slots
    assert 2 <= slots <= 16
    vcpu.set(X[0], DATA)
    for slot in range(slots):
        watches = tuple(_watch(WRITE, gva=DATA + 8 * n) for n in range(slot, slots))
        machine.arm(DebugRegisters(watchpoints=watches, enabled=True))
        exit = recorder.debug()
        assert exit.esr.EC == EC.WATCHPOINT_LOWER
        assert DATA + 8 * slot <= exit.far < DATA + 8 * slot + 8
        assert (vcpu.get(PC), vcpu.get(X[0])) == (at(slot), DATA + 8 * slot)
    machine.arm(DebugRegisters(enabled=True))
    assert recorder.debug().esr.EC == EC.BRK64


def test_breakpoints_and_watchpoints_are_armed_together(start: Start) -> None:
    recorder = _begin(start)
    both = DebugRegisters(((0x1E7, at(2)),), (_watch(WRITE),), enabled=True)
    recorder.machine.arm(both)
    assert recorder.debug().esr.EC == EC.WATCHPOINT_LOWER
    recorder.machine.arm(DebugRegisters(both.breakpoints, enabled=True))
    assert recorder.debug().esr.EC == EC.BREAKPOINT_LOWER
    assert recorder.machine.vcpus[0].get(PC) == at(2)
