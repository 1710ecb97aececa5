"""The text of a stop at a kernel's own end, which is the guest's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdbstub.aarch64.registers import X
from gdbstub.errors import InputError, MemoryFault
from gdbstub.linux.reasons import STATUSES, parse_reasons
from gdbstub.linux.stop_on import StopOn

TEXT = 0x5000


class Memory:
    def __init__(self, text: bytes) -> None:
        self.text = text

    def read(self, _vcpu: int, gva: int, length: int) -> bytes:
        if gva != TEXT:
            raise MemoryFault(f"nothing at {gva:#x}")
        return self.text[:length]


def stop_on(text: bytes, first: int = TEXT) -> StopOn:
    kernel: Any = SimpleNamespace(functions={"panic": 0x1000})
    registers = {X[0]: first}
    machine: Any = SimpleNamespace(vcpus=[SimpleNamespace(get=registers.__getitem__)])
    memory: Any = Memory(text)
    return StopOn(kernel, ["panic"], lambda: None, machine, memory)


def test_it_is_one_line_that_controls_no_terminal() -> None:
    points = stop_on(b"Attempted\n\x1b[2Jto kill\xc2\x9b init\0behind")
    assert points.met == []
    assert points.reason(0, 0x1000) == r"the guest panics: Attempted \x1b[2Jto kill\x9b init"
    assert points.met == ["panic"]


def test_a_text_that_is_nowhere() -> None:
    assert stop_on(b"", first=0).reason(0, 0x1000) == "the guest panics: ?"


def test_the_statuses_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/linux.md").read_text()
    assert STATUSES == {"panic": 100, "oops": 101, "warn": 102, "reset": 103}
    for reason, status in STATUSES.items():
        assert f"| `{reason}` | {status} |\n" in page


def test_reasons_of_two_options() -> None:
    assert parse_reasons("panic,reset,panic") == ("panic", "reset")
    assert parse_reasons("timeout,oops", "--vmcore-on", "timeout") == ("timeout", "oops")
    with pytest.raises(InputError, match=r"^--stop-on timeout: 'timeout' is not one of panic, "):
        parse_reasons("timeout")
