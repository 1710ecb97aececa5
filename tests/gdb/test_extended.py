"""``target extended-remote``: gdb outlives the guest, leaves it and comes back."""

import re

import pytest

from gdbstub.machine import DebugRegisters
from tests.gdb.conftest import Client

NOTHING_ARMED = DebugRegisters()


@pytest.fixture
def extended(gdb: Client) -> Client:
    gdb.target = "extended-remote"
    return gdb


def test_kill_and_start_over(extended: Client) -> None:
    said = extended(
        "break touch", "continue", "print watched", "kill", "info threads",
        "starti", "print $pc", "print watched", "continue", "bt", "run", "print watched",
    )  # fmt: skip
    assert "[Inferior 1 (Remote target) killed]\nNo threads." in said
    assert "$2 = (void (*)()) 0x40000000 <_start>" in said
    assert said.count("Breakpoint 1, touch ()") == 3
    assert "in main ()" in said
    # Data are as they were at the start, each time.
    for number in (1, 3, 4):
        assert f"${number} = 4369" in said
    assert extended.text_is_clean


def test_breakpoints_that_gdb_keeps_inserted_end_with_the_guest(extended: Client) -> None:
    said = extended(
        "set breakpoint always-inserted on", "break touch", "hbreak factorial", "continue",
        "kill", "delete", "break spin", "run", "print watched",
    )  # fmt: skip
    # Its guess of what is inserted is ours: nothing stops for a breakpoint that is gone.
    assert "Breakpoint 3, spin ()" in said
    assert "SIGTRAP" not in said
    assert extended.stub.machine.armed == NOTHING_ARMED


def test_a_guest_that_has_powered_off_is_started_over(extended: Client) -> None:
    said = extended("tbreak spin", "continue", "jump power_off", "tbreak touch", "run", "bt")
    assert "exited normally" in said
    assert "Temporary breakpoint 2, touch ()" in said


def test_leave_the_guest_and_come_back(extended: Client) -> None:
    said = extended(
        "tbreak spin", "continue", "detach", "info threads", "attach 1", "info threads", "bt",
        "kill",
    )  # fmt: skip
    assert "detached]\nNo threads." in said
    # GDB from 12 on now calls the guest by the number that it attached to.
    assert re.search(r'Thread (1\.)?1 "CPU0"', said)
    assert "spin () at" in said
    extended.stub.expect_end()  # no client and no guest


def test_quitting_is_detaching_here_too(extended: Client) -> None:
    extended("tbreak touch", "run")
    extended.target = "remote"
    extended("tbreak spin", "continue")
    assert extended.text_is_clean
