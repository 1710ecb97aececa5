"""Trial boot: runs a kernel to its start_kernel before a client comes, to learn where it goes.

A kernel with KASLR chooses its place by the seed in the device tree. The seed stays the same over a
reset, so the next boot goes to the same place. start_kernel is found by its physical address, which
the choice does not change.
"""

import re
import threading
from collections.abc import Callable, Sequence
from typing import Final

from gdbstub.aarch64.mmu import pieces
from gdbstub.aarch64.registers import ID_AA64ISAR0_EL1, PC, VBAR_EL1
from gdbstub.aarch64.sysreg import EC
from gdbstub.capabilities import Relocation
from gdbstub.debug.memory import regime_of
from gdbstub.errors import MachineError, MemoryFault, NotFound
from gdbstub.linux.kaslr import LinkedKernel
from gdbstub.machine import (
    DebugExit,
    DebugRegisters,
    Exit,
    Machine,
    RunMode,
    SystemEvent,
    Vcpu,
    resettable,
)
from gdbstub.swbp import BRK, BRK_COMMENT

_RELEASE: Final = re.compile(r"Linux version ([0-9]{1,9})\.([0-9]{1,9})(?![0-9])")
#: Releases that add a random number of the CPU to the seed, from the first to before the second.
#: Source: linux/arch/arm64/kernel/kaslr.c.
_ADDING_RANDOM_NUMBERS: Final = ((5, 6), (6, 0))
_RNDR_SHIFT: Final = 60  # ID_AA64ISAR0_EL1.RNDR, 4 bits

#: Time for vCPUs to leave the guest when they are told to, in seconds.
_PARK_SECONDS: Final = 10.0


class TrialBoot:
    """One run of *machine*, which is halted at its first instruction before and after."""

    def __init__(self, machine: Machine, kernel: LinkedKernel, notify: Callable[[], None]) -> None:
        """Prepare; *notify* is called when the run is over, on some vCPU's thread."""
        self._machine = machine
        self._kernel = kernel
        self._notify = notify
        self._exits: Sequence[Exit] = ()
        self._parked = threading.Event()

    def start(self) -> None:
        """Let the guest run to start_kernel.

        Raises:
            NotFound: the next boot goes elsewhere, this machine cannot start its guest over, or
                has no RAM at start_kernel.
        """
        if _adds_random_numbers(self._kernel, self._machine.vcpus[0]):
            raise NotFound(
                "Linux 5.6 to 5.19 adds a random number of this CPU (RNDR) to the seed, so it goes "
                "elsewhere at each boot; use nokaslr, or attach once it runs"
            )
        if resettable(self._machine) is None:
            raise NotFound("this machine cannot start its guest over")
        if (ipa := self._kernel.start_kernel) is None:
            raise NotFound("the physical address of start_kernel is not known")
        try:
            self._machine.write_memory(ipa, BRK)
        except MemoryFault as fault:
            raise NotFound(f"start_kernel cannot be there: {fault}") from None
        self._machine.listener = self
        self._machine.arm(DebugRegisters(enabled=True))
        self._machine.resume(dict.fromkeys(range(len(self._machine.vcpus)), RunMode()))

    def finish(self) -> Relocation:
        """End the run, wherever it is; return where the kernel went. The guest is started over.

        Raises:
            NotFound: it did not come to its start_kernel, or is not the kernel of the symbols.
            MachineError: the machine failed.
        """
        if not self._parked.is_set():
            self._machine.interrupt()
            if not self._parked.wait(_PARK_SECONDS):
                raise MachineError(f"the vCPUs have not stopped after {_PARK_SECONDS:g} s")
        try:
            return self._find()
        finally:
            if (machine := resettable(self._machine)) is not None:
                machine.reset()
            self._machine.arm(DebugRegisters())

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        """Stop at any debug exception (``Listener``): there is one BRK of ours."""
        return None

    def parked(self, exits: Sequence[Exit]) -> None:
        """Note the end of the run (``Listener``)."""
        self._exits = exits
        self._parked.set()
        self._notify()

    def _find(self) -> Relocation:
        for exit in self._exits:
            if isinstance(exit, SystemEvent):
                raise NotFound(f"the guest asked for a {exit.kind.value} before its start_kernel")
            if not isinstance(exit, DebugExit):
                raise NotFound(f"vCPU {exit.vcpu} cannot run: {exit.why}")
            vcpu = self._machine.vcpus[exit.vcpu]
            pc = vcpu.get(PC)
            if exit.esr.EC != EC.BRK64 or exit.esr.comment != BRK_COMMENT:
                raise NotFound(f"an exception of the guest's own came first, at {pc:#x}")
            read = self._reader(vcpu)
            return self._kernel.find(vcpu.get(VBAR_EL1), read)
        raise NotFound("it has not come to its start_kernel in time")

    def _reader(self, vcpu: Vcpu) -> Callable[[int, int], bytes]:
        """Return a function that reads by the virtual address, as *vcpu* sees it."""
        regime = regime_of(vcpu)
        machine = self._machine

        def read(gva: int, length: int) -> bytes:
            parts = pieces(regime, gva, length, machine.read_memory)
            data = b""
            for part in parts:
                data += machine.read_memory(part.ipa, min(part.size, length - len(data)))
            return data

        return read


def _adds_random_numbers(kernel: LinkedKernel, vcpu: Vcpu) -> bool:
    """Return True if *kernel* goes to another place at each boot, whatever the seed is."""
    release = _RELEASE.match(kernel.banner)
    if release is None or not vcpu.get(ID_AA64ISAR0_EL1) >> _RNDR_SHIFT:
        return False
    first, last = _ADDING_RANDOM_NUMBERS
    return first <= (int(release[1]), int(release[2])) < last


def fixed_place(kernel: LinkedKernel, command_line: str | None) -> Relocation | None:
    """Return the place of *kernel* if its command line keeps it from choosing one (``nokaslr``).

    Symbols that are no addresses of a kernel are moved in any case: vmlinux-to-elf makes such.
    """
    if "nokaslr" in (command_line or "").split() and kernel.start >> 63:
        return Relocation(kernel.start, 0)
    return None
