"""Packets about threads of the guest's own, which are beside the vCPUs' and can only be read."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from gdbstub.aarch64.registers import PC, SP, X
from gdbstub.architecture import Register
from gdbstub.capabilities import HasGuestThreads
from gdbstub.errors import NoSuchRegister, RegisterRefused
from gdbstub.target import Action, Resume, Thread
from tests.pure.fake_target import BASE, HERE, FakeTarget
from tests.pure.test_packets_lldb import json_of
from tests.pure.transcript import Stage

TASK = 10_000_042
ID = f"{TASK:x}"
PLACE = (BASE + 0x20).to_bytes(8, "little").hex()
WAITS = f"No vCPU executes thread {TASK}: it cannot be stepped or continued alone."
STOP = f"T00thread:{ID};"


@dataclass
class Threaded(FakeTarget, HasGuestThreads):
    """A target one of whose guest's threads waits, of which x19, x29, SP and PC are known."""

    waits: bool = True

    def guest_threads(self) -> Sequence[Thread]:
        return [Thread(TASK, None, "a<b", "PID 42, state S")] if self.waits else []

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        if thread != TASK:
            return super().read_registers(thread, registers)
        if not {X[19], X[29], SP, PC}.issuperset(registers):
            raise NoSuchRegister("not kept")
        return bytes.fromhex(PLACE) * len(registers)

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        if thread == TASK:
            raise RegisterRefused("only read")
        super().write_register(thread, register, data)


@pytest.fixture
def stage() -> Stage:
    target = Threaded()
    target.memory[0:4] = HERE.to_bytes(4, "little")
    return Stage(target)


def resumes(stage: Stage) -> list[object]:
    return [each for each in stage.target.calls if isinstance(each, Resume)]


def test_it_is_in_every_list(stage: Stage) -> None:
    stage.play(
        f"""
        <- $qXfer:threads:read::0,1000
        -> $l<threads>\\x0a
         <thread id="1" core="0" name="CPU#0">halted</thread>\\x0a
         <thread id="2" core="1" name="CPU#1">halted</thread>\\x0a
         <thread id="{ID}" name="a&lt;b">PID 42, state S</thread>\\x0a</threads>\\x0a
        <- $qfThreadInfo
        -> $m1,2,{ID}
        <- $qThreadExtraInfo,{ID}
        -> ${b"a<b PID 42, state S".hex()}
        <- $T{ID}
        -> $OK
        <- $T{TASK + 1:x}
        -> $E03
        """
    )


@pytest.mark.parametrize("left", [b"D", b"vKill;1"])
def test_without_a_guest_it_is_in_no_list(stage: Stage, left: bytes) -> None:
    for packet in (b"!", left):
        stage.send(packet)
    stage.forget()
    assert ID.encode() not in stage.send(b"qXfer:threads:read::0,1000")
    assert not stage.session.over


def test_its_registers_are_read_as_far_as_they_are_known(stage: Stage) -> None:
    none = "xx" * 8
    known = "".join(PLACE if n in (19, 29) else none for n in range(31))
    stage.play(
        f"""
        <- $Hg{ID}
        -> $OK
        <- $g
        -> ${known}{PLACE}{PLACE}xxxxxxxx
        <- $p13
        -> ${PLACE}
        <- $p0
        -> ${none}
        <- $P13=0011223344556677
        -> $E01
        <- $m40000000,4
        -> $00000014
        <- $z0,40000010,4
        -> $OK
        """
    )


def test_all_threads_go_on_without_it(stage: Stage) -> None:
    stage.send(f"Hg{ID}".encode())
    stage.send(b"vCont;c")
    stage.feed(b"\x03")
    stage.send(f"Hg{ID}".encode())
    stage.send(b"c")
    stage.feed(b"\x03")
    both = Resume(dict.fromkeys((1, 2), Action.CONTINUE))
    assert resumes(stage) == [both, both]


@pytest.mark.parametrize(
    "packet", [f"vCont;s:{ID};c", f"vCont;r0,10:{ID};c", f"vCont;c:{ID}", f"vCont;t;c:{ID}"]
)
def test_alone_it_is_neither_stepped_nor_continued(stage: Stage, packet: str) -> None:
    line = f"{WAITS}\n".encode().hex()
    stage.play(f"<- ${packet}\n-> $O{line}\n-> ${STOP}")
    assert f"1d:{PLACE};1f:{PLACE};20:{PLACE};".encode() in stage.send(packet.encode())
    assert resumes(stage) == []


