"""The text of a stop at a kernel's own end, which is the guest's."""

import struct
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from gdbstub.aarch64.registers import X
from gdbstub.errors import InputError, MemoryFault
from gdbstub.linux.reasons import STATUSES, parse_reasons
from gdbstub.linux.stop_on import StopOn

TEXT, DEVICE = 0x5000, 0x6000
#: A ``va_list``, and the places of what it has: general registers, and the stack.
LIST, SAVED, STACK = 0x7000, 0x7100, 0x7200


class Memory:
    def __init__(self, texts: Mapping[int, bytes]) -> None:
        self.texts = texts

    def read(self, _vcpu: int, gva: int, length: int) -> bytes:
        for start, text in self.texts.items():
            if start <= gva < start + max(len(text), 1):
                return text[gva - start :][:length]
        raise MemoryFault(f"nothing at {gva:#x}")


def stop_on(
    text: bytes, *arguments: int, function: str = "panic", more: Mapping[int, bytes] | None = None
) -> StopOn:
    """Stop at *function*, called with *text* at ``TEXT``, if it is not empty, and *arguments*."""
    kernel: Any = SimpleNamespace(functions={function: 0x1000})
    registers = dict.fromkeys(X, 0) | dict(zip(X, (TEXT, *arguments), strict=False))
    machine: Any = SimpleNamespace(vcpus=[SimpleNamespace(get=registers.__getitem__)])
    memory: Any = Memory({**({TEXT: text} if text else {}), **(more or {})})
    return StopOn(kernel, ["panic"], lambda: None, machine, memory)


def said(text: bytes, *arguments: int, **more: Any) -> str:  # noqa: ANN401 - as of stop_on
    return stop_on(text, *arguments, **more).reason(0, 0x1000).partition("panics: ")[2]


def test_it_is_one_line_that_controls_no_terminal() -> None:
    points = stop_on(b"Attempted\n\x1b[2Jto kill\xc2\x9b init\0behind")
    assert points.met == []
    assert points.reason(0, 0x1000) == r"the guest panics: Attempted \x1b[2Jto kill\x9b init"
    assert points.met == ["panic"]


def test_a_text_that_is_nowhere() -> None:
    assert stop_on(b"").reason(0, 0x1000) == "the guest panics: ?"


NAMES: Final = {DEVICE: b"unknown-block(0,0)\0"}


@pytest.mark.parametrize(
    ("text", "arguments", "shown"),
    [
        (b"no root on %s\n", (DEVICE,), "no root on unknown-block(0,0)"),
        (b"init! exitcode=0x%08x\n", (0x100,), "init! exitcode=0x00000100"),
        (b"%s: %d of %lu, %%", (DEVICE, -2, 1 << 40), "unknown-block(0,0): -2 of 1099511627776, %"),
        # What the kernel alone prints by %p is an address; what is not known stays as it is.
        (b"at %pS+%d", (0xFFFF_8000_0801_0000, 4), "at 0xffff800008010000+4"),
        (b"%*d of %s", (1, 2, DEVICE), "%*d of %s"),
        (b"%s", (0x9000,), "<cannot read 0x9000>"),
        (b"a \\x41 path", (), "a \\x41 path"),
        (b"%1024d%1024d", (1, 2), "1"),
        (b"%d %d %d %d %d %d %d", tuple(range(7)), "0 1 2 3 4 5 6"),
        (b"%d %d %d %d %d %d %d %d", tuple(range(7)), "%d %d %d %d %d %d %d %d"),
    ],
)
def test_what_a_panic_prints(text: bytes, arguments: tuple[int, ...], shown: str) -> None:
    assert said(text + b"\0", *(value % (1 << 64) for value in arguments), more=NAMES) == shown


def test_what_a_panic_prints_that_has_its_arguments_in_a_list() -> None:
    """Two are left in registers, the third is on the stack (AAPCS64, ``va_list``)."""
    saved = struct.pack("<7Q", *range(5), DEVICE, 7)
    listed = struct.pack("<QQQii", STACK, SAVED + 56, 0, -16, 0)
    more = NAMES | {LIST: listed, SAVED: saved, STACK: struct.pack("<Q", 9)}
    assert said(b"%s, %d, %d\0", LIST, function="vpanic", more=more) == "unknown-block(0,0), 7, 9"


@pytest.mark.parametrize("listed", [b"", bytes(31), struct.pack("<QQQii", 0, 0, 0, -(1 << 31), 0)])
def test_a_list_that_is_damaged(listed: bytes) -> None:
    assert said(b"%s, %d\0", LIST, function="vpanic", more={LIST: listed}) == "%s, %d"


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
