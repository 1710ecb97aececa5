"""The protocol half with an instruction set other than AArch64, which the target describes."""

import json

from gdbstub import rsp
from gdbstub.architecture import Architecture, Register
from gdbstub.protocol.packets.target_description import target_xml
from gdbstub.target import Signal, Stopped
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import Stage

CORE, MORE = "org.example.core", "org.example.more"
A = Register("a", 32, feature=CORE, number=0)
FP = Register("fp", 32, type="data_ptr", feature=CORE, number=1)
PC = Register("pc", 32, type="code_ptr", feature=CORE, number=2)
FLAGS = Register("flags", 16, type="bits", feature=CORE, number=3)
TIMER = Register("timer", 64, type="code_ptr", feature=MORE, number=4)
HIDDEN = Register("hidden", 64)
ROWS = (A, FP, PC, FLAGS, TIMER)
BASE = 0x4000_0000

SMALL = Architecture(
    "example",
    "example-unknown-none",
    instruction_set="E32",
    pointer_size=4,
    osabi="GNU/Linux",
    breakpoint_kinds=(2, 4),
    instruction_alignment=2,
    watchpoints_stop_after=True,
    frame_pointer=FP,
    type_xml=lambda name, bits: f"<!-- {name} {bits} -->\n" if name == "bits" else "",
    system_features=(MORE,),
    tag_granule=64,
    largest_tag=3,
)
PLAIN = Architecture("plain")


def small(architecture: Architecture = SMALL) -> FakeTarget:
    """A target of 32 bits: pc at ``BASE``, and two frame records."""
    target = FakeTarget(cpus=1, registers=ROWS)
    target.architecture = architecture
    target.values = {(1, row): bytes(row.size) for row in ROWS}
    target.values[1, PC] = BASE.to_bytes(4, "little")
    target.values[1, FP] = (BASE + 0x100).to_bytes(4, "little")
    for place, record in ((0x100, (BASE + 0x108, 0x11)), (0x108, (0, 0x22))):
        data = b"".join(value.to_bytes(4, "little") for value in record)
        target.write_memory(1, BASE + place, data)
    return target


def answer(stage: Stage, packet: bytes) -> bytes:
    (event,) = rsp.Connection().receive(stage.send(packet))
    assert isinstance(event, rsp.Packet)
    return event.data


def test_the_description_is_made_of_the_value_and_the_rows() -> None:
    assert target_xml(SMALL, (*ROWS, HIDDEN), SMALL.osabi).decode() == (
        '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n'
        '<target version="1.0">\n<architecture>example</architecture>\n<osabi>GNU/Linux</osabi>\n'
        '<feature name="org.example.core">\n<!-- bits 16 -->\n'
        '<reg name="a" bitsize="32" type="int" regnum="0"/>\n'
        '<reg name="fp" bitsize="32" type="data_ptr" regnum="1"/>\n'
        '<reg name="pc" bitsize="32" type="code_ptr" regnum="2"/>\n'
        '<reg name="flags" bitsize="16" type="bits" regnum="3"/>\n</feature>\n'
        '<feature name="org.example.more">\n'
        '<reg name="timer" bitsize="64" type="code_ptr" regnum="4" group="system"'
        ' save-restore="no"/>\n</feature>\n</target>\n'
    )
    assert b"group" not in target_xml(PLAIN, ROWS)
    assert answer(Stage(small()), b"qXfer:features:read:target.xml:0,ffff")[1:] == target_xml(
        SMALL, ROWS, SMALL.osabi
    )


def test_lldb_is_told_what_the_value_says() -> None:
    triple = b"triple:%b;" % b"example-unknown-none".hex().encode()
    stage = Stage(small())
    assert answer(stage, b"qProcessInfo") == triple + b"ptrsize:4;endian:little;"
    assert b";watchpoint_exceptions_received:after;" in answer(stage, b"qHostInfo")
    plain = Stage(small(PLAIN))
    assert answer(plain, b"qProcessInfo") == b"ptrsize:8;endian:little;"
    assert b";watchpoint_exceptions_received:before;" in answer(plain, b"qHostInfo")


def test_breakpoints_are_of_the_kinds_that_it_has() -> None:
    stage = Stage(small())
    stage.send(b"qSupported:error-message+")
    assert answer(stage, b"Z0,40000002,2") == b"OK"
    assert answer(stage, b"Z1,40000004,4") == b"OK"
    refused = b"E.breakpoints are for E32 code, whose kind is 2 or 4: not 3"
    assert answer(stage, b"Z0,40000002,3") == refused
    assert answer(stage, b"Z0,40000001,2") == b"E.no E32 instruction is at 0x40000001"
    assert answer(Stage(small(PLAIN)), b"Z0,40000001,3") == b"OK"


def test_stop_replies_carry_the_pointers_unless_told_otherwise() -> None:
    stop = b"T05thread:1;01:00010040;02:00000040;"
    assert answer(Stage(small()), b"?") == stop
    other = Architecture("example", expedited=(A, HIDDEN))
    assert answer(Stage(small(other)), b"?") == b"T05thread:1;00:00000000;"


def test_g_has_the_first_feature_and_c_sets_a_pc_of_its_size() -> None:
    stage = Stage(small())
    assert answer(stage, b"g") == b"00000000" + b"00010040" + b"00000040" + b"0000"
    stage.target.lively = False
    stage.send(b"s40000010")
    assert stage.target.calls[0] == ("write", 1, "pc", bytes.fromhex("10000040"))


def test_frames_are_of_its_pointers() -> None:
    stage = Stage(small())
    stage.send(b"QListThreadsInStopReply")
    said = answer(stage, b"?")
    assert b"thread-pcs:40000000;" in said
    assert b"memory:0x40000100=0801004011000000;memory:0x40000108=0000000022000000;" in said
    (thread,) = json.loads(answer(stage, b"jThreadsInfo"))
    assert [each["address"] for each in thread["memory"]] == [BASE + 0x100, BASE + 0x108]
    plain = Stage(small(PLAIN))
    plain.send(b"QListThreadsInStopReply")
    assert b"memory:" not in answer(plain, b"?")


def test_a_target_without_a_pc_stops_all_the_same() -> None:
    target = small()
    target.registers = (A, FP)
    stage = Stage(target)
    stage.send(b"QListThreadsInStopReply")
    target.last = Stopped(1, Signal.SEGV)
    assert answer(stage, b"?") == (
        b"T0bthread:1;threads:1;reason:signal;"
        b"memory:0x40000100=0801004011000000;memory:0x40000108=0000000022000000;01:00010040;"
    )
    stage.send(b"qSupported:error-message+")
    refused = b"E.the target's registers have no pc: none is of type code_ptr"
    assert answer(stage, b"s40000010") == refused
