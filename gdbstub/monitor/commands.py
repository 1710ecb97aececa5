"""All monitor commands: each imported module registers those of its subject."""

from gdbstub.monitor import breakpoints, control, info, kernel, memory, registers, stats
from gdbstub.monitor.context import COMMANDS, CommandContext

SUBJECTS = (info, registers, memory, kernel, breakpoints, control, stats)

__all__ = ["COMMANDS", "SUBJECTS", "CommandContext"]
