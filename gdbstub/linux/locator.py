"""Kernel locator: finds the guest's kernel by its vCPUs' registers and its memory.

``kaslr`` computes a relocation from a vector base and the kernel's symbols.
"""

from contextlib import suppress
from functools import partial

from gdbstub.aarch64.registers import VBAR_EL1
from gdbstub.capabilities import Relocation
from gdbstub.debug.extensions import Observer
from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import NotFound
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.machine import Machine, Power, resettable


class KernelLocator(Observer):
    """Locates the kernel while every vCPU is parked; a ``Program`` of the debugger."""

    def __init__(self, program: GuestProgram, machine: Machine, memory: VirtualMemory) -> None:
        """Begin without a place where the kernel has been."""
        self.program = program
        self.machine = machine
        self.memory = memory
        self._last: Relocation | None = None

    @property
    def exec_file(self) -> str:
        """File that clients have symbols of (``HasExecFile``)."""
        return self.program.file

    @property
    def relocatable(self) -> bool:
        """True if the program's symbols are a kernel's, or were moved (``Relocatable``)."""
        return self.program.kernel is not None or self.program.expected is not None

    def relocation(self) -> Relocation | None:
        """Return where the program is or will be; None while that is unknown (``Relocatable``)."""
        with suppress(NotFound):
            return self.find()[0]
        return self.program.expected

    def stop_point_place(self) -> Relocation | None:
        """Return where the stub's own stop points are set: where the kernel was found last.

        It is looked for once after each start of the guest, and each time where nobody is told of
        those. A vCPU that does not lead to it, as in a program, changes nothing.
        """
        if self._last is None or resettable(self.machine) is None:
            with suppress(NotFound):
                self.find()
        return self._last or self.program.expected

    def restarted(self) -> None:
        """Forget where it was: at the next start a kernel with KASLR may go elsewhere."""
        self._last = None

    def find(self) -> tuple[Relocation, str]:
        """Return where the kernel is, and the evidence in words.

        While a program runs with the kernel unmapped (KPTI), VBAR_EL1 does not lead to it. Then
        it is where it was found before, if it is still there.

        Raises:
            NotFound: no vCPU leads to it, or its symbols are not known.
        """
        if (kernel := self.program.kernel) is None:
            raise NotFound("no kernel's symbols are known: give its vmlinux to --symbols")
        reasons = []
        for index, vcpu in enumerate(self.machine.vcpus):
            if vcpu.power is Power.OFF:
                continue
            read = partial(self.memory.read, index)
            try:
                self._last = kernel.find(vcpu.get(VBAR_EL1), read)
                return self._last, f"VBAR_EL1 of vCPU {index} has its vectors"
            except NotFound as reason:
                reasons.append(f"vCPU {index}: {reason}")
            if self._last is not None:
                with suppress(NotFound):
                    kernel.confirm(self._last.offset, read)
                    return self._last, f"it is where it was, as vCPU {index} sees"
        raise NotFound("\n".join(reasons) or "every vCPU is powered off")
