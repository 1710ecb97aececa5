"""Every breakpoint and watchpoint of a client, whatever serves it, and whose a debug exit is.

It runs nothing: requests are records, ``arm`` makes them true before the vCPUs run, and
``verdict`` answers for one exit. Only ``verdict`` is called on vCPU threads.
"""

import logging
from enum import Enum, auto
from typing import Final

from gdbstub.aarch64.accesses import accessed
from gdbstub.aarch64.instructions import WordAt
from gdbstub.aarch64.registers import (
    CPSR,
    MDSCR_EL1,
    PC,
    SYSTEM_REGISTERS,
    Register,
    X,
    stack_pointer,
)
from gdbstub.aarch64.sysreg import DBGBCR, EC, MDSCR, PSTATE
from gdbstub.errors import MemoryFault, PacketError
from gdbstub.hwbp import HardwareBreakpoints
from gdbstub.machine import DebugExit, DebugRegisters, Machine, Vcpu
from gdbstub.swbp import BRK_COMMENT, SoftwareBreakpoints
from gdbstub.target import Kind, Stop, Stopped
from gdbstub.virtual_memory import VirtualMemory
from gdbstub.watchpoints import Elsewhere

_log = logging.getLogger("gdbstub.debugger")

_STOPS: Final = {
    Kind.SOFTWARE: Stop.SWBREAK,
    Kind.HARDWARE: Stop.HWBREAK,
    Kind.WRITE: Stop.WATCH,
    Kind.READ: Stop.RWATCH,
    Kind.ACCESS: Stop.AWATCH,
}


def _numbered(name: str) -> tuple[Register, ...]:
    return tuple(SYSTEM_REGISTERS[f"{name}{n}_EL1"] for n in range(16))


# The guest's own comparators.
_CONTROLS: Final = {
    EC.BREAKPOINT_LOWER: _numbered("DBGBCR"),
    EC.WATCHPOINT_LOWER: _numbered("DBGWCR"),
}


class Whose(Enum):
    """Of a debug exit that is nothing to tell a client."""

    GUEST = auto()  # its own exception, which it must get
    PASSED = auto()  # ours, but not what was asked for: its instruction is executed silently


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

    def verdict(self, exit: DebugExit) -> Stopped | Whose:
        """What to tell a client of a debug exit, or whose it is otherwise."""
        thread = exit.vcpu + 1
        match exit.esr.EC:
            case EC.STEP_LOWER:
                return Stopped(thread)
            case EC.BRK64:
                if not self._is_our_brk(exit):
                    return Whose.GUEST
                # GDB passes over a ``swbreak`` where it has inserted none and goes on, to the
                # same BRK, for ever. At another address of the page it is told of a plain trap.
                pc = self._machine.vcpus[exit.vcpu].get(PC)
                known = self._software.asked_for(pc)
                return Stopped(thread, stop=Stop.SWBREAK if known else Stop.PLAIN)
            case EC.BREAKPOINT_LOWER:
                kind = self._hardware.stops_at(self._machine.vcpus[exit.vcpu].get(PC))
                return self._unclaimed(exit) if kind is None else Stopped(thread, stop=_STOPS[kind])
            case EC.WATCHPOINT_LOWER:
                write = bool(exit.esr.WnR)
                hit = self._hardware.hit(exit.far, self._accessed(exit.vcpu), write=write)
                if hit is Elsewhere.OUTSIDE:
                    return Whose.PASSED
                if hit is Elsewhere.NOBODY:
                    return self._unclaimed(exit)
                return Stopped(thread, stop=_STOPS[hit.kind], gva=hit.clamp(exit.far))
            case EC.BKPT32:
                return Whose.GUEST
        return _unexplained(exit)

    def words(self, index: int) -> WordAt:
        """A64 instructions as one vCPU sees memory now, for whatever thread owns it.

        In AArch32 state there are none.
        """

        def word_at(gva: int) -> int:
            try:
                if PSTATE(self._machine.vcpus[index].get(CPSR)).nRW:
                    return 0
                return int.from_bytes(self.memory.as_of_now().read(index, gva, 4), "little")
            except MemoryFault:
                return 0

        return word_at

    def _accessed(self, index: int) -> range | None:
        """What the instruction accesses that a vCPU, on its own thread, is about to execute."""
        vcpu = self._machine.vcpus[index]
        pc = vcpu.get(PC)

        def x(number: int) -> int:
            stack = stack_pointer(PSTATE(vcpu.get(CPSR)))
            return vcpu.get(X[number] if number < len(X) else stack)

        return accessed(self.words(index)(pc), pc, x)

    def _unclaimed(self, exit: DebugExit) -> Stopped | Whose:
        """An exit of a comparator that none of ours explains: the guest's, if it has armed any."""
        vcpu = self._machine.vcpus[exit.vcpu]
        if MDSCR(vcpu.get(MDSCR_EL1)).MDE and any(
            DBGBCR(vcpu.get(control)).E for control in self._own(vcpu, EC(exit.esr.EC))
        ):
            return Whose.GUEST
        return _unexplained(exit)

    def _own(self, vcpu: Vcpu, ec: EC) -> tuple[Register, ...]:
        return tuple(row for row in _CONTROLS[ec] if row in self._machine.system_registers)

    def _is_our_brk(self, exit: DebugExit) -> bool:
        """Ours iff the table has its physical address and RAM still holds it."""
        if exit.esr.comment != BRK_COMMENT:
            return False
        pc = self._machine.vcpus[exit.vcpu].get(PC)
        try:
            return self._software.owns(self.memory.as_of_now().translate(exit.vcpu, pc).ipa)
        except MemoryFault:
            return False


def _unexplained(exit: DebugExit) -> Stopped:
    text = f"vCPU {exit.vcpu}: a debug exit that nothing explains: ESR_EL2 {exit.esr:#x}"
    if exit.esr.EC == EC.WATCHPOINT_LOWER:
        text += f", FAR_EL2 {exit.far:#x}"
    _log.warning("%s (%r)", text, exit.esr)
    return Stopped(exit.vcpu + 1, text=text)
