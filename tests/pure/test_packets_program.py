"""Packets on the guest's program and on its machine as an operating system."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from gdbstub import rsp
from gdbstub.capabilities import (
    Capability,
    HasExecFile,
    HasLibraries,
    Library,
    OsTable,
    OsTables,
    Relocatable,
    Relocation,
)
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.stop import stop_reply
from gdbstub.target import Stopped, StopReason
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import Stage, conversation


@dataclass
class Programmed(FakeTarget, HasExecFile, Relocatable):
    """A target that knows its program, or does not."""

    file: str = "/tmp/the guest.elf"
    relocatable: bool = True
    place: Relocation | None = None

    @property
    def exec_file(self) -> str:
        return self.file

    def offers(self, capability: type[Capability]) -> bool:
        return self.relocatable or capability is not Relocatable

    def relocation(self) -> Relocation | None:
        return self.place


def test_the_file_is_named_where_there_is_one() -> None:
    stage = Stage(Programmed())
    assert b";qXfer:exec-file:read+;" in stage.send(b"qSupported")
    stage.forget()
    stage.play(
        """
        <- $qXfer:exec-file:read::0,1000
        -> $l/tmp/the guest.elf
        <- $qXfer:exec-file:read:a410:5,3
        -> $mthe
        """
    )
    nameless = Stage(Programmed(file=""))
    assert b"exec-file" not in nameless.send(b"qSupported")
    nameless.forget()
    nameless.play("<- $qXfer:exec-file:read::0,1000\n-> $")


def test_a_path_of_any_bytes_arrives() -> None:
    path = "/tmp/#$}*\udcff"
    reply = Stage(Programmed(file=path)).send(b"qXfer:exec-file:read::0,1000")
    (event,) = rsp.Connection().receive(reply)
    assert isinstance(event, rsp.Packet)
    assert event.data == b"l" + path.encode("utf-8", "surrogateescape")


def test_where_the_program_is() -> None:
    """GDB takes where the first segment is now, LLDB the distance."""
    target = Programmed(relocatable=False)
    stage = Stage(target)
    stage.play("<- $qOffsets\n-> $")
    target.relocatable = True
    stage.play("<- $qOffsets\n-> $")
    target.place = Relocation(0xFFFF_8000_0800_0000, 0x3_1234_0000)
    stage.play("<- $qOffsets\n-> $TextSeg=ffff80031a340000")
    stage.play("<- $qOffsets\n-> $")  # as gef wants it
    stage.send(b"vAttach;1")
    stage.forget()
    stage.play("<- $qOffsets\n-> $TextSeg=ffff80031a340000")
    target.place = Relocation(0xFFFF_8000_0800_0000, 0)
    stage.play("<- $qOffsets\n-> $")  # as QEMU says it
    target.place = Relocation(0xFFFF_8000_0800_0000, 0x3_1234_0000)
    stage.send(b"QListThreadsInStopReply")
    stage.forget()
    stage.play("<- $qOffsets\n-> $Text=312340000;Data=312340000;Bss=312340000")


def test_a_machine_has_no_libraries() -> None:
    conversation(
        r"""
        <- $qXfer:libraries:read::0,1000
        -> $l<library-list/>\x0a
        <- $qXfer:libraries:read:x:0,1000
        -> $E16
        """
    )


class Loading(FakeTarget, HasLibraries):
    """A target with libraries."""

    def __init__(self, *loaded: Library) -> None:
        super().__init__()
        self.loaded = loaded

    def libraries(self) -> Sequence[Library]:
        return self.loaded


def test_libraries_are_listed_with_the_addresses_of_their_sections() -> None:
    target = Loading(Library("/lib/a&b.ko", (0x1000, 0xFFFF_8000_0000_2000)))
    stage = Stage(target)
    stage.play(
        r"""
        <- $qXfer:libraries:read::0,1000
        -> $l<library-list>\x0a<library name="/lib/a&amp;b.ko">\x0a<section address="0x1000"/>\x0a
         <section address="0xffff800000002000"/>\x0a</library>\x0a</library-list>\x0a
        <- $qXfer:libraries:read::0,e
        -> $m<library-list>
        """
    )
    # What is read in pieces is one document, whatever is loaded meanwhile.
    target.loaded = ()
    stage.play(
        r"""
        <- $qXfer:libraries:read::e,12
        -> $m\x0a<library name="/l
        <- $qXfer:libraries:read::0,1000
        -> $l<library-list>\x0a</library-list>\x0a
        """
    )


def test_lldb_is_told_of_no_libraries() -> None:
    stage = Stage(Loading(Library("/lib/a.ko", (0x1000,))))
    stage.send(b"QListThreadsInStopReply")
    stage.forget()
    stage.play(
        r"""
        <- $qXfer:libraries:read::0,1000
        -> $l<library-list/>\x0a
        """
    )


def test_a_gdb_that_is_told_of_libraries_is_told_that_there_is_no_os() -> None:
    """GDB asks for no libraries of a target whose OS is GNU/Linux."""
    asked = b"qSupported:multiprocess+;memory-tagging+"
    for target, none in ((Loading(), True), (FakeTarget(), False)):
        stage = Stage(target)
        stage.send(asked)
        reply = stage.send(b"qXfer:features:read:target.xml:0,1000")
        assert (b"<osabi>none</osabi>" in reply) is none


def test_a_stop_tells_that_the_libraries_have_changed() -> None:
    stage = Stage(target := Loading())
    stage.send(b"?")
    client = ClientState(target, 0x1000)
    assert b"library:;" in stop_reply(client, Stopped(1, stop=StopReason.LIBRARY))


def test_what_info_os_shows() -> None:
    conversation(
        r"""
        <- $qXfer:osdata:read::0,1000
        -> $l<osdata type="types">\x0a<item><column name="Type">threads</column>
         <column name="Description">Listing of all threads, which are the vCPUs</column>
         <column name="Title">Threads</column></item>\x0a</osdata>\x0a
        <- $qXfer:osdata:read:types:0,10
        -> $m<osdata type="ty
        <- $qXfer:osdata:read:threads:0,1000
        -> $l<osdata type="threads">\x0a<item><column name="thread">1</column>
         <column name="core">0</column><column name="name">CPU#0</column>
         <column name="state">halted</column><column name="pc">0x40000000</column></item>\x0a
         <item><column name="thread">2</column>
         <column name="core">1</column><column name="name">CPU#1</column>
         <column name="state">halted</column><column name="pc">0x40000000</column></item>\x0a
         </osdata>\x0a
        <- $qXfer:osdata:read:processes:0,1000
        -> $E16
        """
    )


def test_without_a_guest_there_are_no_threads() -> None:
    stage = Stage()
    for packet in (b"!", b"D"):
        stage.send(packet)
    assert b"<item>" not in stage.send(b"qXfer:osdata:read:threads:0,1000")


@pytest.mark.parametrize("left", [b"D", b"vKill;1"])
def test_without_a_guest_there_is_no_table_of_its_own(left: bytes) -> None:
    """Found by fuzzing: there was no state for what takes long to make."""
    stage = Stage(WithTables())
    for packet in (b"!", left):
        stage.send(packet)
    assert stage.send(b"qXfer:osdata:read:tasks:0,1000") == rsp.encode(b"E16")
    assert not stage.session.over


GDB_12 = "multiprocess+;memory-tagging+"


def test_gdb_from_12_on_names_processes_and_finds_the_os_abi_itself() -> None:
    stage = Stage(FakeTarget())
    stage.play(
        f"""
        <- $qSupported:{GDB_12}
        -> $PacketSize=…;multiprocess+
        <- $?
        -> $T05thread:p400001.1;
        <- $qC
        -> $QCp400001.1
        <- $qfThreadInfo
        -> $mp400001.1,p400001.2
        <- $qThreadExtraInfo,p400001.2
        -> $4350552331{b" halted".hex()}
        <- $vCont;s:p400001.2
        -> $T05thread:p400001.2;
        """
    )
    assert b"<osabi>" not in stage.send(b"qXfer:features:read:target.xml:0,ffff")
    stage.forget()
    stage.play(
        """
        <- $!
        -> $OK
        <- $vKill;400001
        -> $OK
        <- $?
        -> $W00;process:400001
        """
    )


def test_a_process_is_called_as_the_client_that_attaches_calls_it() -> None:
    conversation(
        f"""
        <- $qSupported:{GDB_12}
        -> $…
        <- $!
        -> $OK
        <- $D;400001
        -> $OK
        <- $vAttach;1
        -> $T02thread:p1.1;
        """
    )


@pytest.mark.parametrize("features", ["multiprocess+;swbreak+", "memory-tagging+", ""])
def test_others_name_no_process_and_are_told_of_no_os(features: str) -> None:
    stage = Stage(FakeTarget())
    assert b"multiprocess" not in stage.send(f"qSupported:{features}".encode())
    assert stage.send(b"qC").startswith(b"$QC1#")
    assert b"<osabi>none</osabi>" in stage.send(b"qXfer:features:read:target.xml:0,ffff")


@dataclass
class WithTables(FakeTarget, OsTables):
    @property
    def os_tables(self) -> Sequence[OsTable]:
        def rows() -> list[dict[str, str]]:
            return [{"pid": "1", "name": "<init>"}]

        return (OsTable("tasks", "Tasks", "Processes", rows),)


def test_tables_of_the_operating_system() -> None:
    target = WithTables()
    stage = Stage(target)
    stage.play(
        r"""
        <- $qXfer:osdata:read:tasks:0,1000
        -> $l<osdata type="tasks">\x0a<item><column name="pid">1</column><column name="name">
         &lt;init&gt;</column></item>\x0a</osdata>\x0a
        <- $qXfer:osdata:read::0,1000
        -> $l…<column name="Type">tasks</column>…
        <- $qXfer:osdata:read:modules:0,1000
        -> $E16
        """
    )
