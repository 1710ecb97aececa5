"""What a monitor command may touch, and the table that the commands stand in.

It does nothing itself; the commands are in this package's other files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gdbstub.architecture import Register
from gdbstub.capabilities import Command
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import InputError
from gdbstub.linux.locator import KernelLocator
from gdbstub.machine import Machine, Vcpu
from gdbstub.monitor.breakpoint_history import BreakpointHistory
from gdbstub.monitor.table import Table

#: Names that people and clients have for registers whose rows have others.
_ALIASES: Final = {"lr": "x30", "fp": "x29"}


@dataclass(frozen=True, slots=True)
class CommandContext:
    """One line that somebody typed, and all that it can be about; every vCPU is parked."""

    asked: Command
    debugger: Debugger
    machine: Machine
    breakpoints: Breakpoints
    history: BreakpointHistory
    locator: KernelLocator

    @property
    def index(self) -> int:
        """The current thread's vCPU, by its number."""
        return self.asked.thread - 1

    @property
    def vcpu(self) -> Vcpu:
        """The current thread's vCPU."""
        return self.machine.vcpus[self.index]

    def read(self, rows: Sequence[Register]) -> list[int]:
        """The values that registers of the current thread have now."""
        values = []
        for row in rows:
            data = self.debugger.read_registers(self.asked.thread, (row,))
            values.append(int.from_bytes(data, "little"))
        return values

    def register(self, name: str) -> int:
        """The value of the register that a client calls *name*, in capitals or not.

        Raises:
            InputError: there is none.
        """
        wanted = _ALIASES.get(name.lower(), name.lower())
        for row in self.debugger.registers:
            if row.name.lower() == wanted:
                return self.read((row,))[0]
        raise InputError(f"there is no register ${name}")


COMMANDS: Final = Table[CommandContext]()

#: The decorator that registers a command.
command: Final = COMMANDS.command
