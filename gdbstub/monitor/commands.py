"""All monitor commands: each imported module registers those of its subject."""

from gdbstub.monitor import (
    breakpoints,
    control,
    info,
    kernel,
    linux,
    memory,
    modules,
    qemu,
    registers,
    stats,
)
from gdbstub.monitor.context import COMMANDS, CommandContext

SUBJECTS = (info, registers, memory, kernel, breakpoints, control, stats, qemu, linux, modules)

__all__ = ["COMMANDS", "SUBJECTS", "CommandContext"]
