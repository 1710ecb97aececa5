"""The packet cache: a packet that is repeated means what it means now, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.aarch64.registers import PC, X
from gdbstub.protocol.packets import PacketCache
from gdbstub.protocol.session import Session
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


def quiet(size: int) -> tuple[Session, PacketCache]:
    """Begin a session that is not logged, has a cache of *size*, and sends no acknowledgements."""
    session = Session(FakeTarget(), cache=(cache := PacketCache(size)))
    assert session.receive(rsp.encode(b"QStartNoAckMode")) == b"+$OK#9a"
    return session, cache


def ask(session: Session, payload: bytes) -> bytes:
    return session.receive(rsp.encode(payload))


def test_hits_are_counted_and_the_packets_too() -> None:
    stage = Stage()
    for _ in range(3):
        stage.send(b"qC")
    assert stage.session._client.cache.hits == 2
    assert stage.session._client.packet_timings[b"qC"].count == 3


def test_a_resume_of_named_threads_is_kept_and_one_of_the_current_thread_is_not() -> None:
    session, cache = quiet(8)
    for packet in (b"vCont;s:2", b"vCont;s:0", b"vCont;c"):
        ask(session, packet)
        session.target_stopped()
        session.receive(b"\x03")
        session.target_stopped()
    resumes = {known.data: known.call for known in cache.packets.values()}
    assert resumes[b"vCont;s:2"]() is resumes[b"vCont;s:2"]() == Resume({2: S})
    assert resumes[b"vCont;s:0"]() is not resumes[b"vCont;s:0"]()


def test_the_cache_is_bounded_can_be_cleared_and_can_be_off() -> None:
    session, cache = quiet(4)
    for address in range(0x4000_0000, 0x4000_0010):
        assert ask(session, b"m%x,1" % address) == ask(session, b"m%x,1" % address)
        assert 0 < len(cache.packets) <= 4
    assert cache.hits == 16
    cache.clear()
    assert not cache.packets
    assert ask(session, b"m40000000,1") == rsp.encode(b"1f")
    session, cache = quiet(0)
    assert ask(session, b"qC") == ask(session, b"qC") == rsp.encode(b"QC1")
    assert not cache.packets
    assert not cache.hits


def test_a_long_packet_is_not_kept() -> None:
    session, cache = quiet(4)
    cache.clear()
    for length in (PacketCache.LONGEST - 4, PacketCache.LONGEST - 3):
        packet = b"qSupported:" + b"a" * (length - len(b"qSupported:"))
        assert ask(session, packet) == ask(session, packet)
    assert [len(arrived) for arrived in cache.packets] == [PacketCache.LONGEST]


PACKETS = st.sampled_from([b"g", b"qC", b"Hg1", b"Hg2", b"p20", b"vCont;s:1", b"vCont;s:0", b"Hcz"])
WIRE = st.one_of(
    PACKETS.map(rsp.encode),
    PACKETS.map(rsp.encode).map(lambda frame: b"+" + frame),
    PACKETS.map(rsp.encode).map(lambda frame: b"$x" + frame),
    st.sampled_from([b"$", b"$g", b"#67", b"$g#00", b"\x03", b"-", b"x", b"$g*", b"$g#67$qC#b4"]),
)


@given(st.lists(WIRE, max_size=30))
def test_a_session_without_the_cache_says_the_same(wire: list[bytes]) -> None:
    (with_cache, _), (without, _) = quiet(8), quiet(0)
    for data in wire:
        assert with_cache.receive(data) == without.receive(data)
        assert with_cache.target_stopped() == without.target_stopped()
        assert with_cache.state is without.state
