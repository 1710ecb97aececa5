import itertools
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.protocol.session import Session
from gdbstub.target import Exited, Signal, Stopped, StopReason
from tests.pure.fake_target import BASE, HERE, FakeTarget
from tests.pure.transcript import Stage, conversation


def slow(**attributes: object) -> FakeTarget:
    """A target that stops only when told."""
    return FakeTarget(lively=False, **attributes)  # type: ignore[arg-type]


def frames(data: bytes) -> list[bytes]:
    """The first three characters of every packet in *data*."""
    return [e.data[:3] for e in rsp.Connection().receive(data) if isinstance(e, rsp.Packet)]


def test_acknowledgements_until_they_are_given_up() -> None:
    stage = Stage(acks=True)
    assert stage.feed(b"+$qC#b4") == b"+$QC1#c5"
    assert stage.feed(b"-") == b"$QC1#c5"
    assert stage.feed(b"$qC#00") == b"-"
    assert stage.feed(b"+") == b""
    assert stage.feed(b"$QStartNoAckMode#b0") == b"+$OK#9a"
    assert stage.feed(b"+") == b""
    assert stage.feed(b"-") == b""
    assert stage.feed(b"$qC#00") == b""
    assert stage.feed(b"$qC#b4") == b"$QC1#c5"
    assert stage.said() == [
        *("<- +", "<- $qC", "-> +", "-> $QC1", "<- -", "-> $QC1#c5", "<- (bad checksum)", "-> -"),
        *("<- +", "<- $QStartNoAckMode", "-> +", "-> $OK", "<- +", "<- -", "<- (bad checksum)"),
        *("<- $qC", "-> $QC1"),
    ]


def test_giving_up_acknowledgements_holds_for_what_follows_at_once() -> None:
    assert Stage(acks=True).feed(b"$QStartNoAckMode#b0$qC#b4") == b"+$OK#9a$QC1#c5"


def test_break_step_interrupt() -> None:
    target = FakeTarget()
    target.memory[0x100:0x104] = HERE.to_bytes(4, "little")
    conversation(
        """
        <- $Z0,40000020,4
        -> $OK
        <- $vCont;c:1
        -> $T05thread:1;
        <- $z0,40000020,4
        -> $OK
        <- $vCont;s:1
        -> $T05thread:1;
        <- $p20
        -> $2400004000000000
        <- $vCont;c
        <- ^C
        -> $T02thread:1;
        <- ^C
        <- $?
        -> $T02thread:1;
        <- $?
        -> $T02thread:1;
        """,
        target,
    )
    assert target.calls.count("interrupt") == 1


def test_one_stop_reply_a_resume() -> None:
    target = slow()
    stage = Stage(target)
    assert stage.send(b"c") == b""
    assert stage.session.target_stopped() == b""  # a notify with nothing to say
    assert stage.feed(b"\x03\x03") == b""
    target.stop(Stopped(2, Signal.INT))
    assert frames(stage.session.target_stopped()) == [b"T02"]
    assert stage.session.target_stopped() == b""
    assert stage.feed(b"\x03") == b""
    assert target.calls.count("interrupt") == 2
    # A stop that nobody waits for is not told.
    target.stop(Stopped(1, stop=StopReason.SWBREAK))
    assert stage.session.target_stopped() == b""


def test_an_interrupt_in_the_same_breath_as_a_resume() -> None:
    stage = Stage(target := FakeTarget())
    target.memory[:4] = HERE.to_bytes(4, "little")
    assert frames(stage.feed(rsp.encode(b"vCont;c") + b"\x03")) == [b"T02"]


def test_packets_wait_while_the_target_runs() -> None:
    target = slow()
    stage = Stage(target)
    assert stage.feed(rsp.encode(b"c") + rsp.encode(b"qC") + rsp.encode(b"c")) == b""
    assert stage.send(b"p0") == b""
    target.stop(Stopped(2))
    assert frames(stage.session.target_stopped()) == [b"T05", b"QC2"]
    assert target.running
    target.stop(Stopped(1))
    assert frames(stage.session.target_stopped()) == [b"T05", b"000"]
    assert not target.running


def test_an_interrupt_behind_a_waiting_resume_stops_that_too() -> None:
    target = slow()
    stage = Stage(target)
    stage.feed(rsp.encode(b"c") + rsp.encode(b"c") + b"\x03")
    assert target.calls.count("interrupt") == 1
    target.stop(Stopped(1, Signal.INT))
    assert frames(stage.session.target_stopped()) == [b"T02"]
    assert target.calls.count("interrupt") == 2


def test_acknowledgements_do_not_wait() -> None:
    stage = Stage(slow(), acks=True)
    assert stage.feed(rsp.encode(b"c") + rsp.encode(b"?")) == b"++"


@pytest.mark.parametrize("flood", [rsp.encode(b"qC") * 2000, rsp.encode(b"X0,1:" * 20000) * 6])
def test_a_client_that_sends_far_ahead_is_let_go(flood: bytes) -> None:
    target = slow()
    stage = Stage(target)
    stage.send(b"c")
    stage.feed(flood)
    assert stage.session.over
    assert target.calls[-1] == "release"


def test_connecting_to_a_running_target_halts_it() -> None:
    target = slow(running=True)
    stage = Stage(target, acks=True)
    assert target.calls == ["interrupt"]
    assert stage.feed(rsp.encode(b"qSupported") + rsp.encode(b"?")) == b"++"
    assert stage.session.target_stopped() == b""  # something, but it runs on
    target.stop(Stopped(2, Signal.INT))
    assert frames(stage.session.target_stopped()) == [b"Pac", b"T02"]


