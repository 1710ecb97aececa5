"""A user's commands in LLDB. The checked output is common to 14 and later."""

import re

from gdbstub.machine import DebugRegisters
from tests.lldb.conftest import Client, Serve

NOTHING_ARMED = DebugRegisters()


def test_attach_shows_the_first_instruction_and_symbols(lldb_client: Client) -> None:
    said = lldb_client("image lookup -a $pc", "target list")
    assert "stop reason = signal SIGTRAP" in said
    assert "0x0000000040000000 guest.elf`_start" in said
    assert "mov    x29, xzr" in said
    assert "Summary: guest.elf`_start" in said
    # What our triple says is no other than what the program says.
    assert re.search(r"arch=aarch64-\S*-\S*, platform=\S+, pid=1, state=stopped", said), said


def test_registers(lldb_client: Client) -> None:
    said = lldb_client(
        "register write x5 0x1234567890abcdef",
        "register write d1 1.5",
        "register read x5 w5 pc sp cpsr fp lr",
        "register read v1 fpsr",
        "p/x $x5 + 1",
    )
    assert "x5 = 0x1234567890abcdef" in said
    assert "pc = 0x0000000040000000  guest.elf`_start" in said or (
        "pc = 0x0000000040000000 guest.elf`_start" in said
    )
    assert "0x1234567890abcdf0" in said
    assert re.search(r"cpsr = 0x0*3c5", said), said


def test_memory_and_variables(lldb_client: Client) -> None:
    said = lldb_client(
        "memory read --format x --size 8 --count 1 &watched",
        "expression watched = 0x55",
        "p/x watched",
        "p where",
        "p numbers",
        "memory write &numbers 7 7 7 7",
        "p numbers[0]",
        "memory read --format s &where.name[0]",
        "memory find --string here -- 0x40000000 0x40001000",
    )
    assert re.search(r"0x40000\w+: 0x0*1111\b", said), said
    assert "0x0000000000000055" in said
    assert re.search(r"x = 3\b.*y = 4\b.*\"here\"", said, re.DOTALL), said
    assert "[2] = 30" in said
    assert str(0x07070707) in said
    assert "data found at location" in said


def test_breakpoints(lldb_client: Client) -> None:
    said = lldb_client(
        "breakpoint set --name factorial",
        "breakpoint set --name spin",
        *["continue"] * 5,
        "bt",
        "breakpoint list 1",
        "frame select 5",
        "frame variable total",
        "breakpoint delete 1",
        "continue",
        "breakpoint list",
    )
    assert [f"factorial(n={n})" in said for n in (5, 4, 3, 2, 1)] == [True] * 5
    assert re.search(r"frame #5: 0x\w+ guest.elf`main at guest.c:\d+", said), said
    assert "hit count = 5" in said
    assert "(int) total = 7" in said
    assert "stop reason = breakpoint 2.1" in said
    assert "guest.elf`spin at guest.c" in said


def test_a_hardware_breakpoint_patches_nothing(lldb_client: Client) -> None:
    session = lldb_client.begin()
    session.type("breakpoint set --hardware --name touch", "continue")
    session.said.wait_for("stop reason = breakpoint 1")
    assert lldb_client.text_is_clean
    assert lldb_client.stub.machine.armed != NOTHING_ARMED
    lldb_client.finish(session)


def test_a_condition(lldb_client: Client) -> None:
    said = lldb_client(
        "breakpoint set --name factorial --condition 'n == 2'", "continue", "frame variable n"
    )
    assert "(int) n = 2" in said


def test_watchpoints(lldb_client: Client) -> None:
    said = lldb_client(
        "breakpoint set --name spin",
        "watchpoint set variable watched",
        "continue",
        "register read pc",
        "continue",
        "watchpoint list",
        "watchpoint delete 1",
        "continue",
    )
    assert re.search(r"old value: 4369\s+new value: 8738", said), said
    assert re.search(r"old value: 8738\s+new value: 13107", said), said
    assert said.count("stop reason = watchpoint 1") == 2
    assert "Number of supported hardware watchpoints: 4" in said
    assert "stop reason = breakpoint 1.1" in said
    assert lldb_client.text_is_clean


def test_a_watchpoint_on_reads(lldb_client: Client) -> None:
    said = lldb_client("watchpoint set expression -w read -- &watched", "continue")
    assert "stop reason = watchpoint 1" in said
    # It has executed the load, which ends the line before or stands in it.
    assert re.search(r"guest.elf`touch at guest.c:6[34]", said), said


