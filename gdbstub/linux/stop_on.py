"""Stop points at the functions in which a Linux kernel panics, oopses, warns or resets."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Final, NamedTuple

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


class _Point(NamedTuple):
    """A function in which the guest stops, and the reason."""

    reason: str
    function: str


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
        self._linked: dict[int, _Point] = {}
        for reason in reasons:
            found = [name for name in FUNCTIONS[reason] if name in kernel.functions]
            if not found:
                names = " or ".join(FUNCTIONS[reason])
                raise InputError(
                    f"--stop-on or --vmcore-on {reason}: the kernel's symbols have no {names}; "
                    "give the vmlinux of the guest's kernel, or leave that reason out"
                )
            self._linked[kernel.functions[found[0]]] = _Point(reason, found[0])
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
        reason, function = self._linked[gva - self._offset]
        self.met.append(reason)
        if reason == "reset":
            return _TEXTS[reason]
        register = self._machine.vcpus[vcpu].get
        read = partial(self._memory.read, vcpu)
        try:
            said = read(register(X[0]), _LINE).split(b"\0")[0]
        except MemoryFault:
            said = b"?"
        if reason == "panic":
            from gdbstub.linux import panic_text  # imported here, since few guests panic

            said = panic_text.render(said, function, register, read)
        if reason == "warn":
            said += b":%d" % (register(X[1]) & 0xFFFF_FFFF)
        return _TEXTS[reason] + printable(" ".join(said.decode("utf-8", "replace").split()))
