"""A guest with its MMU on: address spaces that are forged, a vCPU moved from one to the other.

What a kernel would do by instructions is done by writing registers; the walks are the CPU's.
"""

import threading
from typing import Final

from gdbstub.aarch64.registers import (
    CPSR,
    PC,
    SCTLR_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.debug.caches import Content
from gdbstub.debug.debugger import Debugger
from gdbstub.debug.placement import Preference
from gdbstub.machine import DebugRegisters, Machine
from gdbstub.target import Action, BreakpointKind, Report, Resume, Stopped, StopReason
from tests.bounds import HANGS
from tests.contract.backends import Factory
from tests.contract.programs import BASE, HANDLER, SECONDARY, Program, program
from tests.contract.recorder import StopRecorder
from tests.tables import AF, Tables

PAGE: Final = 4096
#: Physical pages of text. The vectors, and a handler that switches off, are in the kernel's.
TEXT: Final = BASE + 0x2_0000
OTHER: Final = BASE + 0x3_0000
KERNEL: Final = BASE + 0x4_0000
_TABLES: Final = BASE + 0x10_0000
#: Virtual addresses of these pages.
USER_GVA: Final = 0x40_0000
ALIAS_GVA: Final = 0x7F_0000_0000
KERNEL_GVA: Final = 0xFFFF_8000_0001_0000
TRAMPOLINE_GVA: Final = 0xFFFF_FDFF_FFDF_0000

EL1H: Final = 0x3C5
EL0T: Final = 0x3C0

_NG: Final = 1 << 11
_READ_ONLY_FOR_BOTH: Final = 0b11 << 6

#: Line 1 counts; it goes round for ever.
ROUND: Final = program(
    (0xD503201F, "nop"),
    (0x91000400, "add x0, x0, #1"),
    (0xD503201F, "nop"),
    (0x17FFFFFD, "b . - 12"),
)
NOP: Final = 0xD503201F.to_bytes(4, "little")


def both_on(factory: Factory) -> Machine:
    """Make a machine of which the second vCPU has been turned on, too."""
    machine = factory(SECONDARY.image, vcpus=2)
    recorder = StopRecorder(machine)
    machine.arm(DebugRegisters(enabled=True))
    assert recorder.debug().vcpu == 1
    machine.arm(DebugRegisters())
    return machine


class Spaces:
    """A machine with two processes and a kernel, and a debugger of it.

    Process *a* has ``TEXT`` at two addresses, process *b* has ``OTHER`` at the first of them.
    While at EL0 the kernel is unmapped but for a trampoline, where *kpti* says so.
    """

    def __init__(self, machine: Machine, prefer: Preference = Preference.SOFTWARE) -> None:
        """Put tables and programs in RAM. By default BRKs serve all software breakpoints."""
        self.machine = machine
        self.debugger = Debugger(machine)
        self.debugger.breakpoints.preference = prefer
        for ipa in TEXT, OTHER, KERNEL:
            self.put(ipa, ROUND)
        self.put(KERNEL + 0x800 + 0x200, HANDLER)
        self.put(KERNEL + 0x800 + 0x400, HANDLER)
        user = AF | _NG | _READ_ONLY_FOR_BOTH
        self.a = self._tables(0, user, {USER_GVA: TEXT, ALIAS_GVA: TEXT})
        self.b = self._tables(1, user, {USER_GVA: OTHER})
        kernel = AF | _NG
        self.kernel = self._tables(2, kernel, {KERNEL_GVA: KERNEL, TRAMPOLINE_GVA: KERNEL})
        self.trampoline = self._tables(3, kernel, {TRAMPOLINE_GVA: OTHER})
        for vcpu in machine.vcpus:
            vcpu.set(SYSTEM_REGISTERS["MAIR_EL1"], 0xFF)
            vcpu.set(
                TCR_EL1, TCR.of(**self.a.tcr(), IRGN0=1, ORGN0=1, SH0=3, IRGN1=1, ORGN1=1, SH1=3)
            )
            vcpu.set(VBAR_EL1, KERNEL_GVA + 0x800)
            vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1, C=1, I=1))
            vcpu.set(TTBR1_EL1, self.kernel.ttbr)
            vcpu.set(TTBR0_EL1, self.a.ttbr)

    def _tables(self, number: int, attributes: int, pages: dict[int, int]) -> Tables:
        tables = Tables(base=_TABLES + number * 0x1_0000)
        for gva, ipa in pages.items():
            tables.map(gva, ipa, attributes=attributes)
        for ipa, data in tables.content().items():
            self.machine.write_memory(ipa, data)
        return tables

    def put(self, ipa: int, what: Program) -> None:
        self.machine.write_memory(ipa, what.image)

    def enter(
        self, pc: int, user: Tables, *, el: int = 0, kpti: bool = True, vcpu: int = 0
    ) -> None:
        """Have a vCPU be at *pc* of a process, or of the kernel on its behalf.

        Each space has an ASID of its own, so that nothing is found in a TLB that was put there
        in another. A process has two that differ in bit 0, as Linux gives it.
        """
        kernel = self.trampoline if kpti and not el else self.kernel
        asid = 2 * [self.a, self.b].index(user) + (2 if el else 3)
        registers = self.machine.vcpus[vcpu]
        registers.set(TTBR0_EL1, user.ttbr | asid << 48)
        registers.set(TTBR1_EL1, kernel.ttbr)
        registers.set(CPSR, EL1H if el else EL0T)
        registers.set(PC, pc)
        # A guest does not write registers while it is parked.
        self.debugger.caches.invalidate(Content.REGISTER_WRITTEN)

    def pc(self) -> int:
        return self.machine.vcpus[0].get(PC)

    def go(self, action: Action = Action.CONTINUE) -> Report | None:
        stopped = threading.Event()
        self.debugger.notify = stopped.set
        self.debugger.resume(Resume({1: action}))
        assert stopped.wait(HANGS)
        return self.debugger.take_report()

    def stops_at(self, gva: int, *, known: bool = True) -> None:
        """Run: the next thing is a BRK of ours at *gva*, where a client asked for it or not."""
        stopped = self.go()
        assert isinstance(stopped, Stopped)
        assert stopped.stop is (StopReason.SWBREAK if known else StopReason.PLAIN)
        assert bool(stopped.text) is not known
        assert hex(self.pc()) == hex(gva)

    def step(self) -> None:
        assert self.go(Action.STEP) == Stopped(1)

    def insert(self, gva: int, thread: int = 1) -> None:
        self.debugger.insert(thread, BreakpointKind.SOFTWARE, gva, 4)

    def remove(self, gva: int, thread: int = 1) -> None:
        self.debugger.remove(thread, BreakpointKind.SOFTWARE, gva, 4)

    def word(self, ipa: int) -> bytes:
        """Return the word in RAM, also where it is a BRK of the debugger's."""
        return self.machine.read_memory(ipa, 4)
