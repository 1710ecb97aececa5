"""A Linux guest: its kernel, and what is read once for each kernel."""

from gdbstub.debug.memory import VirtualMemory
from gdbstub.linux.backtrace import Backtraces
from gdbstub.linux.kallsyms import Kallsyms
from gdbstub.linux.memory import LinuxKernel
from gdbstub.linux.modules import Modules
from gdbstub.linux.tasks import Tasks
from gdbstub.machine import Machine


class LinuxGuest(LinuxKernel):
    """The kernel of a machine with its processes, for use while all vCPUs are parked."""

    def __init__(self, machine: Machine, memory: VirtualMemory) -> None:
        """Begin with nothing known."""
        super().__init__(machine, memory)
        self._tasks: tuple[bytes, Tasks] | None = None
        self._backtraces: Backtraces | None = None
        self._modules: Modules | None = None
        self._kallsyms: tuple[bytes, Kallsyms] | None = None

    @property
    def tasks(self) -> Tasks:
        """The processes; their layout is read once for each kernel.

        Raises:
            NotFound: the kernel has no BTF, or has not started yet.
        """
        text = self.info.text
        if self._tasks is None or self._tasks[0] != text:
            self._tasks = text, Tasks(self)
            self._backtraces = self._modules = None
        return self._tasks[1]

    @property
    def backtraces(self) -> Backtraces:
        """Backtraces of tasks; their layout is read once for each kernel.

        Raises:
            NotFound: the kernel has no BTF, or has not started yet.
        """
        tasks = self.tasks
        if self._backtraces is None:
            self._backtraces = Backtraces(self, tasks)
        return self._backtraces

    @property
    def kallsyms(self) -> Kallsyms:
        """Names of the kernel's functions; they are read once for each kernel.

        Raises:
            NotFound: the kernel does not tell where it has them.
        """
        info = self.info
        if self._kallsyms is None or self._kallsyms[0] != info.text:
            self._kallsyms = info.text, Kallsyms(info, self.reader())
        return self._kallsyms[1]

    @property
    def modules(self) -> Modules:
        """The loaded modules; their layout is read once for each kernel.

        Raises:
            NotFound: the kernel has no BTF or no modules, or has not started yet.
        """
        tasks = self.tasks
        if self._modules is None:
            self._modules = Modules(self, tasks.image, tasks.first)
        return self._modules
