"""Kernel locator: finds the running kernel by the vCPUs, and remembers its last place.

``kaslr`` computes the offset from a vCPU's VBAR_EL1.
"""

from contextlib import suppress
from functools import partial

from gdbstub.aarch64.registers import VBAR_EL1
from gdbstub.capabilities import Relocation
from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import NotFound
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.machine import Machine, Power


class KernelLocator:
    """Locator of the guest's kernel, for use while every vCPU is parked."""

    def __init__(self, program: GuestProgram, machine: Machine, memory: VirtualMemory) -> None:
        """Locate the kernel of *program*; no earlier place is known."""
        self.program = program
        self.machine = machine
        self.memory = memory
        self._last: Relocation | None = None

    def find(self) -> tuple[Relocation, str]:
        """Return the relocation of the kernel, and the evidence for it as text.

        While a program runs with the kernel unmapped (KPTI), VBAR_EL1 is not the kernel's. Then
        the last place is confirmed by the banner, if a vCPU has that mapped.

        Raises:
            NotFound: no vCPU gives evidence, or no kernel's symbols are known.
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
