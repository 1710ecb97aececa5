"""Monitor commands: those that would hold the event loop for minutes, and what kaslr says."""

import pytest

from gdbstub import rsp
from gdbstub.capabilities import Relocation
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from tests.fakes.machine import fake_machine
from tests.fakes.test_kernel_moves import KERNEL


def monitor(line: str, program: GuestProgram = NO_PROGRAM) -> bytes:
    """Return the output of a command, with the reply."""
    session = Session(monitored_debugger(fake_machine(b"\x00\x00\x00\x14"), program))
    session.receive(rsp.encode(b"QStartNoAckMode"))
    packets = rsp.Connection().receive(
        session.receive(rsp.encode(b"qRcmd," + line.encode().hex().encode()))
    )
    *shown, reply = [event.data for event in packets if isinstance(event, rsp.Packet)]
    assert reply == b"OK"
    return b"".join(bytes.fromhex(each[1:].decode()) for each in shown)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\w*\w*)*!",
        r"(x+x+)+y",
        r"(a|a)*b",
        r".*.*.*!",
        r"((a?){9}){9}",
        r"(.)\1",
        r"(\w{1,9}){9}",
        "(.|.|.|.|.|.)" * 14 + "@",
        r"(.|\w)" * 5 + "@",
        r"(.|\w)" * 3 + ".*.*@",
        r"(((((.|\w)|_)|\S)|\D)|A)@",
        ".*a|.*b|.|.|.",
        r"(?x)(.|\w) *@",
        r"(?x)(.|\w)#" + "\n*@",
        r"(?P<a>.).*(?P=a)",
        r"(?=.*)(.)",
        r"(.)(?(1)a|b)",
        r"(?:.|\w)@",
        "|".join("a" * 66),
    ],
)
def test_an_expression_that_takes_long_is_refused(pattern: str) -> None:
    assert b"may take long" in monitor(f"regs {pattern}")


@pytest.mark.parametrize(
    "pattern", ["(a|b|c|d)pc", "(x|e)(l|s).*_.*", "a|b|c|d|pc", "^pc$|^sp", "x0|x1|x2|x3|x4|x5"]
)
def test_an_expression_with_few_choices_is_taken(pattern: str) -> None:
    assert b"may take long" not in monitor(f"regs {pattern}")


@pytest.mark.parametrize(
    "pattern",
    [
        "a{4294967295}",
        "a{1,99999999999}",
        "a{" + "9" * 900 + "}",
        "(" * 500 + ")" * 500,
        "[[a]",
        "(",
    ],
)
def test_what_python_cannot_compile_is_no_expression(pattern: str) -> None:
    said = monitor(f"regs {pattern}")
    assert b"is no regular expression: " in said
    assert said.count(b"\n") == 1


@pytest.mark.parametrize(
    ("offset", "where"),
    [
        (0, "where it was linked, at 0x40000000: its command line keeps it there."),
        (0x1_0000, "0x10000 above where it was linked: a trial boot went there."),
    ],
)
def test_the_place_of_a_kernel_that_has_not_started(offset: int, where: str) -> None:
    program = GuestProgram("/boot/vmlinux", KERNEL, Relocation(KERNEL.start, offset))
    assert monitor("kaslr", program).decode() == f"The kernel will be {where}\n"


def test_usual_expressions_are_taken() -> None:
    assert monitor("regs ^vbar.*_el1$").startswith(b"VBAR_EL1")
    assert monitor("regs DBG(BCR|BVR)0_EL1").count(b"\n") == monitor("regs dbgb[cv]r0.").count(
        b"\n"
    )


def test_a_register_is_shown_once() -> None:
    assert monitor("regs pc pc PC ^pc$").count(b"\n") == 1
    assert b"17 names" in monitor("regs" + " pc" * 17)
