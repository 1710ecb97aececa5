"""The output of ``monitor …`` in a real gdb."""

import re

from tests.gdb.conftest import Client, Serve


def test_help_and_what_is_not_understood(gdb: Client) -> None:
    said = gdb("monitor", "monitor help reset", "monitor rset", "mon time flies")
    assert re.search(r"^step-irqs \[on\|off\] +Let a step", said, re.M), said
    assert "monitor reset\n\nStart the guest over, halted at its first instruction.\n" in said
    assert "there is no monitor command 'rset'; did you mean 'reset'?" in said
    assert "'flies' is not free or still" in said


def test_python_can_take_what_is_said(gdb: Client) -> None:
    said = gdb("python print(len(gdb.execute('monitor help', to_string=True).splitlines()) > 5)")
    assert re.search(r"^True$", said, re.M), said


def test_settings_are_said_and_set(gdb: Client) -> None:
    said = gdb("monitor time", "monitor time free", "mon time", "mon step", "mon step on")
    assert re.findall(r"\(([\w -]+)\)\.$", said, re.M) == [
        "time still", "time free", "time free", "step-irqs off", "step-irqs on",
    ]  # fmt: skip
    assert not gdb.stub.machine.time_stands_still


def test_a_reset_is_seen_when_gdb_is_told_to_look(gdb: Client) -> None:
    said = gdb(
        "break touch", "continue", "set var watched = 77", "monitor reset",
        "maint flush register-cache", "print $pc", "print watched", "continue", "bt 1",
    )  # fmt: skip
    assert "maint flush register-cache" in said
    assert re.search(r"\$1 = .*0x40000000 <", said), said
    assert "$2 = 4369" in said
    assert said.count("Breakpoint 1, touch () at") == 2


def test_quit_ends_the_guest_and_the_session(gdb: Client) -> None:
    said = gdb("monitor quit")
    assert "The guest has ended." in said
    gdb.stub.expect_end()


def test_where_an_address_lies(gdb: Client) -> None:
    said = gdb(
        "monitor phys $pc", "monitor walk 0x40000010", "monitor dump 0x40000000 20",
        "monitor dump 0x401ffff8", "monitor phys 0x9000000", "monitor dump 0x9000000",
        "monitor dump 0x40000000 0x20000", "monitor phys pc",
    )  # fmt: skip
    assert "0x40000000 is physical 0x40000000, RAM\n" in said
    assert re.search(r"^0x40000010: the MMU is off\nphysical 0x40000010, ", said, re.M), said
    first, second = re.findall(r"^0x00400000[01]0  (.{48})  ", said, re.M)
    image = gdb.guest.image[:20].hex(" ")
    assert f"{' '.join(first.split())} {' '.join(second.split())}" == image
    assert "RAM ends at 0x40200000\n" in said
    assert "0x9000000 is physical 0x9000000, no RAM\n" in said
    assert re.search(r"(^|: )no RAM at 0x9000000\b", said, re.M), said
    assert "131072 bytes are too many at once: at most 65536" in said
    assert "'pc' is no address: expected 0x" in said


def test_a_dump_shows_breakpoints_that_are_in_ram(gdb: Client) -> None:
    said = gdb(
        "monitor break prefer software",
        "set breakpoint always-inserted on", "break *0x40000004", "break *0x4000000c", "continue",
        "continue", "monitor dump 0x40000000 16",
    )  # fmt: skip
    assert re.search(r"^0x0040000000  .{11} 20 b7 21 d4", said, re.M), said


def test_a_breakpoint_says_what_serves_it_and_why(gdb: Client) -> None:
    said = gdb(
        "break *0x40000004", "hbreak *0x4000000c", "continue", "monitor break list",
        "monitor break prefer software", "monitor break prefer",
        "continue", "monitor break list", "monitor break prefer none",
    )  # fmt: skip
    assert re.search(r"^break +0x40000004 .* armed  comparator: writable page$", said, re.M), said
    assert re.search(r"^hbreak +0x4000000c .* armed  comparator$", said, re.M), said
    assert said.count("A BRK serves a software breakpoint wherever one may be") == 2
    assert re.search(r"^break +0x40000004 .* armed  BRK at 0x40000004$", said, re.M), said
    assert "'none' is not auto or software or hardware" in said