@pytest.mark.parametrize("packet", [f"vCont;c;s:{ID}", f"vCont;c:{ID};c;s:{ID}"])
def test_its_leftmost_action_is_the_one_that_counts(stage: Stage, packet: str) -> None:
    stage.send(packet.encode())
    assert resumes(stage) == [Resume(dict.fromkeys((1, 2), Action.CONTINUE))]


def test_threads_are_listed_once_for_a_vcont(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(Thread(TASK + n, None, "many", "") for n in range(100))
    listed = list[int]()

    def guest_threads(target: Threaded) -> Sequence[Thread]:
        listed.append(len(rows))
        return rows

    monkeypatch.setattr(Threaded, "guest_threads", guest_threads)
    stage.send(b"vCont;c:1;c:2;" + b";".join(b"c:%x" % row.id for row in rows))
    assert resumes(stage) == [Resume(dict.fromkeys((1, 2), Action.CONTINUE))]
    assert len(listed) == 1


def test_the_packets_of_old_clients_refuse_it_too(stage: Stage) -> None:
    stage.play(f"<- $Hc{ID}\n-> $E03\n<- $Hg{ID}\n-> $OK\n<- $s\n-> $E03")
    assert resumes(stage) == []


def test_a_client_that_continues_all_by_name_may(stage: Stage) -> None:
    """LLDB does; the threads that a vCPU may not execute wait on."""
    for _ in range(2):
        stage.send(f"vCont;s:1;c:2;c:{ID}".encode())
    stepped = Resume({1: Action.STEP, 2: Action.CONTINUE})
    assert resumes(stage) == [stepped, stepped]
    # It is not taken from the cache of packets: that thread may be gone.
    assert isinstance(stage.target, Threaded)
    stage.target.waits = False
    stage.forget()
    stage.play(f"<- $vCont;s:1;c:2;c:{ID}\n-> $E03")


def test_lldb_is_told_of_it(stage: Stage) -> None:
    stage.play("<- $QListThreadsInStopReply\n-> $OK")
    assert f"threads:1,2,{ID};thread-pcs:40000000,40000000,40000020;".encode() in stage.send(b"?")
    described = json_of(stage)[2]
    stage.forget()
    assert described["name"] == "a<b (PID 42, state S)"
    assert described["registers"] == {"29": PLACE, "31": PLACE, "32": PLACE}
    stage.play(f"<- $qThreadStopInfo{ID}\n-> ${STOP}…")
    # What is not known is no value to LLDB.
    stage.play(f"<- $p0;thread:{ID};\n-> $E02\n<- $p13;thread:{ID};\n-> ${PLACE}")


def test_lldb_is_told_why_by_the_reason_of_a_stop(stage: Stage) -> None:
    """After an error it would leave, and after a stop without a reason step again."""
    stage.play("<- $QListThreadsInStopReply\n-> $OK")
    line = f"{WAITS} Drop the step: thread plan discard 1".encode().hex()
    threads = f"threads:1,2,{ID};thread-pcs:40000000,40000000,40000020;"
    reply = f"T05thread:{ID};{threads}reason:exception;description:{line};"
    stage.play(f"<- $vCont;s:{ID}\n-> ${reply}")


def test_without_it_there_are_the_vcpus_alone(stage: Stage) -> None:
    assert isinstance(stage.target, Threaded)
    stage.target.waits = False
    stage.play("<- $qfThreadInfo\n-> $m1,2")
    stage.play(f"<- $Hg{ID}\n-> $E03")


@pytest.mark.parametrize(
    "packet",
    ["qThreadExtraInfo,0", "T0", "qC", "qThreadStopInfo0", "vCont;s:0", "vCont;c;s:0", "s"],
)
def test_the_current_thread_may_be_gone(stage: Stage, packet: str) -> None:
    assert isinstance(stage.target, Threaded)
    stage.play(f"<- $Hg{ID}\n-> $OK")
    stage.target.waits = False
    stage.play(f"<- ${packet}\n-> $E03")
    assert resumes(stage) == []
    stage.play("<- $Hg0\n-> $OK\n<- $Hg2\n-> $OK\n<- $qC\n-> $QC2")
