"""What each packet does, as conversations in the notation of ``--record``."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub import packets, rsp
from gdbstub.aarch64.registers import CLIENT, CPSR, FPCR, PC, SP, SYSTEM_REGISTERS, V, X
from gdbstub.errors import StubError
from gdbstub.packets.registry import PACKETS, find, packet
from gdbstub.packets.template import Template, thread_id
from gdbstub.target import Action, Kind, Resume, Signal, Stop, Stopped
from tests.pure.fake_target import BASE, FakeTarget
from tests.pure.transcript import Stage, conversation

C, S = Action.CONTINUE, Action.STEP


def test_what_gdb_13_says_first() -> None:
    conversation(
        """
        <- $qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+;xmlRegisters=i386
        -> $PacketSize=20000;hwbreak+;swbreak+;qXfer:features:read+;qXfer:threads:read+;
         QStartNoAckMode+;binary-upload+;vContSupported+
        <- $vMustReplyEmpty
        -> $
        <- $!
        -> $
        <- $Hg0
        -> $OK
        <- $qTStatus
        -> $
        <- $?
        -> $T05thread:1;
        <- $qXfer:threads:read::0,1000
        -> $l<threads>\\x0a<thread id="1" core="0" name="CPU#0">halted</thread>\\x0a
         <thread id="2" core="1" name="CPU#1">halted</thread>\\x0a</threads>\\x0a
        <- $qAttached
        -> $1
        <- $qAttached:a410
        -> $1
        <- $Hc-1
        -> $OK
        <- $qOffsets
        -> $
        <- $qSymbol::
        -> $OK
        <- $vCont?
        -> $vCont;c;C;s;S;t
        <- $qSupported
        -> $PacketSize=20000;hwbreak+;swbreak+;qXfer:features:read+;qXfer:threads:read+;
         QStartNoAckMode+;binary-upload+;vContSupported+
        """
    )


def test_what_is_not_known_gets_an_empty_reply() -> None:
    conversation(
        """
        <- $
        -> $
        <- $qCRC:40000000,4
        -> $
        <- $qC1
        -> $
        <- $g1
        -> $
        <- $Z5,40000000,4
        -> $
        <- $vContinue
        -> $
        <- $vFile:open:2f
        -> $
        <- $qXfer:memory-map:read::0,1000
        -> $
        <- $\\x80\\xff
        -> $
        """
    )


def test_registers() -> None:
    target = FakeTarget()
    target.values[1, V[3]] = bytes(range(16))
    conversation(
        """
        <- $p20
        -> $0000004000000000
        <- $p025
        -> $000102030405060708090a0b0c0d0e0f
        <- $P0=0102030405060708
        -> $OK
        <- $p0
        -> $0102030405060708
        <- $P21=c5030060
        -> $OK
        <- $P21=c503006000000000
        -> $E16
        <- $P21=c503006
        -> $E16
        <- $P21=c50300zz
        -> $E16
        <- $P21
        -> $E16
        <- $p44
        -> $E02
        <- $p10000000000000000
        -> $E16
        <- $P44=00
        -> $E02
        <- $p
        -> $E16
        <- $p-1
        -> $E16
        <- $p0x1
        -> $E16
        """,
        target,
    )
    assert target.values[1, CPSR] == bytes.fromhex("c5030060")


def test_a_system_register_has_its_own_number_and_is_no_part_of_g() -> None:
    target = FakeTarget()
    row = SYSTEM_REGISTERS["VBAR_EL1"]
    target.registers = (*CLIENT, row)
    target.values[1, row] = bytes.fromhex("0018800000800000")
    stage = Stage(target)
    assert len(stage.send(b"g")[1:-3]) == 2 * sum(row.size for row in CLIENT)
    stage.forget()
    stage.play(
        f"""
        <- $p{row.number:x}
        -> $0018800000800000
        <- $P{row.number:x}=0000800000800000
        -> $OK
        <- $p{row.number - 1:x}
        -> $E02
        <- $p44
        -> $E02
        """
    )
    assert target.values[1, row] == bytes.fromhex("0000800000800000")


def test_all_registers_at_once() -> None:
    stage = Stage()
    whole = stage.send(b"g")[1:-3]
    assert len(whole) == 2 * sum(row.size for row in CLIENT)
    changed = b"11" * 8 + whole[16:-8] + b"22222222"
    assert stage.send(b"G" + changed) == b"$OK#9a"
    assert stage.target.calls == [
        ("write", 1, "x0", b"\x11" * 8),
        ("write", 1, "fpcr", b"\x22" * 4),
    ]
    assert stage.send(b"g")[1:-3] == changed
    # A short one ends where a register does.
    assert stage.send(b"G" + b"33" * 16) == b"$OK#9a"
    assert stage.target.values[1, X[1]] == b"\x33" * 8
    for bad in (b"33" * 9, changed + b"00", b"3"):
        assert stage.send(b"G" + bad) == b"$E16#ac"


def test_a_register_that_is_not_there_reads_as_unavailable() -> None:
    target = FakeTarget(lacking={SP, FPCR})
    stage = Stage(target)
    whole = stage.send(b"g")[1:-3]
    assert whole[31 * 16 : 32 * 16] == b"x" * 16
    assert whole[-8:] == b"x" * 8
    assert whole[:16] == b"0" * 16
    assert stage.send(b"p1f") == rsp.encode(b"x" * 16)
    # What a client writes back for it are zeros, and nobody gets them.
    assert stage.send(b"G" + whole.replace(b"x", b"0")) == b"$OK#9a"
    assert target.calls == []
    # A stop is told even so.
    assert stage.send(b"?") == rsp.encode(b"T05thread:1;")


def test_memory() -> None:
    conversation(
        """
        <- $m40000000,4
        -> $1f2003d5
        <- $m0000000040000ffe,8
        -> $03d5
        <- $M40000000,2:BEef
        -> $OK
        <- $X40000002,4:#$}*
        -> $OK
        <- $m40000000,7
        -> $beef23247d2a03
        <- $X40000000,0:
        -> $OK
        <- $X0,0:
        -> $OK
        <- $x40000000,6
        -> $b\\xbe\\xef#$}*
        <- $m0,4
        -> $E0e
        <- $M40000fff,2:0000
        -> $E0e
        <- $mffffffffffffffff,8
        -> $E0e
        <- $m10000000000000000,1
        -> $E16
        <- $m40000000,0
        -> $E16
        <- $m40000000
        -> $E16
        <- $m-1,4
        -> $E16
        <- $m 1,4
        -> $E16
        <- $m1_0,4
        -> $E16
        <- $M40000000,2:00
        -> $E16
        <- $M40000000,1:0
        -> $E16
        <- $M40000000,1:0 0
        -> $E16
        <- $Mffffffffffffffff,2:0000
        -> $E16
        <- $X40000000,1:
        -> $E16
        """
    )


def test_a_read_is_no_longer_than_a_packet() -> None:
    class Vast(FakeTarget):
        def read_memory(self, thread: int, gva: int, length: int) -> bytes:
            assert 0 < length <= 0x10000
            assert gva + length <= 1 << 64
            return bytes(length)

    stage = Stage(Vast())
    assert len(stage.send(b"m0,ffffffffffffffff")) == 0x20000 + 4
    assert len(stage.send(b"x0,ffffffffffffffff")) == 0x10000 + 5
    assert stage.send(b"mffffffffffffffff,ffffffff") == rsp.encode(b"00")


def test_an_older_lldb_wants_raw_uploads() -> None:
    conversation(
        """
        <- $x0,0
        -> $OK
        <- $x40000000,4
        -> $\\x1f \\x03\\xd5
        """
    )
    conversation(
        """
        <- $qSupported:binary-upload+
        -> $PacketSize=20000;hwbreak+;swbreak+;qXfer:features:read+;qXfer:threads:read+;
         QStartNoAckMode+;binary-upload+;vContSupported+
        <- $x0,0
        -> $b
        """
    )


def test_breakpoints() -> None:
    stage = conversation(
        """
        <- $Z0,40000010,4
        -> $OK
        <- $Z0,40000010,4;X5,2200000027;cmds:0,X1,27
        -> $OK
        <- $Z1,ffff800080001000,4
        -> $OK
        <- $Z2,40000100,140
        -> $OK
        <- $Z3,40000101,1
        -> $OK
        <- $Z4,40000200,8
        -> $OK
        <- $Z4,40000208,8
        -> $E1c
        <- $z3,40000101,1
        -> $OK
        <- $z3,40000101,1
        -> $OK
        <- $Z0,40000010,2
        -> $E16
        <- $Z1,40000012,4
        -> $E16
        <- $Z2,40000100,0
        -> $E16
        <- $Z2,ffffffffffffffff,2
        -> $E16
        <- $Z0,40000010
        -> $E16
        <- $Z0,,
        -> $E16
        """
    )
    assert stage.target.inserted == {
        (Kind.SOFTWARE, 0x40000010, 4),
        (Kind.HARDWARE, 0xFFFF800080001000, 4),
        (Kind.WRITE, 0x40000100, 0x140),
        (Kind.ACCESS, 0x40000200, 8),
    }


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
        ("c", {1: C, 2: C, 3: C}),
        ("s", {1: S, 2: C, 3: C}),
        ("C05", {1: C, 2: C, 3: C}),
        ("S0b", {1: S, 2: C, 3: C}),
    ],
)
def test_resuming(said: str, meant: dict[int, Action]) -> None:
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


def test_documents_come_in_pieces() -> None:
    stage = Stage()
    whole, piece = b"", b"m"
    while piece[:1] == b"m":
        ask = b"qXfer:features:read:target.xml:%x,ff" % len(whole)
        (event,) = rsp.Connection().receive(stage.send(ask))
        assert isinstance(event, rsp.Packet)
        piece = event.data
        whole += piece[1:]
    assert whole.endswith(b"</target>\n")
    stage.forget()
    stage.play(
        """
        <- $qXfer:features:read:target.xml:ffffff,10
        -> $l
        <- $qXfer:features:read:other.xml:0,10
        -> $E16
        <- $qXfer:threads:read:annex:0,10
        -> $E16
        <- $qXfer:threads:read::0
        -> $E16
        <- $qXfer:features:write:target.xml:0:
        -> $
        """
    )


@pytest.mark.parametrize(
    ("report", "reply"),
    [
        (Stopped(1), "T05thread:1;"),
        (Stopped(2, Signal.INT), "T02thread:2;"),
        (Stopped(1, stop=Stop.SWBREAK), "T05thread:1;swbreak:;"),
        (Stopped(1, stop=Stop.HWBREAK), "T05thread:1;hwbreak:;"),
        (
            Stopped(1, stop=Stop.WATCH, gva=0xFFFF800080001000),
            "T05thread:1;watch:ffff800080001000;",
        ),
        (Stopped(1, stop=Stop.RWATCH, gva=0x40), "T05thread:1;rwatch:40;"),
        (Stopped(1, stop=Stop.AWATCH, gva=0x40), "T05thread:1;awatch:40;"),
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
    for number, row in enumerate(CLIENT):
        target.values[2, row] = bytes((number,)) * row.size
    target.last = Stopped(2)
    reply = Stage(target).send(b"?")[1:-3]
    parts = [f"{number:02x}:" + f"{number:02x}" * 8 for number in range(33)]
    expected = ";".join(["T05thread:2", *parts, "21:21212121", ""])
    assert reply == expected.encode()


def test_errors_are_text_for_whom_they_are_meant() -> None:
    stage = Stage()
    stage.send(b"qSupported:error-message+")
    stage.forget()
    stage.play(
        """
        <- $m0,4
        -> $E.nothing at 0x0
        <- $Hg9
        -> $E.no thread 9
        <- $mxyz
        -> $E.malformed m packet
        <- $qSupported
        -> $PacketSize=20000;hwbreak+;swbreak+;qXfer:features:read+;qXfer:threads:read+;
         QStartNoAckMode+;binary-upload+;vContSupported+
        <- $m0,4
        -> $E0e
        """
    )


def test_the_table() -> None:
    for name, row in PACKETS.items():
        assert find(name) is row
        assert "GDB manual" in (row.handler.__doc__ or "")
    with pytest.raises(ValueError, match="two handlers"):
        packet("m")(packets.registers.read_all)
    with pytest.raises(ValueError, match="does not cite"):
        packet("qNew")(lambda client: b"")
    with pytest.raises(KeyError):
        Template("adress")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("-1", -1), ("0", 0), ("1f", 31), ("0001", 1), ("p1.2", 2), ("p0.0", 0)),
        *(("p1.-1", -1), ("p-1.-1", -1), ("p-1", -1), ("p5", -1)),
    ],
)
def test_thread_ids(text: str, meant: int) -> None:
    assert thread_id(text.encode()) == meant


HOSTILE = st.one_of(
    st.binary(max_size=40),
    st.from_regex(rb"\A[0-9a-fp.,:;=cCsStX-]{0,40}\Z"),
    st.lists(st.sampled_from([b"0", b"40000000", b"f" * 17, b",", b":", b";", b"=", b"-1"])).map(
        b"".join
    ),
)


@given(st.sampled_from(sorted(PACKETS)), HOSTILE)
def test_hostile_packets_raise_nothing_unmeant(name: bytes, arguments: bytes) -> None:
    client = packets.Client(FakeTarget(), rsp.PACKET_SIZE)
    try:
        reply = packets.dispatch(client, name + arguments)
    except StubError:
        return
    assert reply is None or isinstance(reply, bytes | Resume)


def test_a_bug_is_logged_and_the_session_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.target.trouble = ZeroDivisionError("a bug")
    with caplog.at_level(logging.ERROR):
        stage.play("<- $m40000000,4\n-> $E05\n<- $m40000000,4\n-> $1f2003d5")
    assert "a bug" in caplog.text