def test_steps(lldb_client: Client) -> None:
    said = lldb_client(
        "breakpoint set --name main",
        "continue",
        "thread step-inst",
        "next",
        "step",
        "finish",
        "register read pc",
        "thread step-inst-over",
    )
    for reason in ("instruction step into", "step over", "step in", "step out"):
        assert f"stop reason = {reason}" in said, said
    assert "stop reason = instruction step over" in said
    stepped_in = said.partition("stop reason = step in\n")[2]
    assert re.search(r"^ +frame #0: 0x\w+ guest.elf`factorial\(n=5\)", stepped_in), said
    out = said.partition("stop reason = step out")[2]
    assert re.search(r"frame #0: 0x\w+ guest.elf`main at guest.c", out), said


def test_threads_are_the_vcpus(serve: Serve) -> None:
    said = serve(vcpus=4)(
        "thread list",
        "process plugin packet monitor break prefer software",
        "breakpoint set --name secondary",
        "continue",
        "thread list",
        "bt all",
        "thread select 1",
        "register read pc",
        "thread select 2",
        "next",
    )
    first, _, then = said.partition("stop reason = breakpoint 1.1")
    for n, state in enumerate(("halted", *["powered off"] * 3)):
        assert re.search(rf"thread #{n + 1}: tid = 0x000{n + 1}, .*'CPU{n} \({state}\)'", first)
    assert re.search(r"\* thread #2: tid = 0x0002, .*'CPU1 \(halted\)', stop reason = b", then)
    assert re.search(r"thread #1: tid = 0x0001, .*`hvc\(.*'CPU0 \(halted\)'\n", then)
    assert re.search(r"frame #1: 0x\w+ guest.elf`secondary_start", then), said
    assert "stop reason = step over" in then


def test_detach_lets_the_guest_run_and_the_next_lldb_finds_it(lldb_client: Client) -> None:
    lldb_client("breakpoint set --name touch", "continue", "detach")
    lldb_client.stub.expect("resume")
    assert lldb_client.text_is_clean
    said = lldb_client("p/x watched", "bt", "breakpoint set --address $pc", "continue")
    assert "0x0000000000003333" in said  # it ran on past the first one's breakpoint
    assert "stop reason = signal SIGINT" in said
    assert "guest.elf`spin at guest.c" in said
    assert "stop reason = breakpoint 1.1" in said


def test_quitting_lets_the_guest_run(lldb_client: Client) -> None:
    lldb_client("breakpoint set --name touch", "watchpoint set variable watched", "continue")
    said = lldb_client("p/x watched")
    assert "0x0000000000003333" in said
    assert lldb_client.text_is_clean
    assert lldb_client.stub.machine.armed == NOTHING_ARMED


def test_interrupt(lldb_client: Client) -> None:
    lldb_client("breakpoint set --name spin", "continue")
    session = lldb_client.begin()
    session.said.wait_for("stop reason = signal SIGINT")
    session.type("continue")
    session.wait_until_running()
    session.interrupt()
    session.said.wait_for("(?s)(stop reason = signal SIGINT.*){2}")
    said = lldb_client.finish(session, "bt")
    assert re.search(r"\* frame #0: 0x\w+ guest.elf`spin at", said), said


def test_a_function_of_the_guests_cannot_be_called(lldb_client: Client) -> None:
    said = lldb_client("breakpoint set --name touch", "continue", "expression add(1, 2)")
    assert "error: " in said
    said = lldb_client("register read pc")
    assert "guest.elf`spin" in said  # it went on; nothing was called in its stead


def test_power_off_is_a_normal_exit(lldb_client: Client) -> None:
    said = lldb_client(
        "breakpoint set --name spin",
        "continue",
        "expression $pc = (unsigned long)&power_off",
        "continue",
    )
    assert "exited with status = 0" in said
    lldb_client.stub.expect_end()


def test_memory_regions_and_the_text_of_errors(lldb_client: Client) -> None:
    said = lldb_client(
        "memory region 0x40000000", "memory region 0x10", "process plugin packet send m10,4",
    )  # fmt: skip
    assert "[0x0000000040000000-0x0000000040200000) rwx" in said
    assert "[0x0000000000000000-0x0000000040000000) ---" in said
    text = re.search(r"response: E0e;([0-9a-f]+)", said)
    assert text
    assert "no RAM" in bytes.fromhex(text[1]).decode()


def test_breakpoints_by_one_packet_or_by_one_each(lldb_client: Client) -> None:
    said = lldb_client(
        "breakpoint set --name touch", "breakpoint set --name factorial", "continue", "continue",
        "breakpoint delete --force", "thread backtrace",
    )  # fmt: skip
    assert len(re.findall(r"stop reason = breakpoint", said)) >= 2
    assert lldb_client.text_is_clean
