"""The conditions and commands of a breakpoint: how they are read, and what is made of them."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.agent import Clauses, operations
from gdbstub.errors import PacketError
from gdbstub.protocol.packets.clauses import clauses
from tests.pure.agent import StaticContext, assemble, printf

X0_IS_3 = b"X9,260000164022031327"
X0_IS_2 = b"X9,260000164022021327"
SAY_X0 = b"X15,26000016402200220034010007613d25645c6e0027"
SAY_HI = b"Xe,220022003400000568695c6e0027"


def at(x0: int) -> StaticContext:
    return StaticContext({0: x0})


def test_without_any_a_hit_counts_and_nothing_is_printed() -> None:
    assert clauses(b"") == Clauses()
    assert Clauses().hold(at(0))
    assert Clauses().output(at(0)) == b""
    assert not Clauses().commands


def test_one_condition_is_enough() -> None:
    either = clauses(b";" + X0_IS_3 + X0_IS_2)
    assert len(either.conditions) == 2
    assert [either.hold(at(x0)) for x0 in (1, 2, 3)] == [False, True, True]
    assert either.commands == ()


@pytest.mark.parametrize(("persist", "kept"), [(b"0", False), (b"1", True), (b"01", True)])
def test_commands(persist: bytes, kept: bool) -> None:
    said = clauses(b";cmds:" + persist + b"," + SAY_X0 + SAY_HI)
    assert said.persist is kept
    assert said.hold(at(7))
    assert said.output(at(7)) == b"a=7\nhi\n"


def test_conditions_and_commands() -> None:
    both = clauses(b";" + X0_IS_3 + b";cmds:1," + SAY_X0)
    assert (both.hold(at(3)), both.hold(at(2)), both.output(at(3))) == (True, False, b"a=3\n")


def test_capitals_and_leading_zeros() -> None:
    assert clauses(b";X003,2A4027;cmds:1,X0E," + SAY_HI[3:].upper()).commands


@pytest.mark.parametrize(
    "text",
    [
        b";", b";X", b";X3", b";X3,", b";X3,22012", b";X4,220127", b";X2,220127", b";Xg,220127",
        b";X3,22012g", b"X3,220127", b";X3,220127;", b";X3,220127,", b";X3,220127;X3,220127",
        b";cmds:", b";cmds:1", b";cmds:1,", b";cmds:1;X3,220127", b";cmds:,X3,220127",
        b";cmds:1,X3,220127;X3,220127", b";cmd:1,X3,220127", b";X0,\n",
    ],
)  # fmt: skip
def test_malformed(text: bytes) -> None:
    with pytest.raises(PacketError):
        clauses(text)


@given(st.text(";X,cmds:0123abf", max_size=60).map(str.encode) | st.binary(max_size=60))
def test_whatever_is_sent_it_is_read_or_refused(text: bytes) -> None:
    try:
        read = clauses(text)
    except PacketError:
        return
    read.hold(at(0))
    read.output(at(0))


@pytest.mark.parametrize("text", ["const8 0; add; const8 1; equal; end", "float; end", ""])
def test_a_condition_that_is_no_program_is_left_to_the_client(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="gdbstub.agent.clauses"):
        unusable = Clauses.compile([assemble(text)])
    assert unusable.hold(at(0))
    assert "left to the client" in caplog.text


def test_a_condition_that_fails_is_left_to_the_client() -> None:
    pointer = Clauses.compile([assemble("reg 0; ref32; const8 100; equal; end")])
    assert pointer.hold(at(0))
    assert not pointer.hold(StaticContext({0: 0x1000}, {0x1000: bytes(4)}))
    assert Clauses.compile([assemble("goto 0")]).hold(at(0))


def test_a_failing_condition_does_not_hide_behind_a_false_one() -> None:
    false, failing = assemble("const8 0; end"), assemble("const8 8; ref8; end")
    assert Clauses.compile([false, failing]).hold(at(0))
    assert Clauses.compile([failing, false]).hold(at(0))


def test_a_command_that_cannot_be_says_why_and_the_others_run() -> None:
    start, end = assemble("const8 0; const8 0"), assemble("end")
    said = Clauses.compile(
        (),
        [
            start + printf(0, b"a=%d") + end,
            assemble("const8 8; ref8") + start + printf(1, b"%d") + end,
            start + printf(0, b"fine") + end,
        ],
    )
    assert said.output(at(0)) == (
        b"<dprintf: the format takes 1 arguments, given 0>\n<dprintf: nothing at 0x8>\nfine"
    )


def test_all_commands_of_a_hit_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(operations, "thread_time", lambda: next(clock) / 100)
    said = Clauses.compile((), [assemble("goto 0")] * 3).output(at(0))
    assert said == b"<dprintf: what is evaluated takes more than 0.1 s of the processor>\n" * 3
    assert next(clock) < 20, "the second had no time of its own"


def test_what_a_command_printed_before_it_failed_is_kept() -> None:
    code = assemble("const8 0; const8 0") + printf(0, b"so far ") + assemble("const8 8; ref8; end")
    assert Clauses.compile((), [code]).output(at(0)) == b"so far <dprintf: nothing at 0x8>\n"
