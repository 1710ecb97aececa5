"""All the commands: importing a subject registers those of it.

It holds none itself; they stand in this package's other files, by subject.
"""

from gdbstub.monitor import breakpoints, control, info, kernel, memory, registers, stats
from gdbstub.monitor.context import COMMANDS, CommandContext

SUBJECTS = (info, registers, memory, kernel, breakpoints, control, stats)

__all__ = ["COMMANDS", "SUBJECTS", "CommandContext"]
