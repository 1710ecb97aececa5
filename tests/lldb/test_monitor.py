"""``process plugin packet`` in a real LLDB: every monitor command, and packets typed by hand."""

import re

import pytest

from gdbstub.monitor.commands import COMMANDS
from tests.lldb.conftest import Client

#: Each command as it is typed in ``touch``, and what is then said.
TYPED = {
    "help": ("help break list", r"^monitor break list\n\nList breakpoints and watchpoints,"),
    "info": ("info", r"^vCPU 0 +EL1h at 0x400000\w\w, MMU off, current thread$"),
    "walk": ("walk $pc", r"^0x400000\w\w: the MMU is off$"),
    "phys": ("phys $pc", r"^0x400000(\w\w) is physical 0x400000\1, RAM$"),
    "dump": ("dump 0x40000000 4", r"^0x0040000000  \w\w \w\w \w\w \w\w"),
    "regs": ("regs pc cpsr", r"^pc +0x400000\w\w\ncpsr +0x\w+ .*EL=0x1"),
    "break list": (
        "break list",
        r"^break +0x400000\w\w +4 +1 +0 +armed +comparator: writable page$",
    ),
    "break prefer": ("break prefer hardware", r"\(break prefer hardware\)\.$"),
    "step-irqs": ("step-irqs on", r"\(step-irqs on\)\.$"),
    "time": ("time free", r"\(time free\)\.$"),
    "stats": ("stats", r"(?s)^qRcmd, +\d+ +\d.*^caches +hits +misses\n.*^registers +\d+ +\d+$"),
    "kaslr": ("kaslr", r"^Cannot locate the kernel\.$"),
    "xp": ("xp/2xw 0x40000000", r"^0000000040000000: 0x\w{8} 0x\w{8}$"),
    "gva2gpa": ("gva2gpa $pc", r"^gpa: 0x400000\w\w$"),
    "info version": ("info version", r"^kvm-gdbstub \d"),
    "gpa2hva": ("gpa2hva 0x40000000", r"^Memory at address 0x40000000 cannot be had from another"),
    "info kvm": ("info kvm", r"^kvm support: enabled$"),
    "info cpus": ("info cpus", r"^\* CPU #0:$"),
    "info mtree": ("info mtree", r"^  0{8}40000000-\w{16} \(prio 0, ram\): ram$"),
    "info registers": ("info registers -a", r"^CPU#0\n PC=0{8}400000\w\w X00="),
    "dmesg": ("dmesg 5", r"^no vCPU has its MMU on: the kernel has not started yet$"),
    "ps": ("ps", r"^no vCPU has its MMU on: the kernel has not started yet$"),
    "bt": ("bt", r"^no vCPU has its MMU on: the kernel has not started yet$"),
    "modules": ("modules", r"^no vCPU has its MMU on: the kernel has not started yet$"),
    "tasks": ("tasks on", r"^Tasks that no vCPU executes will be threads\. There is none yet: no "),
    "modules lldb": ("modules lldb", r"^no vCPU has its MMU on: the kernel has not started yet$"),
    "process": ("process", r"^Breakpoints in programs stop"),
    "why": ("why", r"^Thread 1 at 0x400000\w\w: a breakpoint\nNo log: no vCPU has its MMU on"),
    "vmcore": ("vmcore ../core", r"^'\.\./core' is no plain file name: expected letters"),
    "reset": ("reset", r"^The guest is at its first instruction again\.$"),
    "quit": ("quit", r"^The guest has ended\.$"),
}


def answers(lldb_client: Client, *lines: str) -> list[str]:
    """Return LLDB's output for each packet that is typed while the guest is halted in ``touch``."""
    said = lldb_client(
        "breakpoint set --name touch",
        "continue",
        *(f"process plugin packet {line}" for line in lines),
    )
    _, *told = re.split(r"^\(lldb\) process plugin packet .*\n", said, flags=re.M)
    return told


def test_every_command(lldb_client: Client) -> None:
    assert TYPED.keys() == {row.name for row in COMMANDS.rows}
    told = answers(lldb_client, *(f"monitor {line}" for line, _ in TYPED.values()))
    for (line, pattern), text in zip(TYPED.values(), told, strict=True):
        assert re.search(pattern, text, re.M), (line, text)
        assert "response: OK" in text
    lldb_client.stub.expect_end()


def test_what_is_not_understood_is_said(lldb_client: Client) -> None:
    nothing, wrong = answers(lldb_client, "monitor rset", "monitor phys nowhere")
    assert "there is no monitor command 'rset'; did you mean 'reset'?" in nothing
    assert "'nowhere' is no address" in wrong


@pytest.mark.parametrize(
    ("packet", "reply"),
    [
        ("qC", "QC1"),
        ("qqemu.PhyMemMode", "0"),
        ("m40000000,0", "E16;" + b"a read of no bytes".hex()),
        ("nonsense", ""),
    ],
)
def test_a_packet_typed_by_hand(lldb_client: Client, packet: str, reply: str) -> None:
    (told,) = answers(lldb_client, f"send {packet}")
    assert f"  packet: {packet}\nresponse: {reply}\n" in told


def test_after_a_reset_lldb_sees_the_start_when_it_has_stepped(lldb_client: Client) -> None:
    said = lldb_client(
        "breakpoint set --name touch",
        "continue",
        "process plugin packet monitor reset",
        "thread step-inst",
        "register read pc",
        "expression watched = 77",
        "continue",
    )
    assert re.search(r"pc = 0x0*40000004\b", said), said
    assert said.count("stop reason = breakpoint 1.1") == 2
