"""Packets that only LLDB sends."""

import json
from dataclasses import dataclass

import pytest

from gdbstub import rsp
from gdbstub.aarch64.registers import EXPEDITED, PC, X
from gdbstub.capabilities import AddressBits, MemoryMapping, MemoryRegion
from gdbstub.target import Exited, Signal, Stopped, StopReason
from tests.pure.fake_target import BASE, SIZE, FakeTarget
from tests.pure.transcript import Stage, conversation

TRIPLE = b"aarch64-unknown-none".hex()
#: Two frames, the second the outermost.
FRAMES = {0x40000800: (0x40000840, 0x40000010), 0x40000840: (0, 0x40000020)}


def stacked(**attributes: object) -> FakeTarget:
    """A target whose first thread has frames."""
    target = FakeTarget(**attributes)  # type: ignore[arg-type]
    for gva, record in FRAMES.items():
        data = b"".join(value.to_bytes(8, "little") for value in record)
        target.write_memory(1, gva, data)
    target.values[1, X[29]] = min(FRAMES).to_bytes(8, "little")
    return target


def spelled(gva: int) -> str:
    return "".join(value.to_bytes(8, "little").hex() for value in FRAMES[gva])


MEMORY = "".join(f"memory:{gva:#x}={spelled(gva)};" for gva in FRAMES)
THREADS = "threads:1,2;thread-pcs:40000000,40000000;"


def asked(target: FakeTarget) -> Stage:
    """A stage on which LLDB has asked for its keys."""
    stage = Stage(target)
    stage.play("<- $QListThreadsInStopReply\n-> $OK")
    return stage


def json_of(stage: Stage) -> list[dict[str, object]]:
    (event,) = rsp.Connection().receive(stage.send(b"jThreadsInfo"))
    assert isinstance(event, rsp.Packet)
    said: list[dict[str, object]] = json.loads(event.data)
    return said


def test_what_kind_of_machine_it_is() -> None:
    conversation(
        f"""
        <- $qHostInfo
        -> $triple:{TRIPLE};ptrsize:8;endian:little;watchpoint_exceptions_received:before;
         default_packet_timeout:20;
        <- $qProcessInfo
        -> $triple:{TRIPLE};ptrsize:8;endian:little;
        <- $qWatchpointSupportInfo:
        -> $num:4;
        """
    )


def test_a_thread_may_be_named_behind_a_register() -> None:
    target = FakeTarget()
    target.values[2, X[0]] = bytes(range(8))
    conversation(
        """
        <- $QThreadSuffixSupported
        -> $OK
        <- $p0;thread:0002;
        -> $0001020304050607
        <- $p0
        -> $0000000000000000
        <- $P1=1111111111111111;thread:2;
        -> $OK
        <- $p1;thread:0002;
        -> $1111111111111111
        <- $p1
        -> $0000000000000000
        <- $p0;thread:3;
        -> $E03
        <- $p0;thread:-1;
        -> $E03
        <- $p0;thread:;
        -> $E16
        <- $p0;thread:2
        -> $E16
        <- $p44;thread:2;
        -> $E02
        <- $qC
        -> $QC1
        """,
        target,
    )
    stage = Stage(target)
    one, two = stage.send(b"g;thread:1;"), stage.send(b"g;thread:2;")
    assert one != two
    assert one == stage.send(b"g")
    assert stage.send(b"G" + two[1:-3] + b";thread:0001;") == b"$OK#9a"
    assert target.values[1, X[0]] == bytes(range(8))


def test_the_suffix_is_for_registers_only() -> None:
    target = FakeTarget()
    Stage(target).play("<- $X40000000,a:;thread:1;\n-> $OK")
    assert target.memory[:10] == b";thread:1;"


def test_nothing_of_lldbs_is_said_to_another() -> None:
    conversation("<- $?\n-> $T05thread:1;", stacked())


def test_a_stop_says_why_and_where() -> None:
    target = stacked()
    stage = asked(target)
    pcs = "threads:1,2;thread-pcs:{:x},40000000;"
    stage.play(
        f"""
        <- $?
        -> $T05thread:1;{THREADS}reason:signal;{MEMORY}
        <- $vCont;s:1
        -> $T05thread:1;{pcs.format(BASE + 4)}reason:trace;{MEMORY}
        <- $?
        -> $T05thread:1;{pcs.format(BASE + 4)}reason:trace;{MEMORY}
        <- $Z0,40000010,4
        -> $OK
        <- $vCont;c:1
        -> $T05thread:1;{pcs.format(BASE + 16)}reason:breakpoint;{MEMORY}
        """
    )


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Stopped(2, Signal.INT), "T02thread:2;{}reason:signal;"),
        (Stopped(2, Signal.ABRT), "T06thread:2;{}reason:signal;"),
        (Stopped(2, stop=StopReason.HWBREAK), "T05thread:2;{}reason:breakpoint;"),
        (
            Stopped(2, stop=StopReason.AWATCH, gva=0x40000104),
            "T05thread:2;awatch:40000104;{}reason:watchpoint;"
            "description:31303733373432303834;",  # 0x40000104 in decimal
        ),
        (Exited(), "W00"),
    ],
)
def test_every_reason(report: Stopped | Exited, said: str) -> None:
    target = FakeTarget()
    stage = asked(target)
    target.last = report
    stage.play(f"<- $?\n-> ${said.format(THREADS)}")


