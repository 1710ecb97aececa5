"""Each packet's effect, as sessions in the notation of ``--record``."""

from gdbstub import rsp
from gdbstub.aarch64.registers import CPSR, FPSIMD, GENERAL, SP, SYSTEM_REGISTERS, V, X
from gdbstub.target import Action, BreakpointKind, Stopped, StopReason
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import Stage, conversation

C, S = Action.CONTINUE, Action.STEP


def test_what_gdb_13_says_first() -> None:
    conversation(
        """
        <- $qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+;xmlRegisters=i386
        -> $PacketSize=20000;…
        <- $vMustReplyEmpty
        -> $
        <- $!
        -> $OK
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
        -> $vCont;c;C;s;S;t;r
        <- $qSupported
        -> $PacketSize=20000;…
        """
    )


def test_what_is_not_known_gets_an_empty_reply() -> None:
    conversation(
        """
        <- $
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


def test_only_the_core_registers_are_part_of_g() -> None:
    target = FakeTarget()
    row = SYSTEM_REGISTERS["VBAR_EL1"]
    target.registers = (*GENERAL, *FPSIMD, row)
    target.values[1, row] = bytes.fromhex("0018800000800000")
    stage = Stage(target)
    assert len(stage.send(b"g")[1:-3]) == 2 * sum(row.size for row in GENERAL)
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
    assert len(whole) == 2 * sum(row.size for row in GENERAL)
    changed = b"11" * 8 + whole[16:-8] + b"22222222"
    assert stage.send(b"G" + changed) == b"$OK#9a"
    # What the others stand for depends on it.
    assert stage.target.calls == [
        ("write", 1, "cpsr", b"\x22" * 4),
        ("write", 1, "x0", b"\x11" * 8),
    ]
    assert stage.send(b"g")[1:-3] == changed
    # A short one ends where a register does.
    assert stage.send(b"G" + b"33" * 16) == b"$OK#9a"
    assert stage.target.values[1, X[1]] == b"\x33" * 8
    for bad in (b"33" * 9, changed + b"00", b"3"):
        assert stage.send(b"G" + bad) == b"$E16#ac"


def test_a_register_that_is_not_there_reads_as_unavailable() -> None:
    target = FakeTarget(lacking={SP, CPSR})
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
        def read_memory(
            self,
            thread: int,
            address: int,
            length: int,
        ) -> bytes:
            assert 0 < length < 0x20000
            assert address + length <= 1 << 64
            return bytes(length)

    stage = Stage(Vast())
    assert len(stage.send(b"m0,ffffffffffffffff")) == 0x20000 + 4
    assert len(stage.send(b"x0,ffffffffffffffff")) == 0x20000 + 4
    assert stage.send(b"mffffffffffffffff,ffffffff") == rsp.encode(b"00")


def test_an_older_lldb_wants_raw_uploads() -> None:
    conversation(
        """
        <- $x0,0
        -> $OK
        <- $x40000000,4
        -> $\\x1f \\x03\\xd5
        <- $x40000000,0
        -> $E16
        <- $x0,0
        -> $OK
        """
    )
    conversation(
        """
        <- $qSupported:binary-upload+
        -> $PacketSize=20000;…
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
        (BreakpointKind.SOFTWARE, 0x40000010, 4),
        (BreakpointKind.HARDWARE, 0xFFFF800080001000, 4),
        (BreakpointKind.WRITE, 0x40000100, 0x140),
        (BreakpointKind.ACCESS, 0x40000200, 8),
    }


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


def test_a_client_that_takes_them_is_told_all_watchpoints_of_a_hit() -> None:
    also = ((StopReason.RWATCH, 0x40000108), (StopReason.AWATCH, 0x40000110))
    report = Stopped(1, stop=StopReason.WATCH, gva=0x40000100, also=also)
    for features, more in (("multi-wp-addr+", "rwatch:40000108;awatch:40000110;"), ("", "")):
        target = FakeTarget()
        target.last = report
        conversation(
            f"""
            <- $qSupported:{features}
            -> $PacketSize=…
            <- $?
            -> $T05thread:1;watch:40000100;{more}
            """,
            target,
        )