def test_info_says_what_is_debugged(serve: Serve) -> None:
    said = serve(vcpus=2)("monitor info")
    assert re.search(r"^RAM +2 MiB at 0x40000000$", said, re.M), said
    assert re.search(r"^vCPU 0 +EL1h at 0x40000000, MMU off, current thread$", said, re.M), said
    assert re.search(r"^vCPU 1 +powered off$", said, re.M), said
    assert re.search(r"^slots +6 breakpoints and 4 watchpoints in hardware$", said, re.M), said
    assert re.search(r"^client( +.*\n)*? +.*\bhwbreak\b", said, re.M), said
    assert all(len(line) < 80 for line in said.splitlines()), said


def test_stats_counts_what_was_done(gdb: Client) -> None:
    said = gdb("break touch", "continue", "stepi", "stepi", "monitor stats")
    assert re.search(r"^vCont; +3 +\d+\.\d$", said, re.M), said
    assert re.search(r"^\(stops\) +3 +\d+\.\d$", said, re.M), said
    assert re.search(r"^exits +number\nDebugExit +3$", said, re.M), said


def test_break_list_says_what_is_armed_where(gdb: Client) -> None:
    said = gdb(
        "monitor break list", "monitor break prefer software", "break touch",
        "hbreak spin", "watch watched", "continue", "monitor break list", "delete", "stepi",
        "monitor break list",
    )  # fmt: skip
    assert "No breakpoint, no watchpoint.\n" in said
    first, second = said.split("\nkind ")[1:]
    # GDB has taken them back at the stop; they are in the guest all the same.
    assert re.search(r"^break +(0x4000\w+) +4 +1 +0 +armed +BRK at \1$", first, re.M), first
    assert re.search(r"^hbreak +0x4000\w+ +4 +0 +0 +armed +comparator$", first, re.M), first
    assert re.search(r"^watch +0x4000\w+ +\d+ +0 +0 +armed +comparator$", first, re.M), first
    assert re.search(r"^DBGBCR0_EL1 0x1e7 +DBGBVR0_EL1 0x4000\w+ +DBGBCR\(BAS=0xf", first, re.M)
    assert re.search(r"^DBGWCR0_EL1 0x\w+ +DBGWVR0_EL1 0x4000\w+ +DBGWCR\(BAS=", first, re.M)
    assert re.search(r"^break +0x4000\w+ +4 +1 +0 +out$", second, re.M), second
    assert "watch" not in second.partition("[")[0]
    assert "DBGBCR" not in second


def test_a_watchpoints_hits_are_counted(gdb: Client) -> None:
    said = gdb("watch watched", "continue", "continue", "monitor break list")
    # GDB has stepped over the store without it.
    assert re.search(r"^watch +0x4000\w+ +\d+ +2 +0 +out$", said, re.M), said


def test_regs_shows_fields(gdb: Client) -> None:
    said = gdb(
        "monitor regs sctlr", "mon regs PC cpsr", "mon regs VBAR.* ^esr", "mon regs xq9",
        "mon regs SCTLR_E1 x", "mon regs (", "monitor regs",
    )  # fmt: skip
    assert re.search(r"^SCTLR_EL1  0xc50078  SA SA0 .*SPAN", said, re.M), said
    assert re.search(r"^pc +0x40000000\ncpsr +0x3c5 +SP EL=0x1 F I A D$", said, re.M), said
    assert re.search(r"^VBAR_EL1 +0x0\nESR_EL1 +0x0$", said, re.M), said
    assert "no register's name matches 'SCTLR_E1'; did you mean SCTLR_EL1?" in said
    assert "'(' is no regular expression: " in said
    shown = re.findall(r"^(\w+) +0x", said.rpartition("regular expression")[2], re.M)
    assert shown == [row.name for row in gdb.stub.machine.system_registers]
