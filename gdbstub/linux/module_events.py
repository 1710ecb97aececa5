"""Stop points at which the modules of a Linux guest change: before an init, after it, and removal.

Source: linux/kernel/module/main.c (load_module, do_init_module, free_module).
"""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from gdbstub.aarch64.registers import X
from gdbstub.capabilities import Relocation
from gdbstub.debug.extensions import Observer
from gdbstub.linux.kaslr import LinkedKernel
from gdbstub.machine import Machine
from gdbstub.target import Stopped, StopReason

_LOADED: Final = "do_init_module"
_REMOVED: Final = "free_module"
#: Modules that are loaded or freed at one time, at most.
_MOST: Final = 64


class ModuleEvents(Observer):
    """Stop points in a kernel (``debug.extensions.StopPoints``), while a client follows modules."""

    def __init__(
        self, kernel: LinkedKernel, place: Callable[[], Relocation | None], machine: Machine
    ) -> None:
        """Find the functions in *kernel*, which is at *place*."""
        self._linked = [kernel.functions[name] for name in (_LOADED, _REMOVED)]
        self._place = place
        self._machine = machine
        self._offset = 0
        # Addresses that do_init_module returns to: then the memory of an init is freed.
        self._returns = Counter[int]()
        #: True while a client wants to know.
        self.followed = False
        #: Addresses of the ``struct module`` of modules that are about to be freed.
        self.freed: set[int] = set()

    @staticmethod
    def has_places(kernel: LinkedKernel) -> bool:
        """Return True if the kernel's symbols have the functions that this needs."""
        return {_LOADED, _REMOVED} <= kernel.functions.keys()

    @property
    def addresses(self) -> Collection[int]:
        """Addresses of the places; none while nobody follows or the kernel's place is unknown."""
        if not self.followed:
            return ()
        if (place := self._place()) is None:
            return ()
        self._offset = place.offset
        return (*(gva + self._offset for gva in self._linked), *self._returns)

    def stop_at(self, vcpu: int, gva: int) -> Stopped:
        """Return a stop that has the client ask for the modules again."""
        registers = self._machine.vcpus[vcpu]
        loaded, removed = (link + self._offset for link in self._linked)
        if gva == loaded and len(self._returns) < _MOST:
            self._returns[registers.get(X[30])] += 1
        elif gva == removed and len(self.freed) < _MOST:
            self.freed.add(registers.get(X[0]))
        else:
            self._returns -= Counter((gva,))  # another module may be on its way there, too
        return Stopped(vcpu + 1, stop=StopReason.LIBRARY)

    def restarted(self) -> None:
        """Forget the modules that were on their way."""
        self._returns.clear()
        self.freed.clear()

    def client_left(self) -> None:
        """Stop no more for modules."""
        self.followed = False
        self.restarted()
