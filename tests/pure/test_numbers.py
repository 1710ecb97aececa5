"""Numbers that people write: digits of ASCII, and nothing else that Python would take."""

import pytest

from gdbstub.errors import InputError
from gdbstub.foreign.process import choose
from gdbstub.foreign.slots import parse_ram
from gdbstub.linux.hmp import parse_format
from gdbstub.monitor import arguments
from gdbstub.numbers import parse_float, parse_integer, parse_number
from gdbstub.pytest_plugin.settings import _seconds
from gdbstub.vmm.image import parse_load
from gdbstub.vmm.seed import parse_seed

#: Texts of which ``int(text, 0)`` or ``int(text)`` makes a number.
ODD = ("٣", "１", "1_0", "+1", " 1", "1 ", "1\n", "-0", "0b1", "0o7", "0x1_0", "0x１")
BEYOND = (str(1 << 64), hex(1 << 64), "9" * 5000, "0x" + "f" * 5000)
NONE = ("", "0x", "x1", "007", "-1", "1.0", "١٢", "²", "\0")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("00", 0), ("10", 10), ("0x10", 16), ("0X0fF", 255), ("0x" + "0" * 99, 0)),
        *((str((1 << 64) - 1), (1 << 64) - 1), (hex((1 << 64) - 1), (1 << 64) - 1)),
        *((text, None) for text in (*ODD, *BEYOND, *NONE)),
    ],
)
def test_numbers_of_64_bits(text: str, value: int | None) -> None:
    assert parse_number(text) == value


def test_integers() -> None:
    assert [parse_integer(text) for text in ("0", "-1", "007", str(1 << 64))] == [0, -1, 7, 1 << 64]
    for text in (*ODD, "", "-", "--1", "1.0", "0x1", "9" * 5000, "²"):
        if text != "-0":
            with pytest.raises(ValueError, match="is not a valid integer"):
                parse_integer(text)


def test_floats() -> None:
    assert [parse_float(text) for text in ("1", "-1.5", ".5", "1e3")] == [1, -1.5, 0.5, 1000]
    for text in (*ODD, "", "1,5", "1 e3", "٣.5"):
        if text not in ("-0", "0b1"):
            with pytest.raises(ValueError, match="is not a valid float"):
                parse_float(text)


@pytest.mark.parametrize("text", ["9" * 5000, str(1 << 64), "٣", "1_0", "+1", " 1"])
def test_a_process_that_no_number_names(text: str) -> None:
    with pytest.raises(InputError, match="no process with a VM is named"):
        choose(text)


class NoRegisters:
    """A machine without registers."""

    def register(self, name: str) -> int:
        raise InputError(name)


@pytest.mark.parametrize("text", [*ODD, *BEYOND, *NONE])
def test_whatever_takes_a_number_refuses_what_is_none(text: str) -> None:
    registers = NoRegisters()
    for parse in (arguments.address, arguments.length, arguments.pid):
        with pytest.raises(InputError, match="expected"):
            parse(text, registers)
    for read in (parse_seed, parse_load):
        with pytest.raises(InputError, match="expected"):
            read(text)
    for ram in (f"{text}=4K@0", f"0={text}K@0", f"0=4K@{text}"):
        with pytest.raises(InputError, match="expected"):
            parse_ram(ram)


@pytest.mark.parametrize(
    "text",
    ["0xfffffffffffff000=8K@0", "0=8K@0xfffffffffffff000", "0=16777217T@0"],
)
def test_ram_that_would_end_above_64_bits(text: str) -> None:
    with pytest.raises(InputError, match="ends above 64 bits"):
        parse_ram(text)


def test_other_scripts_digits_in_a_format_and_a_time() -> None:
    with pytest.raises(InputError, match="is no format"):
        parse_format("/٣xg")
    with pytest.raises(InputError, match="expected a number of seconds"):
        _seconds("٣")
