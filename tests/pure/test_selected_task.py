"""Requests of a client that has selected a task which no vCPU executes; the task is forged.

The stopped vCPU is in a process of its own, which is not that task's.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from gdbstub import rsp
from gdbstub.aarch64.registers import PC, SCTLR_EL1
from gdbstub.architecture import Register
from gdbstub.debug.caches import Content
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import NoSuchRegister, NoSuchThread
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from gdbstub.target import Thread
from tests.fuzz.still_machine import TEXT, StillMachine
from tests.pure.test_hostile_guests import text_of

TASK = 10_000_042
LOWER = 0x40_0000
REFUSED = f"no vCPU executes thread {TASK}, and 0x400000 is of its program: select a vCPU's, from 1"


class OneTask:
    """``GuestThreads`` with one task, of which the pc is known."""

    def threads(self) -> Sequence[Thread]:
        return [Thread(TASK, None, "prog", "PID 42, state S")]

    def register(self, thread: int, register: Register) -> int:
        if register is not PC:
            raise NoSuchRegister(f"the kernel keeps no {register.name}")
        return 0x1234

    def read_memory(self, thread: int, gva: int, length: int) -> bytes:
        return bytes(length)


@pytest.fixture
def debugger() -> Debugger:
    debugger = monitored_debugger(StillMachine(vcpus=2))
    debugger.tasks = OneTask()
    return debugger


@pytest.fixture
def session(debugger: Debugger) -> Session:
    session = Session(debugger)
    session.receive(rsp.encode(b"QStartNoAckMode") + b"+")
    session.receive(rsp.encode(b"qSupported:error-message+"))
    session.receive(rsp.encode(b"Hg%x" % TASK))
    return session


def ask(session: Session, packet: bytes) -> str:
    sent = session.receive(rsp.encode(packet))
    while session.busy:
        sent += session.advance()
    return text_of(sent)


def monitor(session: Session, line: str) -> str:
    return ask(session, b"qRcmd," + line.encode().hex().encode())


@pytest.mark.parametrize(
    "packet",
    [*(b"Z%d,400000,4" % n for n in range(5)), b"qMemoryRegionInfo:400000"],
)
def test_its_programs_addresses_are_refused(session: Session, packet: bytes) -> None:
    assert f"E.{REFUSED}" in ask(session, packet)
    ask(session, b"Hg1")
    assert "E." not in ask(session, packet)


def test_its_programs_memory_is_not_written(session: Session) -> None:
    assert f"E.{REFUSED}" in ask(session, b"M400000,1:00")


@pytest.mark.parametrize("command", ["walk", "phys", "gva2gpa"])
def test_commands_that_translate_refuse_them_too(session: Session, command: str) -> None:
    assert REFUSED in monitor(session, f"{command} {LOWER:#x}")
    assert "no vCPU" not in monitor(session, f"{command} {TEXT:#x}")
    ask(session, b"Hg1")
    assert "no vCPU" not in monitor(session, f"{command} {LOWER:#x}")


def test_a_breakpoint_that_a_client_takes_back_at_the_stop_may_come_again(
    debugger: Debugger, session: Session
) -> None:
    """GDB takes all back at a stop, and asks again before it continues, whatever is selected."""
    ask(session, b"Hg1")
    assert ask(session, b"Z1,400000,4") == "OK"
    assert ask(session, b"z1,400000,4") == "OK"
    ask(session, b"Hg%x" % TASK)
    assert ask(session, b"Z1,400000,4") == "OK"
    assert REFUSED in ask(session, b"Z1,400004,4").replace("400004", "400000")
    ask(session, b"z1,400000,4")
    debugger.release()
    assert REFUSED in ask(session, b"Z1,400000,4")


def test_with_the_mmu_off_there_are_no_processes(debugger: Debugger, session: Session) -> None:
    first, second = debugger.machine.vcpus
    first.set(SCTLR_EL1, 0)
    assert REFUSED in ask(session, b"Z1,400000,4")
    second.set(SCTLR_EL1, 0)
    debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    assert ask(session, b"Z1,400000,4") == "OK"


def test_the_kernels_addresses_are_the_same_for_all(session: Session) -> None:
    assert ask(session, b"Z0,%x,4" % TEXT) == "OK"
    assert ask(session, b"qMemoryRegionInfo:%x" % TEXT).startswith("start:ffff")


def test_tags_are_those_of_no_other_process(
    debugger: Debugger, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = list[int]()
    forged = SimpleNamespace(
        read_tags=lambda ipa, count: bytes(count),
        write_tags=lambda ipa, tags: written.append(ipa),
    )
    monkeypatch.setattr("gdbstub.debug.debugger.ram_tags", lambda machine: forged)
    tags = debugger.tags
    assert tags is not None
    for attempt in (lambda: tags.read(TASK, LOWER, 1), lambda: tags.write(TASK, LOWER, b"\1")):
        with pytest.raises(NoSuchThread, match=REFUSED):
            attempt()
    assert not written
    tags.write(TASK, TEXT, b"\1")
    assert len(written) == 1


def test_its_registers_are_its_own_for_commands_too(session: Session) -> None:
    assert "0x1234" in monitor(session, "regs pc")
    assert "keeps no SCTLR_EL1" in monitor(session, "regs SCTLR_EL1")
    assert "select a vCPU's, from 1 to 2" in monitor(session, "info registers")
    assert "CPU#1" in monitor(session, "info registers -a")


def test_no_vcpu_is_shown_as_the_current_thread(session: Session) -> None:
    assert "*" not in monitor(session, "info cpus")
    assert "current thread" not in monitor(session, "info")


def test_ids_of_no_listed_task_are_no_threads(debugger: Debugger, session: Session) -> None:
    with pytest.raises(NoSuchThread, match=f"there is no thread {TASK + 1}"):
        debugger.index(TASK + 1)
    debugger.tasks = None
    assert f"there is no thread {TASK}" in monitor(session, "info")
