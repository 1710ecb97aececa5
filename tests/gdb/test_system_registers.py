"""System registers in gdb, and errors of writes to them."""

import re

from gdbstub.aarch64.registers import SYSTEM
from gdbstub.debug.registers import ClientRegisters
from tests.gdb.conftest import Client


def test_they_are_a_group_of_their_own(gdb: Client) -> None:
    said = gdb("info registers system")
    names = re.findall(r"^(\w+) +0x", said, re.M)
    rows = ClientRegisters(gdb.stub.machine).rows
    assert names == [row.name for row in rows if row.feature == SYSTEM]
    assert {*names} - {row.name for row in gdb.stub.machine.system_registers} == {"VBAR", "SCTLR"}


def test_fields_have_names(gdb: Client) -> None:
    said = gdb("print $SCTLR_EL1", "print $ID_AA64PFR0_EL1", "ptype $TCR_EL1", "p $SPSR_EL1")
    assert re.search(r"\$1 = \[ .*SPAN.* \]", said), said
    assert re.search(r"\$2 = \[ EL0=2 EL1=2 .*\]", said), said
    assert "T1SZ" in said
    # What is no field of its own is none here.
    assert "NZCV" not in said


def test_a_write_is_read_back(gdb: Client) -> None:
    said = gdb(
        "set var $VBAR_EL1 = 0x40001000", "flushregs", "print/x $VBAR_EL1",
        "set var $SCTLR_EL1 = $SCTLR_EL1 | 4", "flushregs", "print $SCTLR_EL1",
        # Of a register with fields GDB takes no value of another size.
        "set var $TCR_EL1 = 0x3519L", "flushregs", "print/x $TCR_EL1",
        "set var $TPIDR_EL1 = 0xffff800012345678", "flushregs", "print $TPIDR_EL1",
    )  # fmt: skip
    assert "$1 = 0x40001000" in said
    assert re.search(r"\$2 = \[ C ", said), said
    assert "$3 = 0x3519" in said
    assert "0xffff800012345678" in said


def test_the_thread_pointer_has_a_name_of_gdbs_own(gdb: Client) -> None:
    said = gdb("set var $tpidr = 0x123456789abc", "flushregs", "print/x (long) $TPIDR_EL0")
    assert "$1 = 0x123456789abc" in said


def test_bits_that_would_not_stick_are_an_error_and_change_nothing(gdb: Client) -> None:
    said = gdb(
        "set var $VBAR_EL1 = 0x40001000", "set var $VBAR_EL1 = 0x40002001", "print/x $VBAR_EL1"
    )
    assert "Could not write register" in said
    assert "$1 = 0x40001000" in said


def test_what_identifies_the_cpu_is_not_written(gdb: Client) -> None:
    said = gdb("set $old = $MIDR_EL1", "set var $MIDR_EL1 = 1", "print $MIDR_EL1 == $old")
    assert "Could not write register" in said
    assert "$1 = 1" in said


def test_a_call_of_the_guests_function_leaves_them_alone(gdb: Client) -> None:
    said = gdb(
        "tbreak add", "continue", "finish", "set var $TPIDR_EL0 = 0x1234", "print add(3, 4)",
        "flushregs", "print/x $TPIDR_EL0",
    )  # fmt: skip
    assert "= 7" in said
    assert "= 0x1234" in said
