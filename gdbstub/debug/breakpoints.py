"""Every breakpoint and watchpoint of a client, whatever serves it.

It runs nothing and judges nothing: requests are records, and ``arm`` makes them true before the
vCPUs run.
"""

from typing import Final

from gdbstub.aarch64.instructions import WordAt
from gdbstub.aarch64.registers import CPSR
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.agent import Clauses, ConditionTable
from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import MemoryFault, PacketError
from gdbstub.hwbp import Elsewhere, HardwareBreakpoints, Watchpoint
from gdbstub.machine import DebugRegisters, Machine
from gdbstub.swbp import SoftwareBreakpoints
from gdbstub.target import BreakpointKind

#: Where the addresses end that AArch32 code can be at.
_AARCH32_END: Final = 1 << 32


class Breakpoints:
    """Software and hardware breakpoints of one machine, and memory with the former hidden."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._software = SoftwareBreakpoints(machine)
        self._hardware = HardwareBreakpoints(machine.breakpoint_slots, machine.watchpoint_slots)
        #: Z0 where no RAM is yet, or code that has no BRK of ours: gva -> the vCPU that asked.
        #: A comparator stands in.
        self._unmapped: dict[int, int] = {}
        #: Conditions and commands of breakpoints.
        self.conditions: ConditionTable[BreakpointKind] = ConditionTable()
        #: What the machine was armed with last.
        self.armed = DebugRegisters()
        self.memory = VirtualMemory(machine, self._software)

    def insert(self, vcpu: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Ask for a breakpoint or watchpoint, as ``Target.insert``."""
        if kind is not BreakpointKind.SOFTWARE:
            self._hardware.insert(kind, gva, length)
        elif gva & 3:
            raise PacketError(f"{gva:#x} is no place for an instruction")
        elif not self._patch(vcpu, gva) and gva not in self._unmapped:
            self._hardware.insert(kind, gva, length)
            self._unmapped[gva] = vcpu

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Let a breakpoint that was asked for have these conditions and commands, and no others."""
        self.conditions.attach(kind, gva, clauses)

    def remove(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Take back what the same arguments asked for."""
        self.conditions.remove(kind, gva)
        if kind is BreakpointKind.SOFTWARE:
            self._software.remove(gva)
            self._drop_stand_in(gva)
        else:
            self._hardware.remove(kind, gva, length)

    def arm(self) -> None:
        """Make RAM and comparators hold what is asked for, nothing else."""
        for gva, vcpu in tuple(self._unmapped.items()):
            if self._patch(vcpu, gva):
                self._drop_stand_in(gva)
        self._software.apply()
        self._arm(self._hardware.registers(enabled=bool(self._software)))

    def _arm(self, debug: DebugRegisters) -> None:
        self._machine.arm(debug)
        self.armed = debug

    def strip(self) -> None:
        """Take everything of ours out of the guest.

        What was inserted to print while nobody is there stays asked for, and is there again
        when the guest goes on.
        """
        kept = self.conditions.keep_persistent()
        self._software.clear(but={gva for kind, gva in kept if kind is BreakpointKind.SOFTWARE})
        self._software.withdraw()
        self._unmapped.clear()
        self._hardware.clear()
        for kind, gva in kept:
            if kind is BreakpointKind.HARDWARE:
                self._hardware.insert(kind, gva, 4)
        self._arm(DebugRegisters())

    def forget(self) -> None:
        """RAM is new, and nothing of ours in it; requests stay."""
        self._software.forget()
        self.memory.reset()

    def places(self, gva: int) -> frozenset[int]:
        """The physical addresses of a software breakpoint that is asked for."""
        return self._software.places(gva)

    def patched(self, ipa: int) -> bool:
        """Whether a BRK of ours is in RAM at *ipa*."""
        return self._software.owns(ipa)

    def compared(self, gva: int) -> tuple[BreakpointKind, ...]:
        """What was asked for at *gva* that a comparator serves."""
        return self._hardware.kinds_at(gva)

    def hit(self, far: int, accessed: range | None, *, write: bool) -> Watchpoint | Elsewhere:
        """The watchpoint that an exception belongs to: see ``hwbp.find_hit``."""
        return self._hardware.hit(far, accessed, write=write)

    def original_word(self, ipa: int) -> int:
        """The instruction that belongs at *ipa*, where our BRK is."""
        return int.from_bytes(self._software.original_word(ipa), "little")

    def remove_temporarily(self, ipa: int) -> None:
        """Take our BRK at *ipa* out of RAM for a moment, in which nobody else executes."""
        self._software.remove_temporarily(ipa)

    def reinsert(self, ipa: int) -> None:
        """Put it back."""
        self._software.reinsert(ipa)

    def _patch(self, vcpu: int, gva: int) -> bool:
        """Ask for a BRK at *gva* if there is RAM there now, and A64 code for all we know."""
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
        if self._unmapped.pop(gva, None) is not None:
            self._hardware.remove(BreakpointKind.SOFTWARE, gva, 4)

    def words(self, index: int) -> WordAt:
        """A64 instructions as one vCPU sees memory now, for whatever thread owns it.

        In AArch32 state there are none.
        """

        def word_at(gva: int) -> int:
            try:
                if PSTATE(self._machine.vcpus[index].get(CPSR)).nRW:
                    return 0
                return int.from_bytes(self.memory.as_of_now(index).read(index, gva, 4), "little")
            except MemoryFault:
                return 0

        return word_at
