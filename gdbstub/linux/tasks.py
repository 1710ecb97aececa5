"""Processes of a Linux guest, from the kernel's list of tasks.

The list is the guest's and may be damaged: no walk is longer than a bound, and none goes round.
Source: linux/include/linux/sched.h, init/init_task.c, fs/proc/array.c (task_state_array).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from gdbstub.errors import MemoryFault, NotFound, printable
from gdbstub.linux import btf
from gdbstub.linux.memory import LinuxKernel, current, in_kernel, pointer
from gdbstub.machine import Power

Read = Callable[[int, int], bytes]

_MEMBERS: Final = (
    "tasks", "pid", "comm", "real_parent", "__state", "state", "exit_state", "mm",
)  # fmt: skip
_NEEDED: Final = ("tasks", "pid", "comm", "real_parent", "mm")
#: Names of the first task: at build time, and since its CPU is up.
_FIRST: Final = (b"swapper/0", b"swapper")
_COMM: Final = 16
#: PID_MAX_LIMIT is larger; so many processes need 300 MiB of tasks alone.
_MOST: Final = 1 << 16
#: Bytes behind the start of the kernel in which its data and its BTF are.
_IMAGE: Final = 128 << 20
_PIECE: Final = 4 << 20
#: Letters of the states, by the highest bit that is set.
_STATES: Final = "RSDTtXZPI"
_REPORTED: Final = 0x7F
_IDLE: Final = 0x402


class Task(NamedTuple):
    """One process: its task's address, ids, state by a letter as of ps, and name.

    ``cpu`` is the number of the vCPU that executes it in the kernel, -1 if none does. A thread of
    the kernel has no memory of its own.
    """

    gva: int
    pid: int
    parent: int
    state: str
    name: str
    cpu: int
    kernel_thread: bool


class Tasks:
    """The list of processes of *kernel*, whose layout is read once."""

    def __init__(self, kernel: LinuxKernel) -> None:
        """Read the layout.

        Raises:
            NotFound: the kernel has no BTF, or it is not there yet.
        """
        self._kernel = kernel
        info = kernel.info
        self._start = (info.number("SYMBOL", "_stext") & -(64 << 10)) - (64 << 10)
        self._offset = info.number("NUMBER", "kimage_voffset")
        self._at: Mapping[str, int] = self._btf().members("task_struct", _MEMBERS)
        if missing := [name for name in _NEEDED if name not in self._at]:
            raise NotFound(f"the kernel's task_struct has no {', '.join(missing)}")
        self._first = self._find_first()

    def _pieces(self, overlap: int) -> Iterator[tuple[int, bytes]]:
        """Yield the kernel's image piece by piece, each with its offset and a part of the next."""
        start = (self._start - self._offset) % (1 << 64)
        for at in range(0, _IMAGE, _PIECE):
            try:
                yield at, self._kernel.read_physical(start + at, _PIECE + overlap)
            except MemoryFault:
                return

    def _btf(self) -> btf.Btf:
        start = (self._start - self._offset) % (1 << 64)
        for at, piece in self._pieces(len(btf.BEGIN)):
            found = piece.find(btf.BEGIN)
            while found >= 0:
                with suppress(NotFound, MemoryFault):
                    return btf.find(self._kernel.read_physical(start + at + found, btf.MOST))
                found = piece.find(btf.BEGIN, found + 1)
        return btf.find(b"")

    def _find_first(self) -> int:
        """Return the address of init_task, which has no symbol in most kernels' kallsyms.

        It is vCPU 0's, while that is idle; else it is found in the image by its name.
        """
        read = self._kernel.reader()
        for vcpu in self._kernel.machine.vcpus:
            if vcpu.power is Power.ON and in_kernel(vcpu):
                gva = current(vcpu)
                with suppress(MemoryFault):
                    name = read(gva + self._at["comm"], _COMM).split(b"\0")[0]
                    if name in _FIRST and self._plausible(gva, read):
                        return gva
        for at, piece in self._pieces(_COMM):
            for name in _FIRST:
                text = name.ljust(_COMM, b"\0")
                found = piece.find(text)
                while found >= 0:
                    gva = self._start + at + found - self._at["comm"]
                    if self._plausible(gva, read):
                        return gva
                    found = piece.find(text, found + 1)
        raise NotFound("the kernel's first task is not in its image")

    def _plausible(self, gva: int, read: Read) -> bool:
        link = gva + self._at["tasks"]
        try:
            return (
                self._number(gva, "pid", read) == 0
                and pointer(read, pointer(read, link) + 8) == link
                and pointer(read, gva + self._at["real_parent"]) == gva
            )
        except MemoryFault:
            return False

    def _number(self, gva: int, member: str, read: Read) -> int:
        if member not in self._at:
            return 0
        return int.from_bytes(read(gva + self._at[member], 4), "little")

    def all(self) -> Iterator[Task]:
        """Yield all processes, the idle task first; it ends early where the list is damaged.

        Raises:
            NotFound: the list is damaged, with the place.
        """
        read = self._kernel.reader()
        running = {
            current(vcpu): index
            for index, vcpu in enumerate(self._kernel.machine.vcpus)
            if vcpu.power is Power.ON and in_kernel(vcpu)
        }
        gva, seen = self._first, set[int]()
        while gva not in seen:
            if len(seen) >= _MOST:
                raise NotFound(f"the list of tasks is damaged: it has more than {_MOST}")
            seen.add(gva)
            try:
                yield self._task(gva, read, running.get(gva, -1))
                gva = pointer(read, gva + self._at["tasks"]) - self._at["tasks"]
            except MemoryFault as fault:
                raise NotFound(f"the list of tasks is damaged at {gva:#x}: {fault}") from None
        if gva != self._first:
            raise NotFound(f"the list of tasks is damaged: it comes back to {gva:#x}")

    def _task(self, gva: int, read: Read, cpu: int) -> Task:
        state = self._number(gva, "__state" if "__state" in self._at else "state", read)
        state |= self._number(gva, "exit_state", read)
        parent = pointer(read, gva + self._at["real_parent"])
        name = read(gva + self._at["comm"], _COMM).split(b"\0")[0]
        return Task(
            gva,
            self._number(gva, "pid", read),
            self._number(parent, "pid", read),
            "I" if state & _IDLE == _IDLE else _STATES[(state & _REPORTED).bit_length()],
            printable(name.decode("utf-8", "replace")),
            cpu,
            pointer(read, gva + self._at["mm"]) == 0,
        )
