"""``qRcmd``: what a client gets of a command's text, of an error's, and of the guest's end."""

from dataclasses import dataclass, field

from gdbstub import rsp
from gdbstub.capabilities import Command, Monitor
from gdbstub.errors import InputError
from gdbstub.target import Exited
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import Stage


@dataclass
class Talkative(FakeTarget, Monitor):
    """A target that has commands."""

    says: str = "two\nlines\n"
    heard: list[Command] = field(default_factory=list)
    ends: bool = False

    def monitor(self, command: Command) -> str:
        self._meet_trouble()
        self.heard.append(command)
        if self.ends:
            self.last = Exited()
        return self.says


def _hex(text: str) -> str:
    return text.encode().hex()


def test_a_target_without_commands_has_no_such_packet() -> None:
    Stage().play(f"<- $qRcmd,{_hex('help')}\n-> $")


def test_text_goes_ahead_of_the_reply() -> None:
    target = Talkative()
    stage = Stage(target)
    stage.play(
        f"""
        <- $Hg2
        -> $OK
        <- $qRcmd,{_hex("regs SCTLR_EL1")}
        -> $O{_hex("two")}0a{_hex("lines")}0a
        -> $OK
        <- $qRcmd,
        -> $O{_hex("two")}0a{_hex("lines")}0a
        -> $OK
        <- $qRcmd,6
        -> $E16
        <- $qRcmd
        -> $
        """
    )
    first, second = target.heard
    assert (first.thread, first.line) == (2, "regs SCTLR_EL1")
    assert second.line == ""


def test_no_text_is_no_packet_of_its_own() -> None:
    Stage(Talkative(says="")).play(f"<- $qRcmd,{_hex('x')}\n-> $OK")


def test_long_text_comes_in_packets_that_fit() -> None:
    text = "".join(f"line {n}\n" for n in range(50_000))
    stage = Stage(Talkative(says=text))
    events = list(rsp.Connection().receive(stage.send(b"qRcmd," + _hex("long").encode())))
    packets = [event.data for event in events if isinstance(event, rsp.Packet)]
    assert len(packets) > 5
    assert packets[-1] == b"OK"
    assert all(len(packet) <= rsp.PACKET_SIZE for packet in packets)
    assert bytes.fromhex("".join(p[1:].decode() for p in packets[:-1])).decode() == text


def test_an_errors_text_reaches_every_client() -> None:
    stage = Stage(Talkative())
    stage.target.trouble = InputError("'x' is no address")
    reply = f"-> $O{_hex(chr(39) + 'x' + chr(39) + ' is no address')}0a\n-> $OK"
    stage.play(f"<- $qRcmd,{_hex('walk x')}\n{reply}")
    stage.send(b"qSupported:error-message+")
    stage.forget()
    stage.target.trouble = InputError("'x' is no address")
    stage.play(f"<- $qRcmd,{_hex('walk x')}\n-> $E.'x' is no address")


def test_the_guests_end_ends_the_conversation_after_the_reply() -> None:
    stage = Stage(Talkative(ends=True, says=""))
    stage.play(f"<- $qRcmd,{_hex('quit')}\n-> $OK")
    assert stage.session.over
    assert stage.session.guest_gone


def test_who_asks_is_told() -> None:
    target = Talkative()
    stage = Stage(target)
    stage.send(b"qSupported:swbreak+;xmlRegisters=i386")
    stage.send(b"m40000000,4")
    stage.send(b"m40000000,4")
    stage.send(b"qRcmd,")
    assert target.heard[0].features == {b"swbreak"}
    assert target.heard[0].packets[b"m"].count == 2
    assert target.heard[0].packets[b"m"].nanoseconds > 0
    assert target.heard[0].packets[b"qRcmd,"].count == 1
    assert target.heard[0].stops.count == 0
    stage.send(b"vCont;s:1")
    stage.send(b"vNothing")
    stage.send(b"qRcmd,")
    assert target.heard[1].stops.count == 1
    assert target.heard[1].stops.nanoseconds > 0
    assert target.heard[1].packets[b""].count == 1
