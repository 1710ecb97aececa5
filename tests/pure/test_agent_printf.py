"""The format language of dprintf; C's own snprintf is the judge of integers."""

import ctypes
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.agent import Format
from gdbstub.errors import AgentError, MemoryFault
from tests.pure.agent import StaticContext

TOP: Final = (1 << 64) - 1
LIBC: Final = ctypes.CDLL(None)

C_TYPES: Final = {
    "hh": ctypes.c_int, "h": ctypes.c_int, "": ctypes.c_int, "l": ctypes.c_long,
    "ll": ctypes.c_longlong, "j": ctypes.c_long, "z": ctypes.c_ssize_t, "t": ctypes.c_ssize_t,
}  # fmt: skip

TEXT: Final = StaticContext(
    memory={
        0x1000: b"a string\0and another\0",
        0x2FF0: b"sixteen of these",  # and nothing behind
        0x40FE: b"x" * 2000,
    }
)


def render(source: bytes, *values: int) -> bytes:
    format_ = Format.parse(source)
    assert format_.arguments == len(values)
    return format_.render(values, TEXT.memory)


def in_c(source: str, size: str, value: int) -> bytes:
    buffer = ctypes.create_string_buffer(4096)
    length = LIBC.snprintf(buffer, len(buffer), source.encode(), C_TYPES[size](value))
    return buffer.raw[:length]


@given(
    st.text("-+ 0", max_size=4),
    st.integers(0, 40),
    st.none() | st.integers(0, 30),
    st.sampled_from(sorted(C_TYPES)),
    st.sampled_from("diuxXo"),
    st.booleans(),
    st.integers(0, TOP) | st.sampled_from([0, 1, 1 << 31, 1 << 63, TOP, 127, 128, 0xFFFF_FFFF]),
)
def test_integers_look_as_in_c(
    flags: str,
    width: int,
    precision: int | None,
    size: str,
    letter: str,
    alternate: bool,
    value: int,
) -> None:
    flags += "#" * (alternate and letter in "xXo")  # for others C does not say
    dot = "" if precision is None else f".{precision}"
    source = f"[%{flags}{width or ''}{dot}{size}{letter}]"
    assert render(source.encode(), value) == in_c(source, size, value)


@pytest.mark.parametrize(
    ("source", "values", "text"),
    [
        (rb"%d", (TOP,), b"-1"),
        (rb"%d", (0x1_0000_0003,), b"3"),
        (rb"%ld", (0x1_0000_0003,), b"4294967299"),
        (rb"%hd|%hhd", (65537, 257), b"1|1"),
        (rb"%u", (TOP,), b"4294967295"),
        (rb"%08x|%+d|% d|%-8ld|%#lx|%.3s", (1, 2, 3, 4, 5, 0x1000),
         b"00000001|+2| 3|4       |0x5|a s"),
        (rb"%.d|%.0x|", (0, 0), b"||"),
        (rb"%p %p|%8p|%-8p|", (0, 17, 18, 19), b"(nil) 0x11|    0x12|0x13    |"),
        (rb"%c%c|%5c|%-5c|%c", (65, 321, 66, 67, 0xE4), b"AA|    B|C    |\xe4"),
        (rb"%s|%10s|%-10s|%.3s", (0x1000, 0x1009, 0x1002, 0x1000),
         b"a string|and another|string    |a s"),
        (rb"%s", (0,), b"(null)"),
        (rb"100%% of %d%%", (7,), b"100% of 7%"),
        (rb"\a\b\e\f\n\r\t\v\\\"\'\?", (), b"\a\b\x1b\f\n\r\t\v\\\"'?"),
        (rb"\101\0\60\1234\777\x41\x4a5", (), b"A\x000S4\xffAJ5"),
        (rb"\x25d", (3,), b"3"),  # escapes come first, as in C
        (rb"%f of %-8.3Le and %g", (1, 2, 3),
         b"<%f: no floating point> of <%e: no floating point> and <%g: no floating point>"),
        (b"\xc3\xa4 %d", (1,), b"\xc3\xa4 1"),
        (b"", (), b""),
    ],
)  # fmt: skip
def test_what_is_printed(source: bytes, values: tuple[int, ...], text: bytes) -> None:
    assert render(source, *values) == text


def test_a_string_that_cannot_be_read_says_so_in_its_place() -> None:
    assert render(b"[%s]", 0x9000) == b"[<cannot read 0x9000>]"
    assert render(b"[%s]", 0x2FF8) == b"[of these<cannot read 0x3000>]"
    assert render(b"[%.8s]", 0x2FF8) == b"[of these]"
    assert render(b"[%s]", TOP) == b"[<cannot read 0xffffffffffffffff>]"


def test_a_string_without_an_end_is_cut() -> None:
    assert render(b"%s", 0x40FE) == b"x" * 1024 + b"..."
    assert render(b"%.1024s", 0x40FE) == b"x" * 1024


def test_no_byte_is_read_that_a_string_may_not_have() -> None:
    """Nor over the end of the address space."""
    asked: list[tuple[int, int]] = []

    def memory(gva: int, length: int) -> bytes:
        asked.append((gva, length))
        if gva > TOP:
            raise MemoryFault("there is no such address")
        return b"x" * length

    assert Format.parse(b"%.5s").render([0x10FE], memory) == b"xxxxx"
    assert asked == [(0x10FE, 2), (0x1100, 3)]
    assert Format.parse(b"%s").render([TOP], memory).startswith(b"x<cannot read")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (rb"\q", r"unknown escape \\q"),
        (b"tail \\", r"unknown escape"),
        (b"\\\n", r"unknown escape \\\\n$"),
        (rb"\x", r"unknown escape \\x"),
        (b"50%", "begins no conversion; write %% to print one"),
        (b"%5%", "begins no conversion"),
        (b"%*d", "begins no conversion"),
        (rb"%-\n", "begins no conversion"),
        (b"%n", "unknown conversion %n; known are %d"),
        (b"%ls", "unknown conversion %ls"),
        (b"%lc", "unknown conversion %lc"),
        (b"%hp", "unknown conversion %hp"),
        (b"%Ld", "unknown conversion %Ld"),
        (b"%V", "unknown conversion %V"),
        (b"%1025d", "%1025d asks for more than 1024 characters"),
        (b"%.1025s", "asks for more than 1024 characters"),
        (b"%" + b"9" * 100 + b"d", "asks for more than 1024 characters"),
        (b"%" + b"9" * 5000 + b"d", "asks for more than 1024 characters"),
        (b"%." + b"0" * 5000 + b"9999s", "asks for more than 1024 characters"),
    ],
)
def test_formats_that_are_refused(source: bytes, complaint: str) -> None:
    with pytest.raises(AgentError, match=complaint):
        Format.parse(source)


@given(st.binary(max_size=40) | st.text("%\\diuxXocpsfhlz0123.-#", max_size=40).map(str.encode))
def test_whatever_the_format_it_is_refused_or_printed(source: bytes) -> None:
    try:
        format_ = Format.parse(source)
    except AgentError:
        return
    format_.render([0x1000] * format_.arguments, TEXT.memory)
