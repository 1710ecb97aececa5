"""One process of a Linux guest, by its name or number, to which breakpoints in programs belong.

The process is looked for at each hit, so it may start, or execute another program, at any time.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Final

from gdbstub.aarch64.registers import TTBR0_EL1
from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import MachineError, MemoryFault, NotFound
from gdbstub.linux.guest import LinuxGuest
from gdbstub.linux.memory import physical, pointer
from gdbstub.machine import Machine, Vcpu
from gdbstub.slices import MOST_STEPS, bounded

_log = logging.getLogger("gdbstub.linux")

#: The base of the tables in a TTBR.
_TABLE: Final = (1 << 48) - 2
#: Steps that one hit may take: its vCPU cannot be parked meanwhile.
_STEPS: Final = MOST_STEPS >> 4
#: Length of comm without its NUL.
_COMM: Final = 15


class _Seen(LinuxGuest):
    """A Linux guest as one vCPU sees it, while the others may run."""

    one: Vcpu

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        return (self.one,)


class Process:
    """The process *wanted*, a name or a number (``debug.extensions.ProcessFilter``)."""

    def __init__(self, machine: Machine, memory: VirtualMemory, wanted: str) -> None:
        """Begin with nothing read of the guest of *machine*."""
        self.wanted: Final = wanted
        self._guest = _Seen(machine, memory)
        self._lock = Lock()
        self._said = False

    def matches(self, vcpu: Vcpu) -> bool:
        """Return True if *vcpu* is in the tables of the process; its own thread calls it.

        So it is while no Linux kernel is known to run.
        """
        with self._lock, bounded(_STEPS):
            self._guest.one = vcpu
            try:
                guest = self._guest
                tasks, read, linear = guest.tasks, guest.reader(), guest.linear_map(guest.info)
            except (NotFound, MachineError, MemoryFault):
                return True
            table = vcpu.get(TTBR0_EL1) & _TABLE
            try:
                for place in tasks.address_spaces(self.wanted[:_COMM], read):
                    with suppress(MemoryFault):
                        if physical(pointer(read, place), linear) == table:
                            return True
            except NotFound as reason:  # a stop too many, not one that is lost
                if not self._said:
                    _log.warning("breakpoints stop in every process: %s", reason)
                    self._said = True
                return True
            return False
