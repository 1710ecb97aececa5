"""A line that waits for another vCPU, which waits for the handler of an SGI that it has sent."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, VBAR_EL1
from gdbstub.kvm.board import BoardVm
from gdbstub.kvm.port import LOCAL
from gdbstub.kvm_backend import KvmConfig, KvmMachine
from gdbstub.target import Action, Range, Stopped, StopReason
from gdbstub.vmm import gic
from gdbstub.vmm.layout import PMU_INTID, Gic
from tests.contract.client import Client
from tests.contract.kvm_machine import BareBoard
from tests.contract.programs import BASE, DATA, VECTORS, at
from tests.contract.run_control import (
    ACKNOWLEDGES_GICV2,
    ACKNOWLEDGES_GICV3,
    RINGS_BY_GICV2,
    RINGS_BY_GICV3,
    SW,
    put,
)

pytestmark = pytest.mark.own_kvm

IRQ = VECTORS + 0x280
#: By the interrupt controller: the guest, its line, and its handler.
GUESTS = {
    Gic.V3: (RINGS_BY_GICV3, 24, ACKNOWLEDGES_GICV3),
    Gic.V2: (RINGS_BY_GICV2, 16, ACKNOWLEDGES_GICV2),
}


class BoardWithGic(BareBoard):
    """A board with an interrupt controller, and a guest that uses it."""

    pmu_intid = PMU_INTID

    def __init__(self) -> None:
        super().__init__(b"")
        self.kind = Gic.V3

    def build(self, vm: BoardVm) -> None:
        self.kind = gic.create(vm.port, vm.vm, 2)

    def boot(self, vm: BoardVm) -> None:
        super().boot(vm)
        program, _, handler = GUESTS[self.kind]
        vm.write_memory(BASE, program.image)
        vm.write_memory(IRQ, handler.image)
        vm.vcpus[0].set(VBAR_EL1, VECTORS)


@pytest.fixture
def board() -> BoardWithGic:
    return BoardWithGic()


@pytest.fixture
def waiting(board: BoardWithGic) -> Iterator[Client]:
    """vCPU 0 at its line; vCPU 1 sends the interrupt when it runs."""
    with closing(KvmMachine(KvmConfig(2, BASE, 2 << 20), board, LOCAL)) as machine:
        client = Client(machine)
        line = at(GUESTS[board.kind][1])
        put(client, SW, line)
        assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
        client.target.remove(1, SW, line, 4)
        machine.write_memory(DATA + 16, bytes([1]))
        machine.vcpus[0].set(ELR_EL1, 0x1234)
        yield client


def test_the_line_ends_where_it_ends(waiting: Client, board: BoardWithGic) -> None:
    line = GUESTS[board.kind][1]
    report = waiting.resume({1: Range(at(line), at(line + 2)), 2: Action.CONTINUE})
    assert report == Stopped(1)
    assert (waiting.pc(1), waiting.x(1, 1)) == (at(line + 2), 1)
    assert waiting.machine.read_memory(DATA, 1) == bytes([1])
    assert waiting.machine.vcpus[0].get(CPSR) & 0x3C0 == 0x340


def test_a_breakpoint_in_its_handler_stops(waiting: Client, board: BoardWithGic) -> None:
    line = GUESTS[board.kind][1]
    put(waiting, SW, IRQ + 4)
    report = waiting.resume({1: Range(at(line), at(line + 2)), 2: Action.CONTINUE})
    assert (report.thread, report.stop, waiting.pc(1)) == (1, StopReason.SWBREAK, IRQ + 4)
    assert waiting.machine.vcpus[0].get(ELR_EL1) in (at(line), at(line + 1))
