"""Tasks of a Linux guest that no vCPU executes, as threads of a client: read-only.

They are listed when a client asks, once for each stop. The list is the guest's and may be damaged:
what is before the damage is shown. In slices all of it is read, on the event loop a part.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.aarch64.mmu import pieces
from gdbstub.architecture import Register
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.extensions import GUEST_THREADS
from gdbstub.errors import MemoryFault, NoSuchRegister, NoSuchThread, NotFound
from gdbstub.linux.cpu_context import saved_registers
from gdbstub.linux.memory import physical
from gdbstub.slices import bounded, is_limited
from gdbstub.target import Thread

if TYPE_CHECKING:
    from gdbstub.linux.guest import LinuxGuest
    from gdbstub.linux.tasks import Task, Tasks

_log = logging.getLogger(__name__)

#: Most tasks that are shown: a client asks for the registers of each.
MOST: Final = 4096
#: Numbers of tasks; what is above them is damage, and no packet could name its thread.
_PIDS: Final = 1 << 30
#: Steps that a packet may take without slices, in the list or in a task's memory: less than 0.1 s.
#: They are enough for some 900 tasks.
_STEPS: Final = 7000
#: Steps for each MiB that VMCOREINFO is searched for in, without slices.
_PIECE_STEPS: Final = 24
_UPPER: Final = 1 << 55


class _Listed(NamedTuple):
    """The tasks of one stop, by their threads, and a reader of the kernel."""

    tasks: "Mapping[int, Task]"
    threads: Sequence[Thread]
    read: Callable[[int, int], bytes]
    offsets: Mapping[Register, int]


class _Layout(NamedTuple):
    """Layout of a kernel's tasks, and of the registers that are kept in them."""

    source: "Tasks"
    offsets: Mapping[Register, int]


class TaskThreads:
    """The tasks of *guest* that no vCPU executes (``debug.extensions.GuestThreads``)."""

    def __init__(self, guest: "LinuxGuest", caches: Caches) -> None:
        """Begin with nothing read."""
        self._guest = guest
        self._warned = ""
        self._layout: _Layout | None = None
        # By whether it was read in slices; or why there is none.
        self._listed: Cache[bool, _Listed | NotFound] = caches.add(
            "tasks", Content.REGISTERS | Content.TRANSLATIONS, Cache(2)
        )

    def threads(self) -> Sequence[Thread]:
        """Return a thread for each task; its id is made of the PID, so it stays the task's.

        Raises:
            NotFound: there is no list of tasks yet.
        """
        return self._list().threads

    def register(self, thread: int, register: Register) -> int:
        """Return a register that the kernel keeps.

        Raises:
            NoSuchThread: the task is not there any more, or a vCPU executes it.
            NoSuchRegister: the kernel keeps no such register, or it cannot be read.
        """
        task, listed = self._task(thread)
        if register not in listed.offsets:
            raise NoSuchRegister(f"the kernel keeps no {register.name} of a task that waits")
        try:
            return int.from_bytes(listed.read(task.gva + listed.offsets[register], 8), "little")
        except MemoryFault as fault:
            raise NoSuchRegister(f"PID {task.pid} has no registers: {fault}") from None

    def read_memory(self, thread: int, gva: int, length: int) -> bytes:
        """Read memory as the task sees it, short where it ends.

        Raises:
            NoSuchThread: the task is not there any more, or a vCPU executes it.
            MemoryFault: the first byte cannot be read.
        """
        task, listed = self._task(thread)
        try:
            with bounded(_STEPS, _PIECE_STEPS):
                return self._read_memory(task, listed, gva, length)
        except NotFound as reason:
            raise MemoryFault(f"no memory of PID {task.pid}: {reason}") from None

    def _read_memory(self, task: "Task", listed: _Listed, gva: int, length: int) -> bytes:
        regime = self._guest.regime()
        if not gva & _UPPER:
            place = self._guest.tasks.tables(task, listed.read)
            tables = physical(place, self._guest.linear_map(self._guest.info))
            if tables is None:
                raise MemoryFault(f"the tables of PID {task.pid} are not in RAM: {place:#x}")
            regime = regime._replace(ttbr0=tables)
        data = b""
        try:
            for piece in pieces(regime, gva, length, self._guest.machine.read_memory):
                wanted = min(piece.size, length - len(data))
                part = self._guest.read_physical(piece.ipa, wanted)
                data += part
                if len(part) < wanted:
                    break
        except MemoryFault:
            if not data:
                raise
        return data

    def _task(self, thread: int) -> "tuple[Task, _Listed]":
        try:
            listed = self._list()
        except NotFound as reason:
            raise NoSuchThread(f"there is no thread {thread}: {reason}") from None
        if thread not in listed.tasks:
            raise NoSuchThread(
                f"there is no task with PID {thread - GUEST_THREADS}, or a vCPU executes it now"
            )
        return listed.tasks[thread], listed

    def _list(self) -> _Listed:
        """Return the tasks as they are at this stop.

        Raises:
            NotFound: there is no list yet.
        """
        entries, in_slices = self._listed.entries, is_limited()
        listed = entries.get(True) or (None if in_slices else entries.get(False))
        if listed is None:
            self._listed.misses += 1
            try:
                with bounded(_STEPS, _PIECE_STEPS):
                    listed = self._read_list(self._guest.tasks, self._guest.reader())
            except NotFound as reason:
                listed = reason
            self._listed.put(in_slices, listed)
        if isinstance(listed, NotFound):
            raise NotFound(str(listed))
        return listed

    def _read_list(self, source: "Tasks", read: Callable[[int, int], bytes]) -> _Listed:
        if self._layout is None or self._layout.source is not source:
            self._layout = _Layout(source, saved_registers(source.image.btf))
        found: dict[int, Task] = {}
        damaged: int | None = None
        try:
            for task in islice(source.waiting(read), MOST):
                if task.pid < _PIDS:
                    found.setdefault(GUEST_THREADS + task.pid, task)
                else:
                    damaged = task.pid
            if damaged is not None:
                self._warn(f"not all tasks are shown as threads: none can be PID {damaged}")
        except NotFound as reason:
            self._warn(f"not all tasks are shown as threads: {reason}")
        threads = tuple(
            Thread(thread, None, task.name, f"PID {task.pid}, state {task.state}")
            for thread, task in found.items()
        )
        return _Listed(found, threads, read, self._layout.offsets)

    def _warn(self, text: str) -> None:
        """Log *text*, unless it was the last one."""
        if text != self._warned:
            self._warned = text
            _log.warning("%s", text)
