"""Packets that are said again: what was remembered of them follows what has changed since."""

from hypothesis import given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.aarch64.registers import PC, X
from gdbstub.target import Action, Range, Resume
from tests.pure.fake_target import FakeTarget
from tests.pure.test_rsp import events
from tests.pure.transcript import Stage

S = Action.STEP


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=6))
def test_a_frame_is_the_same_packet_each_time(bodies: list[bytes]) -> None:
    wires = [rsp.encode(body) for body in bodies]
    assert events(*wires, *wires) == [rsp.Packet(body) for body in bodies * 2]


def test_a_frame_that_is_known_within_another_is_not_taken_for_it() -> None:
    connection = rsp.Connection()
    frame = rsp.encode(b"g")
    assert list(connection.receive(frame)) == [rsp.Packet(b"g")]
    # A '$' begins the frame anew: the first one never had its end.
    assert list(connection.receive(b"$X")) == []
    assert list(connection.receive(frame)) == [rsp.Packet(b"g")]
    assert list(connection.receive(frame + frame)) == [rsp.Packet(b"g")] * 2
    assert list(connection.receive(b"$g#00")) == [rsp.ControlByte.BAD_CHECKSUM]


def test_a_known_frame_goes_on_with_a_packet_that_is_too_long() -> None:
    connection = rsp.Connection()
    frame = rsp.encode(b"g")
    assert list(connection.receive(frame)) == [rsp.Packet(b"g")]
    assert list(connection.receive(b"$" + bytes(2 * rsp.PACKET_SIZE))) == []
    assert list(connection.receive(b"g#67")) == [rsp.ControlByte.OVERSIZED]
    assert list(connection.receive(frame)) == [rsp.Packet(b"g")]


def test_registers_are_those_of_now() -> None:
    stage = Stage(FakeTarget())
    for value in (1, 2, 3):
        data = bytes((value,)) * 8
        stage.target.values[1, X[3]] = data
        assert stage.send(b"p3") == rsp.encode(data.hex().encode())
        assert data.hex().encode() in stage.send(b"g")


def test_the_thread_is_the_one_that_is_current_now() -> None:
    target = FakeTarget()
    target.values[1, PC], target.values[2, PC] = bytes(8), b"\x01" * 8
    stage = Stage(target)
    for _ in range(2):
        for thread, reply in ((b"Hg1", b"00" * 8), (b"Hg2", b"01" * 8)):
            assert stage.send(thread) == rsp.encode(b"OK")
            assert stage.send(b"p20") == rsp.encode(reply)
    assert stage.send(b"p20;thread:1;") == rsp.encode(b"00" * 8)
    assert stage.send(b"p20;thread:2;") == rsp.encode(b"01" * 8)


def test_thread_0_is_the_one_that_is_current_now() -> None:
    target = FakeTarget()
    stage = Stage(target)
    for thread in (1, 2, 1):
        stage.send(b"Hg%d" % thread)
        stage.send(b"vCont;s:0")
        assert target.calls[-1] == Resume({thread: S})


def test_without_a_guest_a_known_packet_is_refused() -> None:
    stage = Stage()
    stage.send(b"!")
    assert stage.send(b"qAttached") == stage.send(b"qAttached")
    assert stage.send(b"g") == stage.send(b"g") != rsp.encode(b"E03")
    assert stage.send(b"D") == rsp.encode(b"OK")
    assert stage.send(b"g") == rsp.encode(b"E03")


def test_what_is_remembered_is_bounded_and_still_right() -> None:
    stage = Stage()
    for _ in range(2):
        for address in range(0x4000_0000, 0x4000_0000 + 600):
            stage.send(b"m%x,1" % address)
        assert stage.send(b"m40000000,1") == rsp.encode(b"1f")
    stage.target.memory[0] = 0x11
    assert stage.send(b"m40000000,1") == rsp.encode(b"11")


def test_more_ranges_than_are_remembered_are_obeyed_each_by_itself() -> None:
    target = FakeTarget()
    stage = Stage(target)
    for end in (*range(1, 300), 1):
        stage.send(b"vCont;r0,%x:1" % end)
        assert target.calls[-1] == Resume({1: Range(0, end)})
