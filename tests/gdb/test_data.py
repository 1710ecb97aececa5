"""Watchpoints, registers and memory."""

import re
from pathlib import Path

from gdbstub.aarch64.registers import SYSTEM
from gdbstub.debug.registers import ClientRegisters
from tests.gdb.conftest import Client


def test_watch_shows_old_and_new_values(gdb: Client) -> None:
    said = gdb("watch watched", "continue", "continue")
    assert re.findall(r"(?:Old|New) value = (\d+)", said) == ["4369", "8738", "8738", "13107"]
    assert "touch () at" in said


def test_rwatch_shows_the_value(gdb: Client) -> None:
    said = gdb("rwatch watched", "tbreak spin", "continue", "continue")
    assert re.search(r"Hardware read watchpoint 1: watched\s+Value = 8738", said)
    assert "spin () at" in said  # one read, two writes: no second hit


def test_awatch_sees_both_ways(gdb: Client) -> None:
    said = gdb("awatch watched", "tbreak spin", *["continue"] * 4)
    hits = said.count("Hardware access (read/write) watchpoint 1: watched\n\n")
    assert hits == 3
    assert re.search(r"Old value = 4369\s+New value = 8738", said)
    assert re.search(r"watched\s+Value = 8738", said)


def test_watch_of_a_local_ends_with_its_frame(gdb: Client) -> None:
    said = gdb("tbreak main", "continue", "watch total", "continue", "continue", "print total")
    assert re.search(r"Old value = \d+\s+New value = 7\b", said)
    assert "New value = 127" in said


def test_watch_of_a_structure_and_its_members(gdb: Client) -> None:
    said = gdb("watch where", "continue")
    assert "Old value = {x = 3, y = 4, name = " in said
    assert "New value = {x = 127, y = 4, name = " in said


def test_a_watched_value_that_is_stored_again_is_no_news(gdb: Client) -> None:
    said = gdb("tbreak touch", "continue", "set var watched = 0x2222", "watch watched", "continue")
    assert re.findall(r"(?:Old|New) value = (\d+)", said) == ["8738", "13107"]


def test_watch_and_breakpoints_together(gdb: Client) -> None:
    said = gdb("watch seen", "break touch", "hbreak spin", "continue", "continue", "continue")
    places = re.findall(r"^(?:Breakpoint \d, |)(touch|spin) \(\) at", said, re.MULTILINE)
    assert places == ["touch", "touch", "spin"]


def test_info_registers_shows_all_but_vectors(gdb: Client) -> None:
    said = gdb("tbreak add", "continue", "info registers", "info registers v0", "print $sp")
    names = re.findall(r"^(\w+)\s+(?:0x|\{)", said, re.MULTILINE)
    core = [*(f"x{n}" for n in range(31)), "sp", "pc", "cpsr", "fpsr", "fpcr", "tpidr"]
    rows = ClientRegisters(gdb.stub.machine).rows
    system = [row.name for row in rows if row.feature == SYSTEM]
    assert names == [*core, *system, "v0"]
    assert re.search(r"^x0\s+0x3\s", said, re.MULTILINE)
    assert re.search(r"cpsr .*EL=1", said)
    assert "<stacks+" in said


def test_registers_are_written(gdb: Client) -> None:
    said = gdb(
        "tbreak add", "continue", "set $x7 = 0x1234567890", "print/x $x7", "set $v3.d.u[1] = 77",
        "print $v3.d.u", "set var a = 30", "finish",
    )  # fmt: skip
    assert "$1 = 0x1234567890" in said
    assert "$2 = {0, 77}" in said
    assert "Value returned is $3 = 34" in said


def test_sp_is_the_stack_pointer_that_pstate_selects(gdb: Client) -> None:
    said = gdb("tbreak add", "continue", "set $old = $cpsr", "set $cpsr = 0x3c4", "print/x $sp",
               "set $cpsr = $old", "print $sp", "finish")  # fmt: skip
    assert "$1 = 0x0" in said
    assert "<stacks+" in said
    assert "Value returned is $3 = 7" in said


