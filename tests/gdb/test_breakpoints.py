"""Breakpoints and stepping, as a person at gdb's prompt uses them."""

import re

from tests.gdb.conftest import Client

BRK = re.compile(r"\bbrk\b")


def test_break_stops_and_bt_shows_the_callers(gdb: Client) -> None:
    said = gdb("break add", "continue", "bt", "info args")
    assert "Breakpoint 1, add (a=3, b=4)" in said
    assert re.search(r"#1 .* in main \(\) at", said)


def test_a_breakpoint_hits_each_time(gdb: Client) -> None:
    said = gdb("break factorial", *["continue"] * 5, "bt", "info breakpoints")
    assert [f"Breakpoint 1, factorial (n={n})" in said for n in (5, 4, 3, 2, 1)] == [True] * 5
    assert re.search(r"#5 .* in main \(\) at", said)
    assert "already hit 5 times" in said


def test_tbreak_hits_once(gdb: Client) -> None:
    said = gdb("tbreak factorial", "continue", "break touch", "continue", "info breakpoints")
    assert "Temporary breakpoint 1, factorial (n=5)" in said
    assert "Breakpoint 2, touch ()" in said
    assert "factorial at" not in said.partition("Num ")[2]


def test_hbreak_stops_and_patches_nothing(gdb: Client) -> None:
    said = gdb("hbreak factorial", "continue", "continue", "print n")
    assert "Hardware assisted breakpoint 1" in said
    assert "Breakpoint 1, factorial (n=4)" in said
    assert "$1 = 4" in said
    assert gdb.text_is_clean


def test_a_condition_is_met(gdb: Client) -> None:
    said = gdb("break factorial if n == 2", "continue", "print n")
    assert "Breakpoint 1, factorial (n=2)" in said


def test_too_many_hardware_breakpoints_is_an_error_and_loses_none(gdb: Client) -> None:
    lines = [f"hbreak *(main + {4 * n})" for n in range(1, 7)]
    # Shown by GDB 16 and newer.
    gdb.expected = "Remote failure reply: all 6 hardware breakpoints are in use; delete one first"
    said = gdb("hbreak touch", *lines, "continue", "delete 7", "delete 6", "continue")
    assert re.search(r"(Could not|Cannot) insert hardware breakpoint", said), said
    assert re.search(r"Breakpoint 2, .*main", said)


def test_finish_shows_the_value(gdb: Client) -> None:
    said = gdb("break factorial if n == 5", "continue", "finish")
    assert "Value returned is $1 = 120" in said


def test_next_steps_over_and_step_steps_in(gdb: Client) -> None:
    said = gdb("tbreak main", "continue", "next", "print total", "step", "next", "step")
    assert "$1 = 7" in said
    assert "factorial (n=5)" in said
    assert "factorial (n=4)" in said


def test_next_over_a_call_with_a_breakpoint_in_it_stops_there(gdb: Client) -> None:
    said = gdb("tbreak main", "continue", "break add", "next", "next", "next", "next")
    assert "Breakpoint 2, add (a=3, b=4)" in said
    assert re.search(r"main \(\) at", said.partition("Breakpoint 2,")[2])


def test_stepi_goes_from_instruction_to_instruction(gdb: Client) -> None:
    said = gdb("tbreak add", "continue", *["print/x $pc", "stepi"] * 4, "print/x $pc")
    pcs = [int(match, 16) for match in re.findall(r"\$\d+ = (0x[0-9a-f]+)", said)]
    assert pcs == list(range(pcs[0], pcs[0] + 20, 4))


def test_stepi_from_a_breakpoint_and_onto_one(gdb: Client) -> None:
    said = gdb("break add", "continue", "break *($pc + 4)", "stepi", "print/x $pc")
    at_first = int(re.findall(r"Breakpoint 1 at (0x\w+)", said)[0], 16)
    assert f"$1 = {at_first + 4:#x}" in said
    assert "Breakpoint 2, 0x" in said


def test_advance(gdb: Client) -> None:
    said = gdb("tbreak main", "continue", "advance touch", "bt")
    assert "touch () at" in said
    assert re.search(r"#1 .* in main \(\) at", said)


def test_a_function_is_called_in_the_guest(gdb: Client) -> None:
    said = gdb("tbreak main", "continue", "print add(20, 22)", "print $pc", "next", "print total")
    assert "$1 = 42" in said
    assert "$2 = (void (*)()) 0x" in said
    assert "$3 = 7" in said


def test_return_makes_up_a_value(gdb: Client) -> None:
    said = gdb("break factorial", "continue", "return 9", "next", "print total")
    assert "$1 = 16" in said


def test_no_brk_is_seen_where_breakpoints_are(gdb: Client) -> None:
    said = gdb("break main", "break add", "continue", "break *($pc + 8)", "stepi",
               "x/8i $pc - 8", "disassemble add", "disassemble main")  # fmt: skip
    assert "Dump of assembler code for function add" in said
    assert not BRK.search(said)
    said = gdb("info breakpoints", "compare-sections .text")
    assert "matched" in said


def test_a_breakpoint_survives_a_write_over_it(gdb: Client) -> None:
    """Memory written over a breakpoint changes the word beneath it."""
    said = gdb(
        "break *add", "tbreak main", "continue", "set $word = *(unsigned *)add",
        "set var *(unsigned *)add = 0xd503201f", "x/i add",
        "set var *(unsigned *)add = $word", "continue", "finish",
    )  # fmt: skip
    assert re.search(r"<add>:\s+nop", said)
    assert "Breakpoint 1, add (" in said
    assert "Value returned is $1 = 7" in said
