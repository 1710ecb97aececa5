"""A GDB remote stub for KVM arm64 guests, and its protocol half as a library.

What is named here serves any object that implements ``Target`` to GDB and LLDB; it knows no KVM
and imports nothing but the standard library. Each name's module is imported when it is first used.

    asyncio.run(gdbstub.serve(my_target, "localhost:1234"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gdbstub.aarch64.registers import Register
    from gdbstub.agent import Clauses
    from gdbstub.capabilities import HasExecFile, Relocatable, Relocation
    from gdbstub.errors import (
        InputError,
        MachineError,
        MemoryFault,
        NoSlot,
        NoSuchRegister,
        NoSuchThread,
        RegisterRefused,
        StubError,
    )
    from gdbstub.protocol.conditions import Conditions
    from gdbstub.protocol.cooperative import CooperativeTarget
    from gdbstub.protocol.endpoint import Endpoint, Stdio, Tcp, Unix
    from gdbstub.protocol.record import Recorder
    from gdbstub.protocol.serve import serve
    from gdbstub.protocol.server import Server
    from gdbstub.target import (
        Action,
        BreakpointConditions,
        BreakpointKind,
        Command,
        Exited,
        MemoryTags,
        Monitor,
        PhysicalMemory,
        Range,
        Report,
        Restartable,
        Resume,
        Signal,
        Stopped,
        StopReason,
        TaggedTarget,
        Target,
        Thread,
        Timing,
    )

__version__ = "0.1.0"

__all__ = [
    "Action",
    "BreakpointConditions",
    "BreakpointKind",
    "Clauses",
    "Command",
    "Conditions",
    "CooperativeTarget",
    "Endpoint",
    "Exited",
    "HasExecFile",
    "InputError",
    "MachineError",
    "MemoryFault",
    "MemoryTags",
    "Monitor",
    "NoSlot",
    "NoSuchRegister",
    "NoSuchThread",
    "PhysicalMemory",
    "Range",
    "Recorder",
    "Register",
    "RegisterRefused",
    "Relocatable",
    "Relocation",
    "Report",
    "Restartable",
    "Resume",
    "Server",
    "Signal",
    "Stdio",
    "StopReason",
    "Stopped",
    "StubError",
    "TaggedTarget",
    "Target",
    "Tcp",
    "Thread",
    "Timing",
    "Unix",
    "serve",
]

#: The rooms that they stand in, the quickest to import first.
_ROOMS: Final = (
    *("errors", "target", "protocol.endpoint", "protocol.record", "protocol.serve"),
    *("protocol.conditions", "protocol.cooperative", "capabilities"),
)


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562): the command line, too, passes through this module."""
    if name in __all__:
        for room in _ROOMS:
            module = import_module(f"gdbstub.{room}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
