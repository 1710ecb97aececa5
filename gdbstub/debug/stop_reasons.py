"""Whose a debug exit is: to be told to a client, the guest's own, or to be passed over silently.

It changes nothing and runs nothing; it is asked on the thread of the vCPU that exits, for which
it reads that vCPU and RAM.
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


# The guest's own comparators.
_CONTROLS: Final = {
    EC.BREAKPOINT_LOWER: _numbered("DBGBCR"),
    EC.WATCHPOINT_LOWER: _numbered("DBGWCR"),
}


class Disposition(Enum):
    """Of a debug exit that is nothing to tell a client."""

    REINJECT = auto()  # its own exception, which it must get
    STEP_OVER = auto()  # ours, but not what was asked for: its instruction is executed silently


class StopClassifier:
    """The judge of one machine's debug exits."""

    def __init__(
        self,
        machine: Machine,
        breakpoints: Breakpoints,
        registers: ClientRegisters,
        printed: Callable[[bytes], None],
    ) -> None:
        """*breakpoints*: what a client has asked for; *registers*: as its conditions know them.

        *printed* gets what commands print, on vCPU threads.
        """
        self.machine = machine
        self.registers = registers
        self.breakpoints = breakpoints
        #: By vCPU: the physical address of the BRK of ours that it met last.
        self.hit_at: dict[int, int] = {}
        # By vCPU: where it has met a BRK of ours that nobody asked for there.
        self._at_alias: dict[int, int] = {}
        # By vCPU: where a breakpoint has been judged already, whose instruction is still to come.
        # One that has been anywhere else meanwhile meets it anew, and so does a handler that comes
        # by before it: the stack pointer tells.
        self._at_breakpoint: dict[int, tuple[int, int]] = {}
        self._printed = printed
        self._stepped = [Stopped(index + 1) for index in range(len(machine.vcpus))]

    def reported(self, vcpu: int) -> None:
        """A client has heard what was judged last of this vCPU."""
        if vcpu in self._at_alias:
            self.still_at(vcpu, self._at_alias.pop(vcpu))

    def still_at(self, vcpu: int, pc: int) -> None:
        """This vCPU has not got past a breakpoint at *pc*: it is not to be judged anew."""
        self._at_breakpoint[vcpu] = pc, self._stack(vcpu)

    @property
    def remembers(self) -> bool:
        """Whether any vCPU has been judged where it still is."""
        return bool(self._at_breakpoint)

    def resuming(self, vcpu: int) -> None:
        """This vCPU goes on from where it is, with breakpoints as they are now."""
        self._look(vcpu)
        pc, _ = self._at_breakpoint.get(vcpu, (None, 0))
        if pc is not None and not self.breakpoints.compared(pc) and self.patch(vcpu, pc) is None:
            self.moved(vcpu)  # nothing will say when it gets past

    def _look(self, vcpu: int) -> None:
        """Look where this vCPU is now."""
        if vcpu in self._at_breakpoint:
            here = self.machine.vcpus[vcpu].get(PC), self._stack(vcpu)
            if self._at_breakpoint[vcpu] != here:
                self.moved(vcpu)

    def _stack(self, vcpu: int) -> int:
        own = self.machine.vcpus[vcpu]
        return own.get(stack_pointer(PSTATE(own.get(CPSR))))

    def moved(self, vcpu: int) -> None:
        """This vCPU is not where it was judged."""
        self._at_breakpoint.pop(vcpu, None)

    def breakpoints_removed(self) -> None:
        """There are no breakpoints now; who asks for some is to hear of them."""
        self._at_breakpoint.clear()
        self._at_alias.clear()

    def reset(self) -> None:
        """The guest is a new one."""
        self.breakpoints_removed()
        self.breakpoints.conditions.reset_variables()

    def classify(self, exit: DebugExit) -> Stopped | Disposition:
        """What to tell a client of *exit*, or whose it is otherwise."""
        if self._at_alias or self._at_breakpoint:
            self._at_alias.pop(exit.vcpu, None)
            self._look(exit.vcpu)
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
        if self._at_breakpoint.pop(index, None) is not None:
            return Disposition.STEP_OVER
        if kinds := self.breakpoints.kinds_at(index, pc):
            return self._asked_for(exit, pc, kinds)
        if not brk:
            return Disposition.STEP_OVER  # of another process
        # The same page at another address. GDB steps over a ``swbreak`` where it has inserted
        # none and goes on, to the same BRK, for ever. So it is told of a plain trap, once.
        self._at_alias[index] = pc
        text = f"vCPU {index}: hit a software breakpoint through another mapping of its page, at "
        return Stopped(index + 1, text=f"{text}{pc:#x}")

    def patch(self, index: int, pc: int) -> int | None:
        """The physical address of our BRK at *pc* by that vCPU's tables, if there is one."""
        try:
            ipa = self.breakpoints.memory.as_of_now(index).translate(index, pc).ipa
            return ipa if self.breakpoints.patched(ipa) else None
        except MemoryFault:
            return None

    def _asked_for(
        self, exit: DebugExit, pc: int, kinds: tuple[BreakpointKind, ...]
    ) -> Stopped | Disposition:
        """What a breakpoint at *pc* comes to, by its conditions and commands.

        Of several kinds the first is told.
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
        """What the instruction accesses that a vCPU is about to execute."""
        vcpu = self.machine.vcpus[index]
        pc = vcpu.get(PC)

        def x(number: int) -> int:
            stack = stack_pointer(PSTATE(vcpu.get(CPSR)))
            return vcpu.get(X[number] if number < len(X) else stack)

        return accessed(self.breakpoints.words(index)(pc), pc, x)

    def _unclaimed(self, exit: DebugExit) -> Stopped | Disposition:
        """An exit of a comparator that none of ours explains: the guest's, if it has armed any."""
        vcpu, had = self.machine.vcpus[exit.vcpu], self.machine.system_registers
        own = (row for row in _CONTROLS[EC(exit.esr.EC)] if row in had)
        if MDSCR(vcpu.get(MDSCR_EL1)).MDE and any(DBGBCR(vcpu.get(row)).E for row in own):
            return Disposition.REINJECT
        return _unexplained(exit)


class _Context:
    """Where agent expressions are evaluated: a vCPU on its own thread, and memory as it sees it."""

    def __init__(self, stops: StopClassifier, index: int) -> None:
        self._registers = stops.registers
        self._vcpu = stops.machine.vcpus[index]
        self._index = index
        self._all = stops.breakpoints.memory

    def register(self, number: int) -> int:
        row = self._registers.numbered.get(number)
        if row is None or row.bits > 64:
            raise NoSuchRegister(f"no expression can use register {number}")
        return self._registers.read(self._vcpu, row)

    def memory(self, gva: int, length: int) -> bytes:
        return self._all.as_of_now(self._index).read(self._index, gva, length)


def _unexplained(exit: DebugExit) -> Stopped:
    text = f"vCPU {exit.vcpu}: a debug exit that nothing explains: ESR_EL2 {exit.esr:#x}"
    if exit.esr.EC == EC.WATCHPOINT_LOWER:
        text += f", FAR_EL2 {exit.far:#x}"
    _log.warning("%s (%r)", text, exit.esr)
    return Stopped(exit.vcpu + 1, text=text)
