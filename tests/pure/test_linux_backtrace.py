"""Backtraces of tasks by the frame records on their stacks, forged; and threads of a process."""

import struct
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.aarch64.registers import CPSR, PC, TCR_EL1, X
from gdbstub.errors import NotFound, StubError
from gdbstub.linux.backtrace import Backtraces
from gdbstub.linux.tasks import Tasks
from gdbstub.machine import Power
from tests.pure.linux_images import START, VOFFSET, Guest, btf_of

if TYPE_CHECKING:
    from gdbstub.linux.memory import LinuxKernel

IMAGE = VOFFSET + START
MEMBERS = {
    "__state": 8, "tasks": 16, "pid": 32, "real_parent": 40, "mm": 48, "comm": 56, "signal": 80,
    "thread_node": 88, "stack": 104, "thread": 112,
}  # fmt: skip
SIZE = 256
STRUCTURES: dict[str, tuple[int, dict[str, int]]] = {
    "task_struct": (SIZE, MEMBERS),
    "signal_struct": (64, {"thread_head": 16}),
    "thread_struct": (128, {"cpu_context": 8}),
    "cpu_context": (104, {"fp": 80, "pc": 96}),
}
STACK = IMAGE + 0x6000
FIRST, LEADER, THREAD = (IMAGE + 0x4000 + n * SIZE for n in range(3))
SIGNAL = IMAGE + 0x5000
#: With 48 bits of address.
CALLED, CALLER = 0xFFFF_8000_0801_0000, 0xFFFF_8000_0802_0000
SIGNED = 0x00AB_8000_0802_0000


def function(gva: int) -> str:
    """Name the function of an address: each has 64 KiB."""
    return f"f{gva >> 16:x}" if gva >= CALLED - 0x1_0000 else ""


class Kernel(Guest):
    """The first task, and a process of two threads."""

    def __init__(self) -> None:
        super().__init__(bytearray(0x8000))
        btf = btf_of(STRUCTURES)
        self.image[: len(btf)] = btf
        for number, gva in enumerate((FIRST, LEADER, THREAD)):
            for member, form, value in (
                ("pid", "<I", number),
                ("comm", "16s", (b"swapper", b"prog", b"worker")[number]),
                ("real_parent", "<Q", FIRST),
                ("mm", "<Q", number),
                ("signal", "<Q", SIGNAL + 0x100 * bool(number)),
            ):
                self.put(gva + MEMBERS[member], form, value)
            self.put(gva + MEMBERS["thread"] + 8 + 80, "<QQQ", STACK + 0x100, 0, CALLED)
        tasks = MEMBERS["tasks"]
        self.put(FIRST + tasks, "<QQ", LEADER + tasks, LEADER + tasks)
        self.put(LEADER + tasks, "<QQ", FIRST + tasks, FIRST + tasks)
        node = MEMBERS["thread_node"]
        self._ring(SIGNAL + 16, FIRST + node)
        self._ring(SIGNAL + 0x100 + 16, LEADER + node, THREAD + node)
        self.put(STACK + 0x100, "<QQ", STACK + 0x200, SIGNED)
        self.put(STACK + 0x200, "<QQ", 0, 0)

    def _ring(self, *links: int) -> None:
        for link, following in zip(links, (*links[1:], links[0]), strict=True):
            self.put(link, "<Q", following)

    def put(self, gva: int, form: str, *values: object) -> None:
        struct.pack_into(form, self.image, gva - IMAGE, *values)

    def vcpu(self) -> Any:  # noqa: ANN401 - a stand-in
        return SimpleNamespace(get={TCR_EL1: 16 << 16 | 16}.__getitem__)

    def tasks(self) -> Tasks:
        return Tasks(cast("LinuxKernel", self))

    def frames(self, pid: int) -> list[int]:
        tasks = self.tasks()
        return list(Backtraces(cast("LinuxKernel", self), tasks).frames(tasks.find(pid), function))

    def running(self, pc: int, link: int) -> list[int]:
        """The frames of a vCPU whose x29 is that of the first record."""
        registers = {PC: pc, X[30]: link, X[29]: STACK + 0x100, CPSR: 0x3C5}
        running: Any = SimpleNamespace(power=Power.ON, get=registers.__getitem__)
        kernel: Any = SimpleNamespace(vcpus=[running], vcpu=self.vcpu, reader=self.reader)
        return list(Backtraces(kernel, self.tasks()).of_vcpu(0, function))


