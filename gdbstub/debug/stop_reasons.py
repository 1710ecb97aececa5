"""Classification of debug exits: a stop to report, the guest's own exception, or to step over.

It runs on the thread of the vCPU that exits. It reads that vCPU and RAM, and writes neither.
"""

import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from gdbstub.aarch64.accesses import accessed
from gdbstub.aarch64.registers import CPSR, MDSCR_EL1, PC, SYSTEM_REGISTERS, X, stack_pointer
from gdbstub.aarch64.sysreg import DBGBCR, EC, MDSCR, PSTATE
from gdbstub.architecture import Register
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.registers import ClientRegisters
from gdbstub.errors import MemoryFault, NoSuchRegister
from gdbstub.hwbp import Elsewhere
from gdbstub.machine import DebugExit, Machine
from gdbstub.swbp import BRK_COMMENT
from gdbstub.target import BreakpointKind, Stopped, StopReason

_log = logging.getLogger("gdbstub.debugger")

_STOPS: Final = {
    BreakpointKind.SOFTWARE: StopReason.SWBREAK,
    BreakpointKind.HARDWARE: StopReason.HWBREAK,
    BreakpointKind.WRITE: StopReason.WATCH,
    BreakpointKind.READ: StopReason.RWATCH,
    BreakpointKind.ACCESS: StopReason.AWATCH,
}


def _numbered(name: str) -> tuple[Register, ...]:
    return tuple(SYSTEM_REGISTERS[f"{name}{n}_EL1"] for n in range(16))


# Controls of the guest's own comparators.
_CONTROLS: Final = {
    EC.BREAKPOINT_LOWER: _numbered("DBGBCR"),
    EC.WATCHPOINT_LOWER: _numbered("DBGWCR"),
}


class Disposition(Enum):
    """Treatment of a debug exit that is not reported to a client."""

    REINJECT = auto()  # the guest's own exception: the guest gets it
    STEP_OVER = auto()  # ours, but not to be reported: its instruction is executed silently