def test_an_illegal_pstate_is_an_error_in_words(gdb: Client) -> None:
    said = gdb("set $cpsr = 0x3c9", "print/x $cpsr", "info registers cpsr")
    assert "Could not write register" in said
    assert "$1 = 0x3c5" in said or "cpsr           0x3c5" in said


def test_structures_and_arrays_are_printed(gdb: Client) -> None:
    said = gdb("print where", "print numbers", "print where.name", "ptype where", "p &where")
    assert "{x = 3, y = 4, name = 0x" in said
    assert '"here"' in said
    assert "{10, 20, 30, 40}" in said


def test_memory_is_written_and_read_back(gdb: Client) -> None:
    said = gdb(
        "set var where.y = -5", "print where.y",
        "set {long}&watched = 0x7766554433221100", "x/8xb &watched",
    )  # fmt: skip
    assert "$1 = -5" in said
    assert re.search(r"0x00\s+0x11\s+0x22\s+0x33\s+0x44\s+0x55\s+0x66\s+0x77", said)


def test_blocks_of_every_byte_value_go_both_ways(gdb: Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * 200 + b"}}$$##**"
    (tmp_path / "in").write_bytes(data)
    gdb(
        f"restore {tmp_path}/in binary 0x40100003",
        f"dump binary memory {tmp_path}/out 0x40100003 {0x40100003 + len(data)}",
    )
    assert (tmp_path / "out").read_bytes() == data


def test_memory_that_is_not_there_is_an_error(gdb: Client) -> None:
    said = gdb("x/x 0x9000000", "x/x 0x40200000", "x/x 0x401ffffc", "set var *(int *)8 = 1")
    assert "Cannot access memory at address 0x9000000" in said
    assert "Cannot access memory at address 0x40200000" in said
    assert re.search(r"0x401ffffc:\s+0x00000000", said)
    assert "Cannot access memory at address 0x8" in said


def test_find_searches_on_our_side(gdb: Client) -> None:
    said = gdb(
        "set debug remote 1", "find 0x40000000, +0x200000, 'h', 'e', 'r', 'e', (char)0",
        "find /w1 0x40000000, +0x200000, 0x12345677", "set debug remote 0", "x/s $_",
    )  # fmt: skip
    assert len(re.findall(r"Sending packet: \$qSearch:memory:40\w+;200000;", said)) == 2
    assert "Packet received: 1,40" in said
    assert "Pattern not found" in said
    assert '"here"' in said


def test_find_ends_where_memory_does(gdb: Client) -> None:
    """GDB makes no difference between what is not there and what cannot be searched."""
    said = gdb(
        "set var *(int *)0x401ffffc = 0x12345677", "set debug remote 1",
        "find /w 0x401ff000, +0x2000, 0x12345677", "find /w 0x401ff000, +0x2000, 0x12345678",
    )  # fmt: skip
    assert "Packet received: 1,401ffffc" in said
    assert re.search(r"Packet received: E(0e|\.no )", said), said
    assert "Pattern not found" in said


def test_sections_are_compared_on_our_side_with_breakpoints_in_them(gdb: Client) -> None:
    said = gdb("break main", "break add", "continue", "set debug remote 1", "compare-sections")
    assert "$qCRC:40000000," in said
    assert "Section .text" in said
    assert "MIS-MATCHED" not in said.partition(".data")[0]


def test_physical_addresses_as_qemu_has_them(gdb: Client) -> None:
    said = gdb(
        "maintenance packet qqemu.PhyMemMode", "maintenance packet Qqemu.PhyMemMode:1",
        "maintenance packet qqemu.PhyMemMode", "break add", "x/s 0x9000000", "continue",
        "x/i $pc", "maintenance packet Qqemu.PhyMemMode:0", "print a",
    )  # fmt: skip
    assert re.findall(r'received: "(.*)"', said) == ["0", "OK", "1", "OK"]
    assert "Cannot access memory at address 0x9000000" in said
    assert "Breakpoint 1, add (a=3, b=4)" in said
