"""Every breakpoint and watchpoint of a client, whatever serves it, and whose a debug exit is.

It runs nothing: requests are records, ``arm`` makes them true before the vCPUs run, and
``verdict`` answers for one exit. Only ``verdict`` is called on vCPU threads.
"""

import logging
from typing import Final

from gdbstub.aarch64.registers import PC
from gdbstub.aarch64.sysreg import EC
from gdbstub.errors import MemoryFault, PacketError
from gdbstub.hwbp import HardwareBreakpoints
from gdbstub.machine import DebugExit, DebugRegisters, Machine
from gdbstub.swbp import BRK_COMMENT, SoftwareBreakpoints
from gdbstub.target import Kind, Stop, Stopped
from gdbstub.virtual_memory import VirtualMemory

_log = logging.getLogger("gdbstub.debugger")

_STOPS: Final = {
    Kind.SOFTWARE: Stop.SWBREAK,
    Kind.HARDWARE: Stop.HWBREAK,
    Kind.WRITE: Stop.WATCH,
    Kind.READ: Stop.RWATCH,
    Kind.ACCESS: Stop.AWATCH,
}


class Breakpoints:
    """Software and hardware breakpoints of one machine, and memory with the former hidden."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._software = SoftwareBreakpoints(machine)
        self._hardware = HardwareBreakpoints(machine.breakpoint_slots, machine.watchpoint_slots)
        #: Z0 where no RAM is yet: gva -> the vCPU that asked. A comparator stands in.
        self._unmapped: dict[int, int] = {}
        #: What the machine was armed with last.
        self.armed = DebugRegisters()
        self.memory = VirtualMemory(machine, self._software)

    def insert(self, vcpu: int, kind: Kind, gva: int, length: int) -> None:
        """Ask for a breakpoint or watchpoint, as ``Target.insert``."""
        if kind is not Kind.SOFTWARE:
            self._hardware.insert(kind, gva, length)
        elif gva & 3:
            raise PacketError(f"{gva:#x} is no place for an instruction")
        elif not self._patch(vcpu, gva) and gva not in self._unmapped:
            self._hardware.insert(kind, gva, length)
            self._unmapped[gva] = vcpu

    def remove(self, kind: Kind, gva: int, length: int) -> None:
        """Take back what the same arguments asked for."""
        if kind is Kind.SOFTWARE:
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
        """Take everything of ours out of the guest."""
        self._software.clear()
        self._software.withdraw()
        self._unmapped.clear()
        self._hardware.clear()
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

    def _patch(self, vcpu: int, gva: int) -> bool:
        """Ask for a BRK at *gva* if there is RAM there now."""
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
            self._hardware.remove(Kind.SOFTWARE, gva, 4)

    def verdict(self, exit: DebugExit) -> Stopped | None:
        """What to tell a client of a debug exit; None when it is the guest's own."""
        thread = exit.vcpu + 1
        match exit.esr.EC:
            case EC.STEP_LOWER:
                return Stopped(thread)
            case EC.BRK64:
                if not self._is_our_brk(exit):
                    return None
                # GDB passes over a ``swbreak`` where it has inserted none and goes on, to the
                # same BRK, for ever. At another address of the page it is told of a plain trap.
                pc = self._machine.vcpus[exit.vcpu].get(PC)
                known = self._software.asked_for(pc)
                return Stopped(thread, stop=Stop.SWBREAK if known else Stop.PLAIN)
            case EC.BREAKPOINT_LOWER:
                kind = self._hardware.stops_at(self._machine.vcpus[exit.vcpu].get(PC))
                return None if kind is None else Stopped(thread, stop=_STOPS[kind])
            case EC.WATCHPOINT_LOWER:
                hit = self._hardware.hit(exit.far, write=bool(exit.esr.WnR))
                if hit is None:
                    return None
                return Stopped(thread, stop=_STOPS[hit.kind], gva=hit.clamp(exit.far))
            case EC.BKPT32:
                return None
        _log.warning("vCPU %d: a debug exit that is nobody's, ESR %r", exit.vcpu, exit.esr)
        return Stopped(thread)

    def _is_our_brk(self, exit: DebugExit) -> bool:
        """Ours iff the table has its physical address and RAM still holds it."""
        if exit.esr.comment != BRK_COMMENT:
            return False
        pc = self._machine.vcpus[exit.vcpu].get(PC)
        try:
            return self._software.owns(self.memory.as_of_now().translate(exit.vcpu, pc).ipa)
        except MemoryFault:
            return False