class StopClassifier:
    """Classifies the debug exits of one machine."""

    def __init__(
        self,
        machine: Machine,
        breakpoints: Breakpoints,
        registers: ClientRegisters,
        printed: Callable[[bytes], None],
    ) -> None:
        """Classify by the requests in *breakpoints*. Conditions read *registers*.

        *printed* is called on vCPU threads with the output of breakpoints' commands.
        """
        self.machine = machine
        self.registers = registers
        self.breakpoints = breakpoints
        #: By vCPU: physical address of the BRK of ours that it hit last.
        self.hit_at: dict[int, int] = {}
        # By vCPU: PC of a hit of our BRK through a mapping that no request names.
        self._at_alias: dict[int, int] = {}
        # By vCPU: PC and stack pointer where it is still at a breakpoint, that is, the hit was
        # classified and the instruction has not been executed. A vCPU that has been elsewhere
        # meanwhile hits it again. So does a handler that comes by first: its stack pointer differs.
        self._still_at: dict[int, tuple[int, int]] = {}
        self._printed = printed
        self._stepped = [Stopped(index + 1) for index in range(len(machine.vcpus))]

    def reported(self, vcpu: int) -> None:
        """Note that a client was told of this vCPU's last stop."""
        if vcpu in self._at_alias:
            self.set_still_at(vcpu, self._at_alias.pop(vcpu))

    def set_still_at(self, vcpu: int, pc: int) -> None:
        """Note that the vCPU is still at the breakpoint at *pc*: the next hit is stepped over."""
        self._still_at[vcpu] = pc, self._stack(vcpu)

    @property
    def any_still_at(self) -> bool:
        """Return True if any vCPU is still at a breakpoint."""
        return bool(self._still_at)

    def resuming(self, vcpu: int) -> None:
        """Note that the vCPU goes on from where it is, with breakpoints as they are now."""
        self._drop_if_moved(vcpu)
        pc, _ = self._still_at.get(vcpu, (None, 0))
        if pc is not None and not self.breakpoints.compared(pc) and self.patch(vcpu, pc) is None:
            self.moved(vcpu)  # the breakpoint is gone: no exit would follow

    def _drop_if_moved(self, vcpu: int) -> None:
        if vcpu in self._still_at:
            here = self.machine.vcpus[vcpu].get(PC), self._stack(vcpu)
            if self._still_at[vcpu] != here:
                self.moved(vcpu)

    def _stack(self, vcpu: int) -> int:
        own = self.machine.vcpus[vcpu]
        return own.get(stack_pointer(PSTATE(own.get(CPSR))))

    def moved(self, vcpu: int) -> None:
        """Note that the vCPU is no longer at a breakpoint whose hit was classified."""
        self._still_at.pop(vcpu, None)

    def breakpoints_removed(self) -> None:
        """Forget which vCPUs are still at a breakpoint, because all breakpoints are removed."""
        self._still_at.clear()
        self._at_alias.clear()

    def reset(self) -> None:
        """Forget everything about the guest, because it starts over."""
        self.breakpoints_removed()
        self.breakpoints.conditions.reset_variables()

    def classify(self, exit: DebugExit) -> Stopped | Disposition:
        """Return the stop to report for *exit*, or its treatment."""
        if self._at_alias or self._still_at:
            self._at_alias.pop(exit.vcpu, None)
            self._drop_if_moved(exit.vcpu)
        ec = exit.esr.EC
        if ec == EC.STEP_LOWER:
            return self._stepped[exit.vcpu]
        thread = exit.vcpu + 1
        match ec:
            case EC.BRK64 | EC.BREAKPOINT_LOWER:
                return self._breakpoint(exit)
            case EC.WATCHPOINT_LOWER:
                write = bool(exit.esr.WnR)
                hit = self.breakpoints.hit(exit.far, self._accessed(exit.vcpu), write=write)
                if hit is Elsewhere.OUTSIDE:
                    return Disposition.STEP_OVER
                if hit is Elsewhere.NOBODY:
                    return self._unclaimed(exit)
                return Stopped(thread, stop=_STOPS[hit.kind], gva=hit.clamp(exit.far))
            case EC.BKPT32:
                return Disposition.REINJECT
        return _unexplained(exit)

    def _breakpoint(self, exit: DebugExit) -> Stopped | Disposition:
        index = exit.vcpu
        pc = self.machine.vcpus[index].get(PC)
        brk = exit.esr.EC == EC.BRK64
        if brk:
            ipa = self.patch(index, pc) if exit.esr.comment == BRK_COMMENT else None
            if ipa is None:
                return Disposition.REINJECT
            self.hit_at[index] = ipa
        elif not self.breakpoints.comparator_at(pc):
            return self._unclaimed(exit)
        if self.breakpoints.returned(index, pc):
            return Stopped(index + 1, stop=StopReason.SWBREAK)
        if self._still_at.pop(index, None) is not None:
            return Disposition.STEP_OVER
        if kinds := self.breakpoints.kinds_at(index, pc):
            return self._asked_for(exit, pc, kinds)
        if not brk:
            return Disposition.STEP_OVER  # of another process
        # Another mapping of the page. GDB ignores a ``swbreak`` where it has inserted none and
        # continues, to the same BRK, for ever. So a plain trap is reported, once.
        self._at_alias[index] = pc
        text = (
            f"vCPU {index} hit a software breakpoint through another mapping of its page, "
            f"at {pc:#x}"
        )
        return Stopped(index + 1, text=text)

    def patch(self, index: int, pc: int) -> int | None:
        """Return the physical address of our BRK at *pc* by a vCPU's tables, None without one."""
        try:
            ipa = self.breakpoints.memory.live.translate(index, pc).ipa
            return ipa if self.breakpoints.patched(ipa) else None
        except MemoryFault:
            return None

    def _asked_for(
        self, exit: DebugExit, pc: int, kinds: tuple[BreakpointKind, ...]
    ) -> Stopped | Disposition:
        """Classify a hit at *pc* by the conditions and commands of the breakpoints there.

        Of several *kinds* that stop, the first is reported.
        """
        context = _Context(self, exit.vcpu)
        for kind in kinds:
            stops, output = self.breakpoints.conditions.evaluate(kind, pc, context)
            if stops:
                return Stopped(exit.vcpu + 1, stop=_STOPS[kind])
            if output:
                self._printed(output)
        return Disposition.STEP_OVER

    def _accessed(self, index: int) -> range | None:
        """Return the addresses that the instruction at PC accesses, None if that is not known."""
        vcpu = self.machine.vcpus[index]
        pc = vcpu.get(PC)

        def x(number: int) -> int:
            stack = stack_pointer(PSTATE(vcpu.get(CPSR)))
            return vcpu.get(X[number] if number < len(X) else stack)

        return accessed(self.breakpoints.words(index)(pc), pc, x)

    def _unclaimed(self, exit: DebugExit) -> Stopped | Disposition:
        """Classify a comparator's exit that no request explains: the guest's if it uses any."""
        vcpu, had = self.machine.vcpus[exit.vcpu], self.machine.system_registers
        own = (row for row in _CONTROLS[EC(exit.esr.EC)] if row in had)
        if MDSCR(vcpu.get(MDSCR_EL1)).MDE and any(DBGBCR(vcpu.get(row)).E for row in own):
            return Disposition.REINJECT
        return _unexplained(exit)


class _Context:
    """Registers and memory for agent expressions, of a vCPU on its own thread."""

    def __init__(self, stops: StopClassifier, index: int) -> None:
        self._registers = stops.registers
        self._vcpu = stops.machine.vcpus[index]
        self._index = index
        self._memory = stops.breakpoints.memory.live

    def register(self, number: int) -> int:
        row = self._registers.numbered.get(number)
        if row is None or row.bits > 64:
            raise NoSuchRegister(f"no expression can use register {number}")
        return self._registers.read(self._vcpu, row)

    def memory(self, gva: int, length: int) -> bytes:
        return self._memory.read(self._index, gva, length)


def _unexplained(exit: DebugExit) -> Stopped:
    text = f"vCPU {exit.vcpu}: a debug exit that nothing explains: ESR_EL2 {exit.esr:#x}"
    if exit.esr.EC == EC.WATCHPOINT_LOWER:
        text += f", FAR_EL2 {exit.far:#x}"
    _log.warning("%s (%r)", text, exit.esr)
    return Stopped(exit.vcpu + 1, text=text)
