"""Coming, looking and going: attach, detach, kill, and a client that dies."""

import signal
import socket

from gdbstub.machine import DebugRegisters
from tests.bounds import HANGS
from tests.gdb.conftest import Client, Serve

NOTHING_ARMED = DebugRegisters()


def test_attach_shows_the_first_instruction_and_symbols(gdb: Client) -> None:
    said = gdb("info symbol $pc", "print $pc", "print main", "info line touch")
    assert "_start in section .text" in said
    assert "(void (*)()) 0x40000000 <_start>" in said
    assert "<main>" in said
    assert "guest.c" in said


def test_gdb_takes_our_target_description(gdb: Client) -> None:
    said = gdb("show architecture", "info registers fpcr", "maint print remote-registers")
    assert "aarch64" in said
    assert "fpcr" in said


def test_threads_are_the_vcpus(serve: Serve) -> None:
    said = serve(vcpus=3)("info threads")
    assert [f'Thread {n} "CPU{n - 1}"' in said for n in (1, 2, 3)] == [True] * 3
    assert "(powered off)" in said


def test_detach_lets_the_guest_run_and_the_next_gdb_finds_it(gdb: Client) -> None:
    said = gdb("break touch", "continue", "detach")
    assert "Breakpoint 1, touch" in said
    gdb.stub.expect("resume")
    assert gdb.text_is_clean
    said = gdb("print watched", "bt", "tbreak *$pc", "continue", "print counter > 0")
    assert "= 13107" in said  # it ran on past the first gdb's breakpoint
    assert "spin () at" in said
    assert "= 1\n" in said


def test_quitting_is_detaching(gdb: Client) -> None:
    gdb("hbreak touch", "continue")
    gdb("tbreak spin", "continue")
    assert gdb.text_is_clean
    assert gdb.stub.machine.armed == NOTHING_ARMED


def test_kill_ends_the_guest_and_the_server(gdb: Client) -> None:
    said = gdb("tbreak main", "continue", "kill")
    assert "killed" in said
    gdb.stub.expect("kill")
    gdb.stub.expect_end()


def test_power_off_is_a_normal_exit(gdb: Client) -> None:
    said = gdb("tbreak spin", "continue", "jump power_off")
    assert "exited normally" in said
    gdb.stub.expect_end()


def test_a_gdb_killed_while_halted_leaves_nothing_behind(gdb: Client) -> None:
    process = gdb.begin(
        "monitor break prefer software", "break touch", "hbreak factorial", "watch watched",
        "continue", "break spin", "continue",
        "shell echo waiting; kill -STOP $PPID",  # the shell's parent is gdb
    )  # fmt: skip
    assert process.stdout
    for line in process.stdout:
        if line.startswith("waiting"):
            break
    assert not gdb.text_is_clean  # else this test shows nothing
    assert gdb.stub.machine.armed != NOTHING_ARMED
    process.kill()
    process.communicate()
    gdb.stub.expect("release")
    assert gdb.text_is_clean
    assert gdb.stub.machine.armed == NOTHING_ARMED
    # Halted stays halted: the next gdb finds it where it was.
    assert "factorial (n=4) at" in gdb("frame")


def test_a_gdb_killed_while_the_guest_runs_leaves_nothing_behind(gdb: Client) -> None:
    process = gdb.begin(
        "monitor break prefer software", "tbreak spin", "continue",
        "break touch", "watch watched", "continue",
    )  # fmt: skip
    gdb.stub.expect("resume")
    assert process.stdout
    for line in process.stdout:
        if "Continuing" in line or "watchpoint" in line:
            break
    gdb.stub.expect("resume")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    gdb.stub.expect("release")
    gdb.stub.expect("resume")  # and it goes on without a debugger
    assert gdb.text_is_clean
    assert gdb.stub.machine.armed == NOTHING_ARMED


def test_a_second_gdb_is_told_why_it_must_wait(gdb: Client) -> None:
    host, port = gdb.stub.remote.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as first:
        first.sendall(b"$?#3f")
        assert first.recv(1) == b"+"
        said, _ = gdb.begin().communicate(timeout=HANGS)
        address, number = first.getsockname()
        assert f"one client is served at a time: {address}:{number} is here" in said
