"""Context of a monitor command, and the table of commands.

The commands are in this package's other files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gdbstub.architecture import Register
from gdbstub.capabilities import Command
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.debugger import Debugger
from gdbstub.debug.extensions import GUEST_THREADS, without_vcpu
from gdbstub.errors import InputError
from gdbstub.linux.core_file import NewFile
from gdbstub.linux.guest import LinuxGuest
from gdbstub.linux.locator import KernelLocator
from gdbstub.machine import Machine, Vcpu
from gdbstub.monitor.breakpoint_history import BreakpointHistory
from gdbstub.monitor.table import Table

#: Register names of people and clients that the rows do not have.
_ALIASES: Final = {"lr": "x30", "fp": "x29"}


@dataclass(frozen=True, slots=True)
class CommandContext:
    """A line that was typed, and the objects that it can be about. Every vCPU is parked."""

    asked: Command
    debugger: Debugger
    history: BreakpointHistory
    locator: KernelLocator
    kernel: LinuxGuest
    new_file: NewFile

    @property
    def machine(self) -> Machine:
        """The debugger's machine."""
        return self.debugger.machine

    @property
    def breakpoints(self) -> Breakpoints:
        """The debugger's breakpoints."""
        return self.debugger.breakpoints

    @property
    def index(self) -> int:
        """Number of the current thread's vCPU.

        Raises:
            NoSuchThread: it is a task that waits.
        """
        if self.pid is not None:
            raise without_vcpu(self.asked.thread, len(self.machine.vcpus))
        return self.debugger.index(self.asked.thread)

    def translating(self, gva: int) -> int:
        """Return the number of a vCPU that translates *gva* as the current thread does.

        Raises:
            NoSuchThread: it is of a program that no vCPU executes.
        """
        return self.debugger.translating(self.asked.thread, gva)

    def is_current(self, index: int) -> bool:
        """Return True if the current thread is that of the vCPU *index*."""
        return self.asked.thread == index + 1

    @property
    def pid(self) -> int | None:
        """PID of the current thread if it is a task that waits, None if it is a vCPU's."""
        return self.asked.thread - GUEST_THREADS if self.asked.thread >= GUEST_THREADS else None

    @property
    def vcpu(self) -> Vcpu:
        """vCPU of the current thread; of a task that waits, the one that has stopped."""
        return self.machine.vcpus[self.debugger.index(self.asked.thread)]

    def read(self, rows: Sequence[Register]) -> list[int]:
        """Read registers of the current thread."""
        values = []
        for row in rows:
            data = self.debugger.read_registers(self.asked.thread, (row,))
            values.append(int.from_bytes(data, "little"))
        return values

    def register(self, name: str) -> int:
        """Read the register that a client calls *name*, in capitals or not.

        Raises:
            InputError: there is none.
        """
        wanted = _ALIASES.get(name.lower(), name.lower())
        # QEMU leaves the level off its registers of EL1: VBAR.
        for row in self.debugger.registers:
            if row.name.lower() in (wanted, f"{wanted}_el1"):
                return self.read((row,))[0]
        raise InputError(f"there is no register ${name}")


COMMANDS: Final = Table[CommandContext]()

#: The decorator that registers a command.
command: Final = COMMANDS.command
