"""Breakpoints in code whose pages are not next to each other in RAM, and at a page's end."""

from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import (
    PC,
    SCTLR_EL1,
    SP_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    X,
)
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.debug.caches import Content
from gdbstub.target import BreakpointKind, Range, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, DATA, SPIN, Program, program
from tests.contract.run_control import ADDS_FIVE_TIMES, HW, NEVER, SW, put
from tests.tables import AF, Tables

PAGE = 4096
#: Virtual address of two pages of code, and their places in RAM: the second is before the first.
CODE = 0x5000_0000
FIRST, SECOND = BASE + 0x3_0000, BASE + 0x2_0000
READ_ONLY = 0b10 << 6
#: Each is executed alone. Some are passed over by their effect, some by a step.
LAST = program(
    (0xD503201F, "nop"),
    (0x91000484, "add x4, x4, #1"),
    (0xF9000004, "str x4, [x0]"),
    (0xD50342FF, "msr daifclr, #2"),
)
Split = Callable[..., tuple[Client, int]]


@pytest.fixture
def split(start: Start) -> Split:
    """A guest with its MMU on, whose *program* has line *line* at the beginning of a page."""

    def make(program: Program, line: int, *, mapped: bool = True) -> tuple[Client, int]:
        client = Client(start(SPIN).machine)
        write, vcpu = client.machine.write_memory, client.machine.vcpus[0]
        tables = Tables(base=BASE + 0x10_0000)
        tables.map(DATA, DATA, 3, AF)
        tables.map(CODE, FIRST, 3, AF | READ_ONLY)
        if mapped:
            tables.map(CODE + PAGE, SECOND, 3, AF | READ_ONLY)
        for ipa, data in tables.content().items():
            write(ipa, data)
        write(FIRST + PAGE - 4 * line, program.image[: 4 * line])
        write(FIRST + PAGE, bytes(64))
        write(SECOND, program.image[4 * line :] + bytes(64))
        vcpu.set(SYSTEM_REGISTERS["MAIR_EL1"], 0xFF)
        vcpu.set(TCR_EL1, TCR.of(**tables.tcr()))
        vcpu.set(TTBR0_EL1, tables.ttbr)
        vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1))
        begin = CODE + PAGE - 4 * line
        for register, value in {PC: begin, X[0]: DATA, SP_EL1: DATA + 0x800}.items():
            vcpu.set(register, value)
        client.target.caches.invalidate(Content.REGISTER_WRITTEN)
        return client, begin

    return make


def _word(client: Client) -> int:
    return int.from_bytes(client.machine.read_memory(DATA, 4), "little")


@pytest.mark.parametrize(("line", "kinds"), [(3, (SW, SW)), (4, (SW, HW)), (5, (HW, SW))], ids=str)
def test_a_sequence_in_two_pages_gets_to_its_end(
    split: Split, line: int, kinds: tuple[BreakpointKind, BreakpointKind]
) -> None:
    """Breakpoints that do not stop are at its load and at its store."""
    client, begin = split(ADDS_FIVE_TIMES, line)
    for at, kind in zip((2, 4), kinds, strict=True):
        put(client, kind, begin + 4 * at, NEVER)
    put(client, SW, begin + 4 * 8)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), _word(client)) == (begin + 4 * 8, 5)


def test_a_range_over_two_pages_ends_where_it_ends(split: Split) -> None:
    client, begin = split(ADDS_FIVE_TIMES, 6)
    assert client.resume({1: Range(begin, begin + 4 * 8)}) == Stopped(1)
    assert (client.pc(1), _word(client)) == (begin + 4 * 8, 5)


@pytest.mark.parametrize(("line", "kind"), [(0, SW), (1, HW), (2, SW), (3, HW)])
def test_a_breakpoint_on_a_pages_last_instruction_is_passed_over(
    split: Split, line: int, kind: BreakpointKind
) -> None:
    """The page behind it is not mapped: the next fetch fails."""
    client, begin = split(program(LAST.lines[line]), 1, mapped=False)
    put(client, kind, begin, NEVER)
    report = client.go()
    assert "instruction abort" in report.text
    assert f"ELR_EL1 {begin + 4:#x}" in report.text
    assert client.x(1, 4) == int(line == 1)
    if line == 2:
        assert client.machine.read_memory(DATA, 8) == bytes(8)
    assert client.machine.read_memory(FIRST + PAGE - 4, 4) != bytes(4)
