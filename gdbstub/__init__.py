"""A GDB remote stub for KVM arm64 guests, and its protocol half as a library.

The names here serve any object that implements ``Target`` to GDB and LLDB. They know no KVM and no
instruction set, and import only the standard library. A name's module is imported when the name is
first used.

    asyncio.run(gdbstub.serve(my_target, "localhost:1234"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gdbstub.agent import Clauses
    from gdbstub.architecture import Architecture, Register
    from gdbstub.capabilities import (
        AddressBits,
        BreakpointConditions,
        Capability,
        Command,
        HasExecFile,
        HasGuestThreads,
        HasLibraries,
        InterruptsInSteps,
        Library,
        MemoryMapping,
        MemoryRegion,
        MemoryTags,
        Monitor,
        OsTable,
        OsTables,
        PhysicalMemory,
        Relocatable,
        Relocation,
        Restartable,
        TaggedTarget,
        Timing,
    )
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
        BreakpointKind,
        Exited,
        Range,
        Report,
        Resume,
        Signal,
        Stopped,
        StopReason,
        Target,
        Thread,
    )

__version__ = "0.1.0"

__all__ = [
    "Action",
    "AddressBits",
    "Architecture",
    "BreakpointConditions",
    "BreakpointKind",
    "Capability",
    "Clauses",
    "Command",
    "Conditions",
    "CooperativeTarget",
    "Endpoint",
    "Exited",
    "HasExecFile",
    "HasGuestThreads",
    "HasLibraries",
    "InputError",
    "InterruptsInSteps",
    "Library",
    "MachineError",
    "MemoryFault",
    "MemoryMapping",
    "MemoryRegion",
    "MemoryTags",
    "Monitor",
    "NoSlot",
    "NoSuchRegister",
    "NoSuchThread",
    "OsTable",
    "OsTables",
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

#: The modules that have them, the quickest to import first.
_MODULES: Final = (
    *("errors", "architecture", "target", "capabilities", "protocol.endpoint", "protocol.record"),
    *("protocol.serve", "protocol.conditions", "protocol.cooperative"),
)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562), so that the command line does not."""
    if name in __all__:
        for each in _MODULES:
            module = import_module(f"gdbstub.{each}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
