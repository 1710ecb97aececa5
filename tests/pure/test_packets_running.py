"""Setting threads going, and what is said when they stop, as conversations."""

import pytest

from gdbstub import rsp
from gdbstub.aarch64.registers import EXPEDITED, PC, X
from gdbstub.target import Action, Range, Resume, Signal, Stopped, StopReason
from tests.pure.fake_target import BASE, FakeTarget
from tests.pure.transcript import Stage, conversation

C, S = Action.CONTINUE, Action.STEP
KERNEL = 0xFFFF_8000_0800_0000


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("vCont;c", {1: C, 2: C, 3: C}),
        ("vCont;s:1", {1: S}),
        ("vCont;s:2;c", {1: C, 2: S, 3: C}),
        ("vCont;s:02;c:-1", {1: C, 2: S, 3: C}),
        ("vCont;c;s:2", {1: C, 2: C, 3: C}),  # the leftmost counts
        ("vCont;t:2;c", {1: C, 3: C}),
        ("vCont;C05:1;S0b:3", {1: C, 3: S}),
        ("vCont;s:p1.3;c:p1.-1", {1: C, 2: C, 3: S}),
        ("vCont;s:pa.3;c:p1", {1: C, 2: C, 3: S}),
        ("vCont;s:0", {1: S}),
        ("vCont;r1000,1a:2;c:1", {2: Range(0x1000, 0x1A), 1: C}),
        ("vCont;rffff800008000000,0000ffff800008000010:1", {1: Range(KERNEL, KERNEL + 16)}),
        ("c", {1: C, 2: C, 3: C}),
        ("s", {1: S, 2: C, 3: C}),
        ("C05", {1: C, 2: C, 3: C}),
        ("S0b", {1: S, 2: C, 3: C}),
    ],
)
def test_resuming(said: str, meant: dict[int, Action | Range]) -> None:
    target = FakeTarget(cpus=3, lively=False)
    assert Stage(target).send(said.encode()) == b""
    assert target.calls == [Resume(meant)]


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("vCont;", "E16"),
        ("vCont;x", "E16"),
        ("vCont;c;", "E16"),
        ("vCont;t", "E16"),
        ("vCont;C", "E16"),
        ("vCont;r", "E16"),
        ("vCont;r1", "E16"),
        ("vCont;r1,:1", "E16"),
        ("vCont;r1,2,3:1", "E16"),
        ("vCont;r1,11111111111111111:1", "E16"),
        ("vCont;c05", "E16"),
        ("vCont;C5", "E16"),
        ("vCont;s:", "E16"),
        ("vCont;s:p1.", "E16"),
        ("vCont;s:1.1", "E16"),
        ("vCont;s:9", "E03"),
        ("cxyz", "E16"),
        ("C", "E16"),
        ("C05;", "E16"),
    ],
)
def test_resuming_nonsense(said: str, reply: str) -> None:
    target = FakeTarget(cpus=3)
    assert Stage(target).send(said.encode()) == rsp.encode(reply.encode())
    assert target.calls == []


def test_resuming_from_an_address() -> None:
    for said, action in ((b"c40000020", C), (b"s40000020", S), (b"C05;40000020", C)):
        target = FakeTarget(cpus=1, lively=False)
        Stage(target).send(said)
        moved = ("write", 1, PC.name, (0x40000020).to_bytes(8, "little"))
        assert target.calls == [moved, Resume({1: action})]


def test_threads() -> None:
    stage = conversation(
        """
        <- $qC
        -> $QC1
        <- $qfThreadInfo
        -> $m1,2
        <- $qsThreadInfo
        -> $l
        <- $qThreadExtraInfo,2
        -> $435055233120 68616c746564
        <- $T2
        -> $OK
        <- $T3
        -> $E03
        <- $T-1
        -> $E03
        <- $Hg002
        -> $OK
        <- $qC
        -> $QC2
        <- $Hg0
        -> $OK
        <- $qC
        -> $QC2
        <- $Hgp1.1
        -> $OK
        <- $qC
        -> $QC1
        <- $Hg3
        -> $E03
        <- $Hgffffffffff
        -> $E16
        <- $Hg
        -> $E16
        <- $Hc2
        -> $OK
        <- $s
        -> $T05thread:2;
        <- $qC
        -> $QC2
        <- $Hc0
        -> $OK
        """.replace("20 68", "2068")
    )
    assert stage.target.calls == [Resume({2: S})]
    assert stage.target.pc(2) == BASE + 4


def test_registers_are_the_selected_threads() -> None:
    target = FakeTarget()
    target.values[2, X[0]] = b"\x22" * 8
    conversation(
        """
        <- $Hg2
        -> $OK
        <- $p0
        -> $2222222222222222
        <- $Hg1
        -> $OK
        <- $p0
        -> $0000000000000000
        """,
        target,
    )


@pytest.mark.parametrize(
    ("report", "reply"),
    [
        (Stopped(1), "T05thread:1;"),
        (Stopped(2, Signal.INT), "T02thread:2;"),
        (Stopped(1, stop=StopReason.SWBREAK), "T05thread:1;swbreak:;"),
        (Stopped(1, stop=StopReason.HWBREAK), "T05thread:1;hwbreak:;"),
        (
            Stopped(1, stop=StopReason.WATCH, gva=0xFFFF800080001000),
            "T05thread:1;watch:ffff800080001000;",
        ),
        (Stopped(1, stop=StopReason.RWATCH, gva=0x40), "T05thread:1;rwatch:40;"),
        (Stopped(1, stop=StopReason.AWATCH, gva=0x40), "T05thread:1;awatch:40;"),
    ],
)
def test_stop_replies(report: Stopped, reply: str) -> None:
    target = FakeTarget()
    target.last = report
    stage = Stage(target)
    stage.send(b"qSupported:swbreak+;hwbreak+")
    stage.forget()
    stage.play(f"<- $?\n-> ${reply}")
    # A client that did not offer to understand the keys does not get them.
    stage = Stage(target)
    bare = reply.replace("swbreak:;", "").replace("hwbreak:;", "")
    stage.play(f"<- $?\n-> ${bare}")


def test_a_stop_reply_carries_what_a_client_would_ask_for() -> None:
    target = FakeTarget()
    for row in EXPEDITED:
        target.values[2, row] = bytes((row.number,)) * row.size
    target.last = Stopped(2)
    reply = Stage(target).send(b"?")[1:-3]
    parts = [f"{number:02x}:" + f"{number:02x}" * 8 for number in (29, 30, 31, 32)]
    expected = ";".join(["T05thread:2", *parts, "21:21212121", ""])
    assert reply == expected.encode()