def test_one_that_did_not_step_was_not_traced() -> None:
    target = FakeTarget(lively=False)
    stage = asked(target)
    stage.send(b"vCont;s:1;c")
    stage.forget()
    target.stop(Stopped(2))
    stage.feed(b"")
    assert stage.said() == [f"-> $T05thread:2;{THREADS}reason:signal;"]


def test_one_thread_is_asked() -> None:
    stage = asked(stacked())
    stage.target.last = Stopped(2, stop=StopReason.SWBREAK)
    stage.play(
        f"""
        <- $qThreadStopInfo1
        -> $T00thread:1;{MEMORY}
        <- $qThreadStopInfo0002
        -> $T05thread:2;reason:breakpoint;
        <- $qThreadStopInfo3
        -> $E03
        <- $qC
        -> $QC1
        """
    )


def test_all_threads_at_once() -> None:
    target = stacked()
    target.values[2, PC] = bytes.fromhex("2400004000000000")
    target.last = Stopped(2, stop=StopReason.WATCH, gva=0x40000104)
    one, two = json_of(asked(target))
    assert one["tid"] == 1
    assert one["name"] == "CPU#0 (halted)"
    assert one["signal"] == 0
    assert "reason" not in one
    assert one["memory"] == [{"address": gva, "bytes": spelled(gva)} for gva in FRAMES]
    assert two["tid"] == 2
    assert two["signal"] == 5
    assert two["reason"] == "watchpoint"
    assert two["description"] == str(0x40000104)
    assert two["memory"] == []
    registers = two["registers"]
    assert isinstance(registers, dict)
    assert [int(number) for number in registers] == [row.number for row in EXPEDITED]
    assert registers["32"] == "2400004000000000"


def test_registers_that_cannot_be_read_are_left_out() -> None:
    target = stacked(lacking={X[29]})
    one, two = json_of(asked(target))
    assert one["registers"] == two["registers"] == {}
    assert one["memory"] == []
    target.lacking = {PC}
    asked(target).play(f"<- $?\n-> $T05thread:1;threads:1,2;reason:signal;{MEMORY}")


@pytest.mark.parametrize(
    "chain",
    [
        {0x40000800: 0x40000800},  # itself
        {0x40000800: 0x40000400},  # back
        {0x40000800: 0x40000804},  # no place for a record
        {0x40000800: 0x40000FF8},  # half of a record, then nothing
        {0x40000800: 0x50000000},  # nowhere
        {0x40000800: (1 << 64) - 8},
    ],
)
def test_frames_end_where_they_lead_nowhere(chain: dict[int, int]) -> None:
    target = FakeTarget()
    for gva, caller in chain.items():
        target.write_memory(1, gva, caller.to_bytes(8, "little"))
    target.values[1, X[29]] = min(chain).to_bytes(8, "little")
    stage = asked(target)
    stage.send(b"?")
    assert stage.said()[1].count("memory:") == len(chain)


def test_of_many_frames_some_are_told() -> None:
    target = FakeTarget()
    for gva in range(BASE, BASE + 0x800, 0x10):
        target.write_memory(1, gva, (gva + 0x10).to_bytes(8, "little"))
    target.values[1, X[29]] = BASE.to_bytes(8, "little")
    stage = asked(target)
    stage.send(b"?")
    assert stage.said()[1].count("memory:") == 4


def test_there_is_no_memory_to_give() -> None:
    # An empty reply would have LLDB look for mmap in the guest, and call it.
    conversation(
        """
        <- $_M1000,rwx
        -> $E0c
        <- $_M
        -> $E16
        """
    )


@pytest.mark.parametrize(
    "packet", ["qRegisterInfo0", "jThreadExtendedInfo:{}", "qMemoryRegionInfo:40000000", "_m0"]
)
def test_what_lldb_can_do_without_is_not_there(packet: str) -> None:
    conversation(f"<- ${packet}\n-> $")


