"""Processes of a Linux guest, from the kernel's list of tasks.

The list is the guest's and may be damaged: no walk is longer than a bound, and none goes round.
Source: linux/include/linux/sched.h, init/init_task.c, fs/proc/array.c (task_state_array).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from gdbstub.aarch64.registers import SP_EL1
from gdbstub.errors import MemoryFault, NotFound, printable
from gdbstub.linux.kernel_image import KernelImage
from gdbstub.linux.memory import LinuxKernel, current, in_kernel, pointer
from gdbstub.machine import Power
from gdbstub.slices import TooMuchWork

Read = Callable[[int, int], bytes]

_MEMBERS: Final = (
    "tasks", "pid", "comm", "real_parent", "__state", "state", "exit_state", "mm", "stack",
    "signal", "thread_node",
)  # fmt: skip
_NEEDED: Final = ("tasks", "pid", "comm", "real_parent", "mm")
#: Names of the first task: at build time, and since its CPU is up.
_FIRST: Final = (b"swapper/0", b"swapper")
_COMM: Final = 16
#: The largest THREAD_SIZE: with pages of 64 KiB, and with KASAN.
_STACK: Final = 128 << 10
#: PID_MAX_LIMIT is larger; so many processes need 300 MiB of tasks alone.
_MOST: Final = 1 << 16
#: Letters of the states, by the highest bit that is set.
_STATES: Final = "RSDTtXZPI"
_REPORTED: Final = 0x7F
#: The bit that addresses of the kernel's half have.
_UPPER: Final = 1 << 55
_TOP: Final = 1 << 64
_IDLE: Final = 0x402
#: TASK_FROZEN and TASK_RTLOCK_WAIT, which proc tells as D.
_AS_D: Final = 0x9000


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
        #: The image that the layout is from.
        self.image: Final = KernelImage(kernel)
        self._threads_at = 0
        self._pgd: int | NotFound | None = None
        with suppress(NotFound):
            members = self.image.btf.members("signal_struct", ("thread_head",))
            self._threads_at = members["thread_head"]
        self._at: Mapping[str, int] = self.image.btf.members("task_struct", _MEMBERS)
        if missing := [name for name in _NEEDED if name not in self._at]:
            raise NotFound(f"the kernel's task_struct has no {', '.join(missing)}")
        #: Address of init_task.
        self.first: Final = self._find_first()

    def _find_first(self) -> int:
        """Return the address of init_task, which has no symbol in most kernels' kallsyms.

        It is vCPU 0's, while that is idle; else it is found in the image by its name.
        """
        read = self._kernel.reader()
        for vcpu in self._kernel.vcpus:
            if vcpu.power is Power.ON and in_kernel(vcpu):
                gva = current(vcpu)
                with suppress(MemoryFault):
                    name = read(gva + self._at["comm"], _COMM).split(b"\0")[0]
                    if name in _FIRST and self._plausible(gva, read):
                        return gva
        for start, piece in self.image.pieces(_COMM):
            for name in _FIRST:
                text = name.ljust(_COMM, b"\0")
                found = piece.find(text)
                while found >= 0:
                    gva = start + found - self._at["comm"]
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
        running = {gva: index for index, gva in self._current(read).items()}
        for gva in self._walk(read):
            yield self._told(gva, read, running.get(gva, -1))

    def running(self) -> Mapping[int, Task]:
        """Return the task that each vCPU executes, by the vCPU's number, where that is known.

        Raises:
            NotFound: one of them is damaged, with the place.
        """
        read = self._kernel.reader()
        return {index: self._told(gva, read, index) for index, gva in self._current(read).items()}

    def find(self, pid: int) -> Task:
        """Return the process or thread with this number.

        Raises:
            NotFound: there is none, or the list is damaged.
        """
        read = self._kernel.reader()
        cpus = self._current(read)
        for gva in self._every(read):
            try:
                if self._number(gva, "pid", read) == pid:
                    cpu = next((index for index, each in cpus.items() if each == gva), -1)
                    return self._task(gva, read, cpu)
            except MemoryFault as fault:
                raise _damaged(gva, fault) from None
        raise NotFound(f"there is no process {pid}: monitor ps lists them")

    def waiting(self, read: Read) -> Iterator[Task]:
        """Yield the processes and threads that no vCPU executes; *read* reads the kernel.

        Raises:
            NotFound: the list is damaged, with the place.
        """
        running = set(self._current(read).values())
        for gva in self._every(read):
            if gva not in running:
                yield self._told(gva, read, -1)

    def address_spaces(self, wanted: str, read: Read) -> Iterator[int]:
        """Yield the addresses of the ``pgd`` of processes with this name or number.

        *read* is a reader of the kernel's memory, so that no vCPU is asked.

        Raises:
            NotFound: the list is damaged, or the kernel's BTF does not tell where it is.
        """
        for gva in self._walk(read):
            try:
                task = self._task(gva, read, -1)
                if wanted in (task.name, str(task.pid)) and (mm := self._memory(gva, read)):
                    yield mm + self._pgd_at()
            except MemoryFault as fault:
                raise _damaged(gva, fault) from None

    def _memory(self, leader: int, read: Read) -> int:
        """Return the address of the ``mm`` of a process, 0 if it has none.

        A first thread that has ended before the others has none itself.
        """
        found = (pointer(read, gva + self._at["mm"]) for gva in self._threads(leader, read))
        return next(filter(None, found), 0)

    def _pgd_at(self) -> int:
        if self._pgd is None:
            try:
                self._pgd = self.image.btf.beside("pgd", "task_size")
            except NotFound as reason:  # it is in the types, which stay the same
                self._pgd = reason
        if isinstance(self._pgd, NotFound):
            raise NotFound(str(self._pgd))
        return self._pgd

    def tables(self, task: Task, read: Read) -> int:
        """Return the address of a task's translation tables for programs, in the linear map.

        Raises:
            MemoryFault: it has none, or they cannot be found.
        """
        if task.kernel_thread:
            raise MemoryFault(f"{task.name}, PID {task.pid}, is the kernel's: it has no memory")
        try:
            return pointer(read, pointer(read, task.gva + self._at["mm"]) + self._pgd_at())
        except NotFound as reason:
            raise MemoryFault(str(reason)) from None

    def _every(self, read: Read) -> Iterator[int]:
        """Yield all threads of all processes; damage of the list of processes is told of."""
        looked = 0
        for leader in self._walk(read):
            for gva in self._threads(leader, read):
                if (looked := looked + 1) > _MOST:
                    raise NotFound(f"the list of tasks is damaged: it has more than {_MOST}")
                yield gva

    def _threads(self, leader: int, read: Read) -> Iterator[int]:
        """Yield the threads of a process, *leader* first; damage ends them."""
        yield leader
        if not self._threads_at or not {"signal", "thread_node"} <= self._at.keys():
            return
        seen = set[int]()
        with suppress(MemoryFault):
            head = pointer(read, leader + self._at["signal"]) + self._threads_at
            link = pointer(read, head)
            while link != head and link not in seen and len(seen) < _MOST:
                seen.add(link)
                if (gva := (link - self._at["thread_node"]) % _TOP) != leader:
                    yield gva
                link = pointer(read, link)

    def _walk(self, read: Read) -> Iterator[int]:
        gva, seen = self.first, set[int]()
        while gva not in seen:
            if len(seen) >= _MOST:
                raise NotFound(f"the list of tasks is damaged: it has more than {_MOST}")
            seen.add(gva)
            yield gva
            try:
                gva = (pointer(read, gva + self._at["tasks"]) - self._at["tasks"]) % _TOP
            except MemoryFault as fault:
                raise _damaged(gva, fault) from None
        if gva != self.first:
            raise NotFound(f"the list of tasks is damaged: it comes back to {gva:#x}")

    def _current(self, read: Read) -> dict[int, int]:
        """Return the address of the task of each vCPU that executes one, by the vCPU's number.

        In the kernel SP_EL0 has it. In a program, and until an entry from one has set SP_EL0,
        SP_EL1 is in the task's stack or at its end: it is the nearest stack below.
        """
        found, nearest = dict[int, int](), dict[int, tuple[int, int]]()
        for index, vcpu in enumerate(self._kernel.vcpus):
            if vcpu.power is not Power.ON:
                continue
            if in_kernel(vcpu) and current(vcpu) & _UPPER:
                found[index] = current(vcpu)
            else:
                top = vcpu.get(SP_EL1)
                nearest[index] = top - _STACK - 1, top
        if not nearest or "stack" not in self._at:
            return found
        try:
            for gva in self._every(read):
                stack = pointer(read, gva + self._at["stack"])
                for index, (below, top) in nearest.items():
                    if below < stack < top:
                        nearest[index] = stack, top
                        found[index] = gva
        except TooMuchWork:
            raise
        except (MemoryFault, NotFound):  # those before the damage count
            pass
        return found

    def _told(self, gva: int, read: Read, cpu: int) -> Task:
        try:
            return self._task(gva, read, cpu)
        except MemoryFault as fault:
            raise _damaged(gva, fault) from None

    def _task(self, gva: int, read: Read, cpu: int) -> Task:
        state = self._number(gva, "__state" if "__state" in self._at else "state", read)
        state |= self._number(gva, "exit_state", read)
        parent = pointer(read, gva + self._at["real_parent"])
        name = read(gva + self._at["comm"], _COMM).split(b"\0")[0]
        return Task(
            gva,
            self._number(gva, "pid", read),
            self._number(parent, "pid", read),
            _letter(state),
            printable(name.decode("utf-8", "replace")),
            cpu,
            pointer(read, gva + self._at["mm"]) == 0,
        )


def _letter(state: int) -> str:
    """Return the letter of a state as /proc has it (__task_state_index)."""
    if state & _AS_D:
        return "D"
    return "I" if state & _IDLE == _IDLE else _STATES[(state & _REPORTED).bit_length()]


def _damaged(gva: int, fault: MemoryFault) -> NotFound:
    return NotFound(f"the list of tasks is damaged at {gva:#x}: {fault}")
