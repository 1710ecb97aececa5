"""Extended mode: what a client can do when it has left the guest, or when that is gone."""

import pytest

from gdbstub.capabilities import Restartable
from gdbstub.errors import MachineError
from gdbstub.protocol.packets.registry import PACKETS, find
from gdbstub.target import Action, Exited, Resume, Signal, Stopped
from tests.pure.fake_target import BASE, HERE, FakeTarget
from tests.pure.transcript import Stage, conversation

ANEW = """
    <- $vRun;
    -> $T05thread:1;
    <- $qfThreadInfo
    -> $m1,2
    <- $m40000000,4
    -> $1f2003d5
    """


def spinning() -> FakeTarget:
    target = FakeTarget()
    target.memory[:4] = HERE.to_bytes(4, "little")
    return target


def test_kill_and_run() -> None:
    stage = conversation(
        """
        <- $!
        -> $OK
        <- $Z0,40000010,4
        -> $OK
        <- $c
        -> $T05thread:1;
        <- $vKill;a410
        -> $OK
        <- $k
        <- $?
        -> $W00
        <- $qfThreadInfo
        -> $m
        <- $qXfer:threads:read::0,fff
        -> $l<threads>\\x0a</threads>\\x0a
        <- $m40000000,4
        -> $E03
        <- $c
        -> $E03
        <- $vAttach;1
        -> $E03
        """
    )
    assert stage.session.guest_gone
    assert not stage.session.over
    assert stage.target.calls[-1] == "kill"
    stage.play(ANEW)
    assert not stage.session.guest_gone
    assert stage.target.calls[-2:] == ["release", "reset"]
    assert not stage.target.inserted
    assert stage.target.pc() == BASE


def test_without_it_the_conversation_ends_with_the_guest() -> None:
    for packet in (b"vKill;1", b"k", b"D"):
        stage = Stage()
        stage.send(packet)
        assert stage.session.over, packet


def test_run_while_there_is_a_guest_starts_it_over() -> None:
    conversation("<- $!\n-> $OK").play(ANEW)


def test_the_thread_that_begins_anew_is_the_current_one() -> None:
    """GDB without ``vRun`` asks for it behind ``R``; the others may be off then."""
    conversation("<- $!\n-> $OK\n<- $Hg2\n-> $OK\n<- $R0\n<- $qC\n-> $QC1")


def test_run_after_a_kill_while_the_guest_runs() -> None:
    target = spinning()
    stage = conversation("<- $!\n-> $OK\n<- $c\n<- $vKill;1\n-> $OK", target)
    assert not stage.session.over  # nor does anybody expect a stop any more
    stage.play("<- $vRun;\n-> $T05thread:1;")


def test_a_guest_that_powers_off_can_be_started_over() -> None:
    target = spinning()
    stage = conversation("<- $!\n-> $OK\n<- $c", target)
    target.stop(Exited())
    stage.feed(b"")
    assert stage.said() == ["-> $W00"]
    assert not stage.session.over
    stage.play("<- $c\n-> $E03\n<- $R00\n<- $?\n-> $T05thread:1;")


def test_leave_the_guest_and_take_hold_of_it_again() -> None:
    target = spinning()
    stage = conversation(
        """
        <- $!
        -> $OK
        <- $D;1
        -> $OK
        <- $?
        -> $W00
        <- $g
        -> $E03
        <- $qXfer:threads:read::0,fff
        -> $l<threads>\\x0a</threads>\\x0a
        """,
        target,
    )
    assert target.running
    assert not stage.session.over
    stage.play("<- $vAttach;1\n-> $T02thread:1;\n<- $m40000000,4\n-> $00000014")
    assert target.calls == ["detach", "interrupt"]
    stage.play("<- $D\n-> $OK\n<- $vRun;\n-> $T05thread:1;")
    assert target.calls[2:] == ["detach", "interrupt", "release", "reset"]
    stage.session.close()
    assert target.calls[-1] == "release"


@pytest.mark.parametrize("pid", [b"0", b"80000000", b"f" * 16])
def test_a_process_id_has_thirty_one_bits_and_is_not_zero(pid: bytes) -> None:
    stage = Stage()
    stage.send(b"qSupported:multiprocess+;memory-tagging+;error-message+")
    said = stage.send(b"vAttach;" + pid)
    assert said.startswith(b"$E.process id 0x%b: expected one from 1 to 0x7fffffff#" % pid)
    assert stage.send(b"?").startswith(b"$T05thread:p400001.1;")
    assert stage.send(b"vAttach;7fffffff").startswith(b"$T05thread:p7fffffff.1;")