def test_errors_have_their_text_once_it_is_asked_for() -> None:
    conversation(
        f"""
        <- $m0,4
        -> $E0e
        <- $QEnableErrorStrings
        -> $OK
        <- $m0,4
        -> $E0e;{b"nothing at 0x0".hex()}
        """
    )


def test_the_server_has_a_version() -> None:
    conversation("<- $qGDBServerVersion\n-> $name:kvm-gdbstub;version:…;")


@dataclass
class Mapped(FakeTarget, MemoryMapping):
    def region(self, thread: int, gva: int) -> MemoryRegion:
        if gva < BASE:
            return MemoryRegion(0, BASE)
        return MemoryRegion(BASE, SIZE, "rx")


def test_memory_regions() -> None:
    conversation(
        """
        <- $qMemoryRegionInfo
        -> $OK
        <- $qMemoryRegionInfo:40000010
        -> $start:40000000;size:1000;permissions:rx;
        <- $qMemoryRegionInfo:10
        -> $start:0;size:40000000;
        """,
        Mapped(),
    )
    conversation("<- $qMemoryRegionInfo\n-> $")


def test_several_reads_at_once() -> None:
    target = FakeTarget()
    target.write_memory(1, BASE, b"abcdefgh")
    end = BASE + SIZE - 2
    conversation(
        rf"""
        <- $MultiMemRead:ranges:40000000,2,40000004,3;
        -> $2,3;abefg
        <- $MultiMemRead:ranges:40000000,2,10,4,{end:x},8,40000000,0;
        -> $2,0,2,0;ab\x03\xd5
        <- $MultiMemRead:ranges:10,4,;
        -> $0;
        <- $MultiMemRead:ranges:ffffffffffffffff,ffffffffffffffff;
        -> $0;
        """,
        target,
    )


@pytest.mark.parametrize(
    "ranges",
    [
        *("", "10", "10,", "10,2", "10,2,3;", "10,2;blah:;", "z,2;", "-1,2;", ",;", "-0,2;"),
        *("+10,2;", " 10,2;", "1_0,2;", "0x10,2;", "10,2_0;", "10,+2;", "1\\xd9\\xa30,2;"),
        *("10000000000000000,2;", "10," + "f" * 17 + ";", "f" * 5000 + ",2;"),
    ],
    ids=lambda ranges: ranges[:12],
)
def test_malformed_ranges(ranges: str) -> None:
    conversation(f"<- $MultiMemRead:ranges:{ranges}\n-> $E16")


def test_the_ranges_of_one_reply_fit_in_a_packet() -> None:
    stage = Stage(FakeTarget())
    word = f"{BASE:x},{SIZE:x},"
    sent = stage.send(f"MultiMemRead:ranges:{word * 100};".encode())
    (event,) = rsp.Connection().receive(sent)
    assert isinstance(event, rsp.Packet)
    sizes, _, data = event.data.partition(b";")
    assert sum(int(size, 16) for size in sizes.split(b",")) == len(data)
    assert len(sizes.split(b",")) == 100
    assert len(event.data) <= rsp.PACKET_SIZE


def test_several_breakpoints_at_once() -> None:
    target = FakeTarget(slots=1)
    asked = {"breakpoint_requests": ["Z0,40000010,4", "Z1,40000020,4", "Z1,40000024,4", "c", "Z9"]}
    stage = Stage(target)
    (event,) = rsp.Connection().receive(
        stage.send(b"jMultiBreakpoint:" + json.dumps(asked).encode())
    )
    assert isinstance(event, rsp.Packet)
    assert json.loads(event.data) == {"results": ["OK", "OK", "E1c", "E16", "E16"]}
    assert {gva for _, gva, _ in target.inserted} == {0x40000010, 0x40000020}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"breakpoint_requests":[1]}', "[" * 5000])
def test_malformed_breakpoint_requests(text: str) -> None:
    stage = Stage(FakeTarget())
    assert stage.send(b"jMultiBreakpoint:" + text.encode()).startswith(b"$E16#")
    assert not stage.target.inserted


@dataclass
class Sized(FakeTarget, AddressBits):
    bits: tuple[int, int] | None = (48, 47)

    def address_bits(self, thread: int) -> tuple[int, int] | None:
        return self.bits


def test_the_size_of_addresses() -> None:
    stage = asked(Sized())
    stage.play(
        f"<- $?\n-> $T05thread:1;{THREADS}reason:signal;"
        "low_mem_addressing_bits:48;high_mem_addressing_bits:47;"
    )
    stage = asked(Sized(bits=None))
    stage.play(f"<- $?\n-> $T05thread:1;{THREADS}reason:signal;")
