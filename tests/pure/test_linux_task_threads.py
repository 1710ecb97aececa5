"""Tasks that no vCPU executes as threads of a client; the guest is forged."""

import logging
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.aarch64.registers import CPSR, PC, SP, SP_EL0, SP_EL1, X
from gdbstub.debug.caches import Caches, Content
from gdbstub.errors import MemoryFault, NoSuchRegister, NoSuchThread, NotFound, StubError
from gdbstub.linux import task_threads
from gdbstub.linux.task_threads import TaskThreads
from gdbstub.linux.tasks import Tasks
from gdbstub.machine import Power
from tests.pure.linux_images import btf_of
from tests.pure.test_linux_backtrace import (
    CALLED,
    FIRST,
    IMAGE,
    LEADER,
    MEMBERS,
    STACK,
    STRUCTURES,
    THREAD,
    Kernel,
)

if TYPE_CHECKING:
    from gdbstub.architecture import Register

CONTEXT = MEMBERS["thread"] + 8
KEPT = {f"x{n}": 8 * (n - 19) for n in range(19, 29)} | {"fp": 80, "sp": 88, "pc": 96}
ID = 10_000_000
#: The end of the first stack; each has 16 KiB.
TOP = 0xFFFF_8000_1000_4000
EL0, EL1 = 0x0, 0x3C5


class Threaded(Kernel):
    """A kernel whose tasks are 0, 1 and 2; 2 is a thread of 1. Nothing executes them."""

    def __init__(self) -> None:
        super().__init__()
        forged = btf_of(STRUCTURES | {"cpu_context": (104, KEPT)})
        self.image[: len(forged)] = forged
        for number, gva in enumerate((FIRST, LEADER, THREAD)):
            self.put(gva + CONTEXT, "<10Q", *range(0x1900, 0x2900, 0x100)[:10])
            self.put(gva + CONTEXT + 88, "<Q", STACK)
            self.put(gva + MEMBERS["stack"], "<Q", TOP + 0x4000 * (number - 1))
        self.executed: list[Any] = []
        self.caches = Caches()
        self.layout = self.tasks()
        # Where the first task is, is known by then.
        self.shown = TaskThreads(self.guest(), self.caches)

    def vcpu_at(self, level: int, **registers: int) -> None:
        """Add a vCPU with these registers."""
        values = {SP_EL0: 0, SP_EL1: 0, CPSR: level}
        values |= {{"sp_el0": SP_EL0, "sp_el1": SP_EL1}[name]: n for name, n in registers.items()}
        self.executed.append(SimpleNamespace(power=Power.ON, get=values.__getitem__))

    def guest(self) -> Any:  # noqa: ANN401 - a stand-in
        layout: Any = self.layout
        layout._kernel = SimpleNamespace(vcpus=self.executed, reader=self.reader)
        return SimpleNamespace(tasks=layout, reader=self.reader)

    def ids(self) -> list[int]:
        return [row.id - ID for row in self.shown.threads()]


def test_each_task_is_a_thread_with_the_registers_that_are_kept() -> None:
    shown = Threaded().shown
    assert [tuple(row) for row in shown.threads()] == [
        (ID, None, "swapper", "PID 0, state R"),
        (ID + 1, None, "prog", "PID 1, state R"),
        (ID + 2, None, "worker", "PID 2, state R"),
    ]
    assert [shown.register(ID + 2, X[n]) for n in (19, 28)] == [0x1900, 0x2200]
    kept: tuple[Register, ...] = (X[29], SP, PC)
    assert [shown.register(ID + 2, row) for row in kept] == [STACK + 0x100, STACK, CALLED]
    for row in (X[0], X[30], CPSR):
        with pytest.raises(NoSuchRegister, match=f"keeps no {row.name} of a task"):
            shown.register(ID + 2, row)
    with pytest.raises(NoSuchThread, match="no task with PID 3, or a vCPU executes it"):
        shown.register(ID + 3, PC)