def test_the_frames_of_a_sleeping_task() -> None:
    """The last record is of no caller; a return address is without its signature."""
    assert Kernel().frames(1) == [CALLED, CALLER]


ENTERED = CALLED + 0x20_0000


@pytest.mark.parametrize(
    ("pc", "link", "frames"),
    [
        # It has a record, and has called nobody yet; it has called another; it has no record.
        (CALLED, CALLER, [CALLED, CALLER]),
        (CALLED + 8, CALLED + 4, [CALLED + 8, CALLER]),
        (ENTERED, CALLED + 4, [ENTERED, CALLED + 4, CALLER]),
        (ENTERED, SIGNED ^ 0x3_0000, [ENTERED, CALLER ^ 0x3_0000, CALLER]),
        (CALLED, 5 << 50, [CALLED, CALLER]),
    ],
)
def test_the_frames_of_what_a_vcpu_executes(pc: int, link: int, frames: list[int]) -> None:
    assert Kernel().running(pc, link) == frames


def entered(kernel: Kernel, kind: int = 2) -> Kernel:
    """Have *kernel*'s first record be that of an exception, as Linux 6.14 makes it.

    ENTERED was interrupted, which CALLER has called; its record is the second.
    """
    forged = btf_of(
        STRUCTURES
        | {"pt_regs": (336, {"stackframe": 0x120}), "frame_record_meta": (24, {"type": 16})}
    )
    kernel.image[: len(forged)] = forged
    at = STACK + 0x700
    kernel.put(STACK + 0x100, "<QQ", at + 0x120, CALLED ^ 0x3_0000)
    kernel.put(at + 29 * 8, "<QQQQ", STACK + 0x180, SIGNED ^ 0x30_0000, STACK, ENTERED)
    kernel.put(at + 0x120, "<QQQ", 0, 0, kind)
    kernel.put(STACK + 0x180, "<QQ", STACK + 0x200, SIGNED)
    return kernel


def test_an_exception_in_the_kernel_is_passed() -> None:
    interrupted = [ENTERED, CALLER ^ 0x30_0000, CALLER]
    assert entered(Kernel()).frames(1) == [CALLED, CALLED ^ 0x3_0000, *interrupted]


@pytest.mark.parametrize("kind", [0, 1, 3])
def test_other_metadata_ends_a_stack(kind: int) -> None:
    assert entered(Kernel(), kind).frames(1) == [CALLED, CALLED ^ 0x3_0000]


def test_exceptions_that_lead_to_each_other_end() -> None:
    kernel = entered(Kernel())
    kernel.put(STACK + 0x700 + 29 * 8, "<Q", STACK + 0x820)
    assert kernel.frames(1) == [CALLED, CALLED ^ 0x3_0000, ENTERED, CALLER ^ 0x30_0000]


def test_a_thread_that_is_not_the_first_is_found() -> None:
    task = Kernel().tasks().find(2)
    assert (task.gva, task.name, task.pid) == (THREAD, "worker", 2)


def test_no_such_process() -> None:
    with pytest.raises(NotFound, match="there is no process 3: monitor ps lists them"):
        Kernel().tasks().find(3)


@pytest.mark.parametrize("fp", [STACK + 0x100, 8, STACK + 0x104])
def test_a_stack_that_leads_nowhere_ends(fp: int) -> None:
    kernel = Kernel()
    kernel.put(STACK + 0x100, "<Q", fp)
    assert kernel.frames(1) == [CALLED, CALLER]


def test_a_stack_without_an_end() -> None:
    kernel = Kernel()
    for number in range(0x180):
        kernel.put(STACK + 16 * number, "<QQ", STACK + 16 * (number + 1), CALLER)
    assert len(kernel.frames(1)) == 129


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0x4000, 0x6300), st.sampled_from([0, 8, FIRST, LEADER, STACK + 8])),
        max_size=4,
    )
)
def test_no_damage_hangs_or_raises_anything_else(writes: list[tuple[int, int]]) -> None:
    kernel = Kernel()
    for at, word in writes:
        kernel.put(IMAGE + at & -8, "<Q", word)
    for pid in range(4):
        with suppress(StubError):
            assert len(kernel.frames(pid)) < 200
