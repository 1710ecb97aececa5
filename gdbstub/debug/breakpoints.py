"""Breakpoints and watchpoints of a client: requests, and the BRKs and comparators that serve them.

Requests are records. ``arm`` brings RAM and comparators into line with them before vCPUs run.
"""

from typing import Final

from gdbstub.aarch64.instructions import WordAt
from gdbstub.aarch64.registers import CPSR
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.agent import Clauses, ConditionTable
from gdbstub.debug.caches import Caches, Content
from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import MemoryFault, PacketError
from gdbstub.hwbp import Elsewhere, HardwareBreakpoints, Watchpoint
from gdbstub.machine import DebugRegisters, Machine
from gdbstub.swbp import SoftwareBreakpoints
from gdbstub.target import BreakpointKind

#: AArch32 code is below this address.
_AARCH32_END: Final = 1 << 32


class Breakpoints:
    """Software and hardware breakpoints of one machine, and its memory with the BRKs hidden."""

    def __init__(self, machine: Machine, caches: Caches) -> None:
        """Begin without requests."""
        self._machine = machine
        self._caches = caches
        self._software = SoftwareBreakpoints(machine)
        self._hardware = HardwareBreakpoints(machine.breakpoint_slots, machine.watchpoint_slots)
        # Software breakpoints that a comparator stands in for, because there is no RAM yet or
        # perhaps AArch32 code: gva -> the vCPU that was asked.
        self._stand_ins: dict[int, int] = {}
        #: Conditions and commands of breakpoints.
        self.conditions: ConditionTable[BreakpointKind] = ConditionTable()
        #: Contents of the comparators since the last ``arm`` or ``strip``.
        self.armed = DebugRegisters()
        self.memory = VirtualMemory(machine, self._software, caches)

    def insert(self, vcpu: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Request a breakpoint or watchpoint (``Target.insert``).

        Raises:
            NoSlot: the comparators do not suffice.
            PacketError: a software breakpoint's address is no multiple of 4.
        """
        if kind is not BreakpointKind.SOFTWARE:
            self._hardware.insert(kind, gva, length)
        elif gva & 3:
            raise PacketError(f"{gva:#x} is no place for an instruction")
        elif not self._patch(vcpu, gva) and gva not in self._stand_ins:
            self._hardware.insert(kind, gva, length)
            self._stand_ins[gva] = vcpu

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Replace the conditions and commands of a requested breakpoint."""
        self.conditions.attach(kind, gva, clauses)

    def remove(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove the request that was made with the same arguments."""
        self.conditions.remove(kind, gva)
        if kind is BreakpointKind.SOFTWARE:
            self._software.remove(gva)
            self._drop_stand_in(gva)
        else:
            self._hardware.remove(kind, gva, length)

    def arm(self) -> None:
        """Make RAM and comparators hold what is requested and nothing else."""
        for gva, vcpu in tuple(self._stand_ins.items()):
            if self._patch(vcpu, gva):
                self._drop_stand_in(gva)
        if self._software.apply():
            self._caches.invalidate(Content.BREAKPOINTS)
        self._arm(self._hardware.registers(enabled=bool(self._software)))

    def _arm(self, debug: DebugRegisters) -> None:
        self._machine.arm(debug)
        self.armed = debug

    def strip(self) -> None:
        """Remove everything of ours from the guest, and all requests but persistent ones.

        A persistent one prints while no client is there. ``arm`` puts it in again.
        """
        kept = self.conditions.keep_persistent()
        self._software.clear(but={gva for kind, gva in kept if kind is BreakpointKind.SOFTWARE})
        self._software.withdraw()
        self._caches.invalidate(Content.BREAKPOINTS)
        self._stand_ins.clear()
        self._hardware.clear()
        for kind, gva in kept:
            if kind is BreakpointKind.HARDWARE:
                self._hardware.insert(kind, gva, 4)
        self._arm(DebugRegisters())

    def forget(self) -> None:
        """Take RAM to be new, with nothing of ours in it; requests stay."""
        self._software.forget()
        self.memory.forget_kernels()

    def places(self, gva: int) -> frozenset[int]:
        """Return the physical addresses of a requested software breakpoint."""
        return self._software.places(gva)

    def patched(self, ipa: int) -> bool:
        """Return True if a BRK of ours is in RAM at *ipa*."""
        return self._software.owns(ipa)

    def compared(self, gva: int) -> tuple[BreakpointKind, ...]:
        """Return the kinds of the breakpoints at *gva* that a comparator serves."""
        return self._hardware.kinds_at(gva)

    def hit(self, far: int, accessed: range | None, *, write: bool) -> Watchpoint | Elsewhere:
        """The watchpoint that an exception belongs to: see ``hwbp.find_hit``."""
        return self._hardware.hit(far, accessed, write=write)

    def original_word(self, ipa: int) -> int:
        """Return the instruction that our BRK at *ipa* replaces."""
        return int.from_bytes(self._software.original_word(ipa), "little")

    def remove_temporarily(self, ipa: int) -> None:
        """Write the original word over our BRK at *ipa*; no other vCPU may execute meanwhile."""
        self._software.remove_temporarily(ipa)

    def reinsert(self, ipa: int) -> None:
        """Put back the BRK at *ipa* that ``remove_temporarily`` removed."""
        self._software.reinsert(ipa)

    def _patch(self, vcpu: int, gva: int) -> bool:
        """Request a BRK at *gva* if it maps to RAM now and is not known to be AArch32 code."""
        if gva < _AARCH32_END and PSTATE(self._machine.vcpus[vcpu].get(CPSR)).nRW:
            return False
        try:
            ipa = self.memory.translate(vcpu, gva).ipa
            if len(self._machine.read_memory(ipa, 4)) < 4:
                return False
        except MemoryFault:
            return False
        self._software.insert(gva, ipa)
        return True

    def _drop_stand_in(self, gva: int) -> None:
        if self._stand_ins.pop(gva, None) is not None:
            self._hardware.remove(BreakpointKind.SOFTWARE, gva, 4)

    def words(self, index: int) -> WordAt:
        """Return a function from an address to the A64 instruction there, by vCPU *index* now.

        Our BRKs are hidden. It returns 0 where there is no memory, and in AArch32 state. The
        thread that owns the vCPU calls it.
        """
        vcpu, memory = self._machine.vcpus[index], self.memory.live

        def word_at(gva: int) -> int:
            try:
                if PSTATE(vcpu.get(CPSR)).nRW:
                    return 0
                return int.from_bytes(memory.read(index, gva, 4), "little")
            except MemoryFault:
                return 0

        return word_at
