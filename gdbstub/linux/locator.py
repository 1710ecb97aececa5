"""Where the guest's kernel is now, as its vCPUs tell, and where it was when they did last.

What a kernel's symbols make of that is ``linux``'s.
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
    """Finds it, every vCPU being parked."""

    def __init__(self, program: GuestProgram, machine: Machine, memory: VirtualMemory) -> None:
        """Know of nowhere that it has been."""
        self.program = program
        self.machine = machine
        self.memory = memory
        self._last: Relocation | None = None

    def find(self) -> tuple[Relocation, str]:
        """Where it is, and what tells it.

        While a program runs with the kernel unmapped (KPTI), VBAR_EL1 tells nothing; then it is
        where it was found before, if it is still there.

        Raises:
            NotFound: nothing does, or there is nothing to find it by.
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
