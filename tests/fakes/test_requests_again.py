"""Breakpoints that a client takes back and asks for again at one stop cost nothing anew."""

import pytest

from gdbstub.debug.debugger import Debugger
from gdbstub.target import BreakpointKind
from tests.fakes.machine import fake_machine
from tests.fakes.ram import BASE

SOFTWARE = BreakpointKind.SOFTWARE
NOP = bytes.fromhex("1f2003d5")


def test_nothing_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake_machine(NOP * 100)
    debugger = Debugger(machine)
    places = range(BASE, BASE + 400, 4)
    for place in places:
        debugger.insert(1, SOFTWARE, place, 4)
    reads: list[int] = []
    read = machine.read_memory

    def noted(ipa: int, length: int) -> bytes:
        reads.append(ipa)
        return read(ipa, length)

    monkeypatch.setattr(machine, "read_memory", noted)
    for place in places:
        debugger.remove(1, SOFTWARE, place, 4)
    for place in places:
        debugger.insert(1, SOFTWARE, place, 4)
    assert reads == []