def test_a_guest_that_has_ended() -> None:
    target = FakeTarget()
    target.last = Exited(3)
    stage = Stage(target)
    stage.play("<- $?\n-> $W03")
    assert stage.session.over
    assert stage.session.guest_gone


def test_a_guest_that_ends() -> None:
    target = slow()
    stage = Stage(target)
    stage.send(b"c")
    target.stop(Exited())
    assert stage.session.target_stopped() == b"$W00#b7"
    assert stage.session.over
    assert stage.session.guest_gone
    assert stage.feed(rsp.encode(b"qC")) == b""


def test_detaching() -> None:
    stage = conversation("<- $D\n-> $OK")
    assert stage.session.over
    assert not stage.session.guest_gone
    stage.session.close()
    assert stage.target.calls == ["detach"]
    assert conversation("<- $D;1\n-> $OK").target.calls == ["detach"]


@pytest.mark.parametrize("running", [False, True])
def test_killing(running: bool) -> None:
    target = slow()
    stage = Stage(target)
    if running:
        stage.send(b"c")
    # GDB says k too, to nobody.
    assert stage.feed(rsp.encode(b"vKill;a410") + rsp.encode(b"k")) == b"$OK#9a"
    assert stage.session.over
    assert stage.session.guest_gone
    stage.session.close()
    assert target.calls[-1] == "kill"


@pytest.mark.parametrize("running", [False, True])
def test_quitting_as_lldb_does(running: bool) -> None:
    target = slow()
    stage = Stage(target)
    if running:
        stage.send(b"c")
    assert stage.feed(rsp.encode(b"k") + rsp.encode(b"qC")) == b""
    assert stage.session.over
    assert not stage.session.guest_gone
    stage.session.close()
    assert target.calls[-1] == "detach"


@pytest.mark.parametrize("said", [b"k", b"D", b""])
def test_a_guest_that_must_not_outlive_its_client(said: bytes) -> None:
    stage = Stage(target := slow(), kill_on_disconnect=True)
    stage.send(b"c")
    target.stop(Stopped(1))
    stage.session.target_stopped()
    if said:
        stage.send(said)
    stage.session.close()
    assert stage.session.guest_gone
    assert target.calls[-1] == "kill"
    assert target.calls.count("kill") == 1


def test_a_client_that_vanishes() -> None:
    target = slow()
    stage = Stage(target)
    stage.send(b"c")
    stage.session.close()
    stage.session.close()
    assert target.calls.count("release") == 1
    target.stop(Stopped(1))
    assert stage.session.target_stopped() == b""


def test_a_resume_that_fails_is_answered() -> None:
    target = slow()
    stage = Stage(target)
    target.trouble = ZeroDivisionError()
    stage.play("<- $c\n-> $E05\n<- $c")
    assert target.running


def test_a_stop_that_cannot_be_told_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    target = slow()
    stage = Stage(target)
    stage.send(b"c")
    target.stop(Stopped(1))
    target.trouble = ZeroDivisionError()
    with caplog.at_level(logging.ERROR):
        assert stage.session.target_stopped() == b"$E05#aa"
    assert stage.send(b"qC") == b"$QC1#c5"


def test_a_target_that_cannot_be_left_or_interrupted(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeTarget):
        def interrupt(self) -> None:
            raise ZeroDivisionError

        def release(self) -> None:
            raise ZeroDivisionError

    session = Session(Broken(running=True))
    session.receive(b"\x03")
    session.close()
    assert caplog.text.count("ZeroDivisionError") >= 3


def test_too_long_a_packet_gets_an_error() -> None:
    stage = Stage()
    assert stage.send(b"X40000000,4:" + b"a" * rsp.PACKET_SIZE) == b"$E16#ac"
    assert stage.send(b"qC") == b"$QC1#c5"
    assert stage.said()[0] == "<- (too long)"


PIECES = st.sampled_from([b"qC", b"c", b"s", b"vCont;s:1", b"Z0,40000020,4", b"m0,1", b"g"])


@given(st.lists(PIECES.map(rsp.encode) | st.just(b"\x03") | st.binary(max_size=5), max_size=12))
def test_whatever_arrives_each_packet_is_answered_once(chunks: list[bytes]) -> None:
    wire = b"".join(chunks)
    target = FakeTarget()
    target.memory[0x100:0x104] = HERE.to_bytes(4, "little")
    stage = Stage(target)
    # The end: whatever frame was begun is over, and nothing runs on.
    wire += b"#00\x03"
    got = frames(b"".join(stage.feed(bytes((byte,))) for byte in wire))
    while target.running:
        got += frames(stage.feed(b"\x03"))
    asked = [e for e in rsp.Connection().receive(wire) if isinstance(e, rsp.Packet)]
    assert len(got) == len(asked)


def test_packets_are_logged_only_when_asked(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    with caplog.at_level(logging.DEBUG, "gdbstub.protocol.session"):
        stage.feed(b"\x03")
        stage.send(b"X40000000,1:\x00")
    assert caplog.messages == ["<- ^C", r"<- $X40000000,1:\x00", "-> $OK"]
    with caplog.at_level(logging.INFO, "gdbstub.protocol.session"):
        stage.send(b"qC")
    assert len(caplog.messages) == 3


def test_stopping_at_every_step() -> None:
    stage = Stage()
    for count in itertools.islice(itertools.count(1), 50):
        assert frames(stage.send(b"vCont;s:1")) == [b"T05"]
        assert stage.target.pc() == BASE + 4 * count
