"""A field declared once is shown by every client's target description and by ``monitor regs``."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from gdbstub.aarch64.architecture import AARCH64
from gdbstub.aarch64.bits import Bits, Word
from gdbstub.aarch64.registers import SYSTEM, SYSTEM_REGISTERS, sysreg_id
from gdbstub.aarch64.sysreg import FIELDS, Fields
from gdbstub.architecture import Register
from gdbstub.capabilities import Command, Timing
from gdbstub.debug.debugger import Debugger
from gdbstub.monitor.monitor import monitored_debugger
from gdbstub.protocol.packets.target_description import target_xml
from tests.fakes.machine import FakeMachine, fake_machine

VALUE = 0x8000_0000_0000_0125


@pytest.fixture
def row() -> Iterator[Register]:
    """A register of a type that is declared here only."""

    class NEW(Fields):
        Top = Bits(63)
        Wide = Bits(9, 8)
        Low = Bits(3, 0)

    yield Register("NEW_EL1", 64, sysreg_id(3, 0, 11, 0, 0), NEW.__name__, SYSTEM, 0x2FF)
    del FIELDS["NEW"]


@pytest.fixture
def machine() -> Iterator[FakeMachine]:
    made = fake_machine(bytes(4))
    yield made
    made.close()


def test_a_new_class_and_its_row_are_shown(
    row: Register, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = ET.fromstring(target_xml(AARCH64, (row,)))
    (flags,) = described.iter("flags")
    (reg,) = described.iter("reg")
    assert flags.get("id") == reg.get("type") == "NEW"
    assert [(f.get("name"), f.get("start"), f.get("end")) for f in flags] == [
        ("Low", "0", "3"), ("Wide", "8", "9"), ("Top", "63", "63"),
    ]  # fmt: skip

    debugger = monitored_debugger(machine)
    monkeypatch.setattr(Debugger, "registers", (row,))
    monkeypatch.setattr(
        debugger, "read_registers", lambda thread, rows: VALUE.to_bytes(8, "little")
    )
    shown = debugger.monitor(Command(1, "regs new_el1", frozenset(), {}, Timing()))
    assert shown.split() == ["NEW_EL1", f"{VALUE:#x}", "Low=0x5", "Wide=0x1", "Top"]


def test_every_type_with_fields_is_that_of_a_register() -> None:
    used = {row.type for row in SYSTEM_REGISTERS.values()} | {"cpsr_flags"}
    assert set(FIELDS) <= used


def test_fields_that_are_shown_do_not_overlap() -> None:
    class Overlapping(Word):
        parted = Bits(3, 0)
        low = Bits(1, 0)
        high = Bits(3, 2)
        whole = Bits(15, 8)
        some = Bits(9, 8)
        first = Bits(20, 17)
        second = Bits(22, 19)
        same = Bits(30)
        again = Bits(30)

    assert list(Overlapping.disjoint()) == ["low", "high", "whole", "first", "same"]