@pytest.mark.parametrize(
    ("level", "registers", "left"),
    [
        (EL1, {"sp_el0": LEADER}, [0, 2]),
        # In a program, of a process's first thread and of another one.
        (EL0, {"sp_el0": 0x5000, "sp_el1": TOP + 0x4000}, [0, 2]),
        (EL0, {"sp_el0": 0x5000, "sp_el1": TOP + 0x8000}, [0, 1]),
        # It has just entered the kernel.
        (EL1, {"sp_el0": 0x5000, "sp_el1": TOP + 0x7E00}, [0, 1]),
        # A stack of no task.
        (EL0, {"sp_el1": TOP - 0x4000}, [0, 1, 2]),
    ],
)
def test_a_task_that_a_vcpu_executes_is_none(
    level: int, registers: dict[str, int], left: list[int]
) -> None:
    kernel = Threaded()
    kernel.vcpu_at(level, **registers)
    assert kernel.ids() == left


def test_the_list_is_read_when_asked_for_and_once_a_stop() -> None:
    kernel = Threaded()
    assert kernel.ids() == [0, 1, 2]
    kernel.put(THREAD + MEMBERS["pid"], "<I", 7)
    assert kernel.ids() == [0, 1, 2]
    kernel.caches.invalidate(Content.RAN)
    assert kernel.ids() == [0, 1, 7]
    assert kernel.caches.counts["tasks"].misses == 2


def test_a_number_that_no_task_can_have_makes_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Packets have threads of 32 bits at most, so clients could not ask for such a one."""
    kernel = Threaded()
    last = (1 << 30) - 1
    for number, shown in ((last, [0, 1, last]), (last + 1, [0, 1])):
        kernel.put(THREAD + MEMBERS["pid"], "<I", number)
        kernel.caches.invalidate(Content.RAN)
        assert kernel.ids() == shown
    assert "not all tasks are shown as threads: none can be PID 1073741824" in caplog.text


def test_a_task_whose_registers_cannot_be_read() -> None:
    kernel = Threaded()
    assert kernel.ids() == [0, 1, 2]
    listed = kernel.shown._list()
    gone = listed.tasks[ID + 1]._replace(gva=8)
    kernel.shown._listed.put(False, listed._replace(tasks={ID + 1: gone}))
    with pytest.raises(NoSuchRegister, match="PID 1 has no registers: not mapped"):
        kernel.shown.register(ID + 1, PC)


def test_what_is_before_damage_is_shown_and_the_damage_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel = Threaded()
    kernel.put(LEADER + MEMBERS["tasks"], "<Q", 8)
    with caplog.at_level(logging.WARNING):
        assert kernel.ids() == [0, 1, 2]
        kernel.caches.invalidate(Content.RAN)
        assert kernel.ids() == [0, 1, 2]
    (record,) = caplog.records
    assert record.message.startswith("not all tasks are shown as threads: the list of tasks is dam")


def test_no_more_tasks_are_shown_than_a_client_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_threads, "MOST", 2)
    assert Threaded().ids() == [0, 1]


def test_before_there_is_a_kernel_that_is_said() -> None:
    class Early:
        @property
        def tasks(self) -> Tasks:
            raise NotFound("the kernel has not started yet")

    early: Any = Early()
    shown = TaskThreads(early, Caches())
    with pytest.raises(NotFound, match="not started"):
        shown.threads()
    with pytest.raises(NoSuchThread, match=f"no thread {ID}: the kernel has not started"):
        shown.register(ID, PC)


def test_a_thread_of_the_kernel_has_no_memory_of_a_program() -> None:
    kernel = Threaded()
    guest = kernel.guest()
    guest.regime = lambda: None
    shown = TaskThreads(guest, kernel.caches)
    with pytest.raises(MemoryFault, match="swapper, PID 0, is the kernel's: it has no memory"):
        shown.read_memory(ID, 0x40_0000, 4)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0x4000, 0x6300), st.sampled_from([0, 8, FIRST, LEADER, STACK + 8])),
        max_size=4,
    )
)
def test_no_damage_hangs_or_raises_anything_else(writes: list[tuple[int, int]]) -> None:
    kernel = Threaded()
    kernel.vcpu_at(EL0, sp_el1=TOP)
    for at, word in writes:
        kernel.put(IMAGE + at & -8, "<Q", word)
    for row in kernel.shown.threads():
        with suppress(StubError):
            kernel.shown.register(row.id, PC)
