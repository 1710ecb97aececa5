"""DC ZVA and watchpoints: it stores a block that is aligned to its size, wherever in it X is."""

import pytest

from gdbstub.aarch64.registers import (
    DCZID_EL0,
    PC,
    SCTLR_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    X,
)
from gdbstub.aarch64.sysreg import DCZID, SCTLR, TCR
from gdbstub.debug.caches import Content
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import RegisterRefused
from gdbstub.target import BreakpointKind, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, DATA, at
from tests.contract.run_control import ZEROES
from tests.tables import AF, Tables

WRITE, SOFTWARE = BreakpointKind.WRITE, BreakpointKind.SOFTWARE
OLD = b"\xaa"


def _zeroes(start: Start) -> tuple[Client, int]:
    """Return a client of a guest that zeroes a block, and the block's size in bytes.

    Its RAM is Normal memory. While the MMU is off it is Device memory, where DC ZVA faults.
    """
    client = Client(start(ZEROES).machine)
    vcpu = client.machine.vcpus[0]
    tables = Tables(base=BASE + 0x10_0000)
    tables.map(BASE, BASE, 2, AF)
    for ipa, data in tables.content().items():
        client.machine.write_memory(ipa, data)
    vcpu.set(SYSTEM_REGISTERS["MAIR_EL1"], 0xFF)
    vcpu.set(TCR_EL1, TCR.of(**tables.tcr()))
    vcpu.set(TTBR0_EL1, tables.ttbr)
    vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1))
    client.target.caches.invalidate(Content.REGISTER_WRITTEN)
    client.target.insert(1, SOFTWARE, at(2), 4)
    return client, 4 << DCZID(vcpu.get(DCZID_EL0)).BS


def test_the_blocks_size_is_the_guests(start: Start) -> None:
    recorder = start(ZEROES)
    recorder.step()
    vcpu = recorder.machine.vcpus[0]
    assert DCZID_EL0 in recorder.machine.system_registers
    assert DCZID(vcpu.get(X[3])).BS == DCZID(vcpu.get(DCZID_EL0)).BS


def test_it_cannot_be_written(start: Start) -> None:
    debugger = Debugger(start(ZEROES).machine)
    before = debugger.read_registers(1, (DCZID_EL0,))
    with pytest.raises(RegisterRefused):
        debugger.write_register(1, DCZID_EL0, (7).to_bytes(8, "little"))
    assert debugger.read_registers(1, (DCZID_EL0,)) == before


def test_a_block_is_a_hit_if_it_has_a_watched_byte(start: Start) -> None:
    """One comparator is left, and watches four blocks. One of them and 8 bytes are asked for."""
    client, size = _zeroes(start)
    for n in range(1, client.machine.watchpoint_slots):
        client.target.insert(1, WRITE, DATA + 0x8000 + 0x1000 * n, 8)
    watched = range(DATA + size, DATA + 2 * size + 8)
    client.target.insert(1, WRITE, watched.start, len(watched))
    for block, inside in (0, -1), (1, 0), (1, 0x28), (2, -1), (3, 0):  # in it is X0
        zeroed = range(DATA + block * size, DATA + (block + 1) * size)
        client.machine.write_memory(DATA, 4 * size * OLD)
        client.machine.vcpus[0].set(X[0], zeroed[inside])
        client.machine.vcpus[0].set(PC, at(1))
        report = client.go()
        if block in (1, 2):
            assert (report.stop, client.pc(1)) == (StopReason.WATCH, at(1))
            assert report.gva in watched
            assert report.gva in zeroed
            assert client.machine.read_memory(zeroed.start, size) == size * OLD
            client.step_over(1, WRITE, watched.start, len(watched))
            report = client.go()
        assert report == Stopped(1, stop=StopReason.SWBREAK)
        left = client.machine.read_memory(DATA, 4 * size)
        assert left == block * size * OLD + bytes(size) + (3 - block) * size * OLD
