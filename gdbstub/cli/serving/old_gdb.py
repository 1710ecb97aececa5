"""Note for users of a GDB before 16, whose backtraces end at a signed return address.

It changes nothing. Source: gdb/NEWS, "Changes in GDB 16".
"""

from typing import Final

from gdbstub.debug.extensions import Observer
from gdbstub.streams import note

#: Feature that every GDB announces, and LLDB does not.
_GDB: Final = b"qRelocInsn"
#: Feature that GDB announces from 16 on.
_SINCE_16: Final = b"error-message"
NOTE: Final = (
    "GDB before 16 cannot undo pointer authentication: with a vmlinux its backtraces end "
    "where the kernel has signed a return address; use GDB 16, the file of gdbstub symbols IMAGE, "
    "--cpu pauth=off, or --append arm64.nopauth"
)


def signs(machine_authenticates: bool, command_line: str | None) -> bool:
    """Return True if a Linux kernel with *command_line* may sign its return addresses."""
    return machine_authenticates and "arm64.nopauth" not in (command_line or "").split()


class OldGdb(Observer):
    """Prints the note once, when the first such GDB attaches."""

    def __init__(self) -> None:
        """Begin with nothing printed."""
        self._told = False

    def client_announced(self, features: frozenset[bytes]) -> None:
        """Print the note if it is due."""
        if not self._told and _GDB in features and _SINCE_16 not in features:
            self._told = True
            note(NOTE)
