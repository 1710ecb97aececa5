"""Stop points at the functions in which a Linux kernel panics, oopses, warns or resets."""

from collections.abc import Callable, Collection
from typing import Final

from gdbstub.aarch64.registers import X
from gdbstub.capabilities import Relocation
from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import InputError, MemoryFault, printable
from gdbstub.linux.kaslr import LinkedKernel
from gdbstub.linux.reasons import FUNCTIONS
from gdbstub.machine import Machine
from gdbstub.target import Signal, Stopped

#: By reason: the text before what the function was called with.
_TEXTS: Final = {
    "panic": "the guest panics: ",
    "oops": "the guest's kernel oopses: ",
    "warn": "the guest's kernel warns: ",
    "reset": "the guest resets itself",
}
_LINE: Final = 200


class StopOn:
    """Stop points in a kernel (``debug.extensions.StopPoints``)."""

    def __init__(
        self,
        kernel: LinkedKernel,
        reasons: Collection[str],
        place: Callable[[], Relocation | None],
        machine: Machine,
        memory: VirtualMemory,
    ) -> None:
        """Find the functions of *reasons* in *kernel*, which is at *place*.

        Raises:
            InputError: the kernel has no function for a reason.
        """
        self._machine = machine
        self._memory = memory
        self._place = place
        self._linked: dict[int, str] = {}
        for reason in reasons:
            found = [name for name in FUNCTIONS[reason] if name in kernel.functions]
            if not found:
                names = " or ".join(FUNCTIONS[reason])
                raise InputError(f"--stop-on {reason}: the kernel's symbols have no {names}")
            self._linked[kernel.functions[found[0]]] = reason
        self._offset = 0
        #: Reasons that came, the last one last.
        self.met: list[str] = []

    @property
    def addresses(self) -> Collection[int]:
        """Addresses of the functions; none while the kernel's place is not known."""
        if (place := self._place()) is None:
            return ()
        self._offset = place.offset
        return [gva + self._offset for gva in self._linked]

    def stop_at(self, vcpu: int, gva: int) -> Stopped:
        """Return a stop by SIGABRT with the reason."""
        return Stopped(vcpu + 1, Signal.ABRT, text=self.reason(vcpu, gva))

    def reason(self, vcpu: int, gva: int) -> str:
        """Return why the guest stops at *gva*, in one line, and note it in ``met``."""
        reason = self._linked[gva - self._offset]
        self.met.append(reason)
        first = self._machine.vcpus[vcpu].get(X[0])
        text = _TEXTS[reason]
        if reason == "reset":
            return text
        if reason == "warn":
            line = self._machine.vcpus[vcpu].get(X[1]) & 0xFFFF_FFFF
            return f"{text}{self._string(vcpu, first)}:{line}"
        return text + self._string(vcpu, first)

    def _string(self, vcpu: int, gva: int) -> str:
        """Read a string, as one line; it may be a format."""
        try:
            data = self._memory.read(vcpu, gva, _LINE).split(b"\0")[0]
        except MemoryFault:
            return "?"
        return printable(" ".join(data.decode("utf-8", "replace").split()))