@pytest.mark.parametrize("packet", ["vAttach;0", "vAttach;zz", "vAttach", "vRun;;61", "Rzz"])
def test_a_guest_that_was_left_runs_on_behind_a_packet_that_is_refused(packet: str) -> None:
    target = spinning()
    stage = conversation(f"<- $!\n-> $OK\n<- $D\n-> $OK\n<- ${packet}\n-> $E16", target)
    assert target.calls == ["detach", "interrupt", "detach"]
    assert target.running
    assert not stage.session.over
    assert target.running
    stage.play("<- $vAttach;1\n-> $T02thread:1;")


@pytest.mark.parametrize("packet", ["vAttach;0", "vAttach;zz", "vRun;;61", "Rzz"])
@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_guest_that_was_left_and_has_stopped_by_itself_stays_halted(
    packet: str, moment: str
) -> None:
    """A refused packet does not undo a stop for a panic, say."""
    target = spinning()
    stage = conversation("<- $!\n-> $OK\n<- $D\n-> $OK", target)
    panic = Stopped(2, Signal.ABRT, text="the guest panics")
    if moment == "before":
        target.stop(panic)
        stage.feed(b"")
    else:
        target.interrupt = lambda: target.stop(panic)  # type: ignore[method-assign]
    stage.play(f"<- ${packet}\n-> $E16")
    assert target.calls == ["detach"]
    assert not target.running
    stage.play("<- $vAttach;1\n-> $T06thread:2;")


class NeverAnew(FakeTarget):
    """A target without a reset."""

    def offers(self, capability: type) -> bool:
        return capability is not Restartable


@pytest.mark.parametrize("packet", ["vRun;", "vRun;;61", "R00"])
def test_a_guest_that_was_left_is_not_halted_for_what_it_does_not_offer(packet: str) -> None:
    target = NeverAnew()
    target.memory[:4] = HERE.to_bytes(4, "little")
    conversation(f"<- $!\n-> $OK\n<- $D\n-> $OK\n<- ${packet}\n-> $", target)
    assert target.calls == ["detach"]
    assert target.running


def test_a_guest_that_was_left_alone_ends() -> None:
    target = spinning()
    stage = conversation("<- $!\n-> $OK\n<- $D\n-> $OK", target)
    target.stop(Exited())
    stage.feed(b"")
    assert stage.session.over
    assert stage.session.guest_gone


def test_a_client_goes_that_had_left_the_guest_alone() -> None:
    target = spinning()
    stage = conversation("<- $!\n-> $OK\n<- $D\n-> $OK", target)
    stage.session.close()
    assert target.calls == ["detach"]


def test_kill_on_disconnect_is_obeyed_at_once() -> None:
    stage = Stage(kill_on_disconnect=True)
    stage.play("<- $!\n-> $OK\n<- $D\n-> $OK\n<- $vAttach;1\n-> $E03")
    stage.session.close()
    assert stage.target.calls == ["kill"]
    assert stage.session.guest_gone


def test_a_guest_has_no_arguments() -> None:
    stage = Stage()
    stage.send(b"qSupported:error-message+")
    stage.forget()
    stage.play(
        """
        <- $vRun;2f746d70;61
        -> $E.a guest has no arguments; its command line is the stub's --append
        <- $vRun;2f746d70
        -> $T05thread:1;
        """
    )


def test_who_can_obey_without_a_guest_asks_nothing_of_one() -> None:
    stage = conversation("<- $!\n-> $OK\n<- $vKill;1\n-> $OK")
    stage.target.trouble = AssertionError("the target was asked")
    for name, row in PACKETS.items():
        if row.without_guest and name not in (b"k", b"qSupported", b"qXfer:threads:read:"):
            assert find(name)
            stage.send(name + b"1")
    assert stage.target.trouble


def test_a_resume_needs_a_guest() -> None:
    stage = conversation("<- $!\n-> $OK\n<- $vKill;1\n-> $OK\n<- $vCont;c\n-> $E03")
    assert Resume({1: Action.CONTINUE, 2: Action.CONTINUE}) not in stage.target.calls


def test_a_guest_whose_reset_has_failed_stays_halted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_target: FakeTarget) -> None:
        raise MachineError("no memory")

    monkeypatch.setattr(FakeTarget, "reset", fail)
    target = spinning()
    stage = conversation("<- $!\n-> $OK\n<- $D\n-> $OK", target)
    assert stage.send(b"vRun;").startswith(b"$E")
    assert not target.running
    assert target.calls == ["detach", "interrupt", "release"]
