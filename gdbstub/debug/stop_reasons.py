"""Classification of debug exits: a stop to report, the guest's own exception, or to step over.

It runs on the thread of the vCPU that exits. It reads that vCPU and RAM. It
writes the vCPU only to undo the abort of a return to a breakpoint.
"""

import logging
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from gdbstub.aarch64.accesses import accessed
from gdbstub.aarch64.comparators import breakpoint_at, canonical
from gdbstub.aarch64.registers import (
    CPSR,
    DCZID_EL0,
    MDSCR_EL1,
    PC,
    SYSTEM_REGISTERS,
    X,
    stack_pointer,
)
from gdbstub.aarch64.sysreg import DBGBCR, EC, MDSCR, PSTATE
from gdbstub.agent.conditions import GO_ON
from gdbstub.architecture import Register
from gdbstub.debug.address_spaces import is_upper, space_of
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.registers import ClientRegisters
from gdbstub.errors import MemoryFault, NoSuchRegister
from gdbstub.hwbp import NoWatchpoint
from gdbstub.machine import DebugExit, DebugRegisters, Machine, Vcpu
from gdbstub.swbp import BRK_COMMENT
from gdbstub.target import BreakpointKind, Stopped, StopReason

if TYPE_CHECKING:
    from gdbstub.debug.extensions import ProcessFilter

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


_VALUES: Final = _numbered("DBGBVR")
_OSLSR_EL1: Final = SYSTEM_REGISTERS["OSLSR_EL1"]
_OSLK: Final = 1 << 1  # OSLSR_EL1.OSLK: the OS lock is set
_MODE: Final = 0xF  # PSTATE.M[3:0], 0 at EL0 of either state


class Disposition(Enum):
    """Treatment of a debug exit that is not reported to a client."""

    REINJECT = auto()  # the guest's own exception: the guest gets it
    STEP_OVER = auto()  # not to be reported: its instruction is executed silently


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
        #: The process that breakpoints in programs belong to; None: each to its own.
        self.process: ProcessFilter | None = None
        #: Addresses of the stub's own stop points, which stop whatever a client's conditions say.
        self.stop_points: Collection[int] = ()
        #: vCPUs whose last stop is for a stop point only: the client's conditions there were false.
        self.at_stop_point_only: set[int] = set()
        #: A vCPU at a stop point that was reported already, and its PC: the next hit there is
        #: stepped over.
        self.reported_at: tuple[int, int] | None = None
        self.registers = registers
        self.breakpoints = breakpoints
        # By vCPU: PC of a hit of our BRK through a mapping that no request names.
        self._at_alias: dict[int, int] = {}
        # By vCPU: PC and stack pointer where it is still at a breakpoint, that is, the hit was
        # classified and the instruction has not been executed. A vCPU that has been elsewhere
        # meanwhile hits it again. So does a handler that comes by first: its stack pointer differs.
        self._still_at: dict[int, tuple[int, int]] = {}
        # By vCPU: PC of the watchpoint hit that was its last exit to be classified.
        self._watched_at: dict[int, int] = {}
        # By vCPU: PC and stack pointer of a hit whose commands have printed, and whose stop is not
        # reported yet. It is hit again if another vCPU's stop is reported first.
        self._printed_at: dict[int, tuple[int, int]] = {}
        # By vCPU: PC and kinds of breakpoint of a hit that was classified last, if the conditions
        # of all are false.
        self._false_hit: dict[int, tuple[int, tuple[BreakpointKind, ...]]] = {}
        # vCPUs on which comparators of the guest's own have been armed beside ours.
        self._copied: set[int] = set()
        self._printed = printed
        self._stepped = [Stopped(index + 1) for index in range(len(machine.vcpus))]

    def reported(self, vcpu: int) -> None:
        """Note that a client was told of this vCPU's last stop."""
        self._printed_at.pop(vcpu, None)
        if vcpu in self._at_alias:
            self.set_still_at(vcpu, self._at_alias.pop(vcpu))

    def set_still_at(self, vcpu: int, pc: int) -> None:
        """Note that the vCPU is still at the breakpoint at *pc*: the next hit is stepped over."""
        self._still_at[vcpu] = pc, self._stack(vcpu)

    @property
    def any_still_at(self) -> bool:
        """True while any vCPU is still at a breakpoint."""
        return bool(self._still_at)

    def resuming(self, vcpu: int) -> None:
        """Note that the vCPU goes on from where it is, with breakpoints as they are now."""
        self._drop_if_moved(vcpu)
        pc, _ = self._still_at.get(vcpu, (None, 0))
        if (
            pc is not None
            and not self.breakpoints.comparator_kinds_at(pc)
            and self.patch(vcpu, pc) is None
        ):
            self.moved(vcpu)  # the breakpoint is gone: no exit would follow

    def _drop_if_moved(self, vcpu: int) -> None:
        if vcpu in self._still_at:
            here = self.machine.vcpus[vcpu].get(PC), self._stack(vcpu)
            if self._still_at[vcpu] != here:
                self.moved(vcpu)

    def _stack(self, vcpu: int) -> int:
        own = self.machine.vcpus[vcpu]
        return own.get(stack_pointer(own.get(CPSR)))

    def note_guest_comparators(self, vcpu: int, own: DebugRegisters) -> None:
        """Note that comparators of the guest's *own* are armed on the vCPU beside ours."""
        if own.breakpoints or own.watchpoints:
            self._copied.add(vcpu)

    def take_false_hit(self, vcpu: int, pc: int) -> tuple[BreakpointKind, ...]:
        """Return, once, the kinds of breakpoint at *pc* if the last hit was false for all."""
        at, kinds = self._false_hit.pop(vcpu, (None, ()))
        return kinds if at == pc else ()

    def take_watched(self, vcpu: int) -> bool:
        """Return True, once, if the vCPU is where its last stop was a watchpoint's."""
        at = self._watched_at.pop(vcpu, None)
        return at is not None and at == self.machine.vcpus[vcpu].get(PC)

    def moved(self, vcpu: int) -> None:
        """Note that the vCPU is no longer at a breakpoint whose hit was classified."""
        self._still_at.pop(vcpu, None)
        self.at_stop_point_only.discard(vcpu)

    def breakpoints_removed(self) -> None:
        """Forget which vCPUs are still at a breakpoint, because all breakpoints are removed."""
        self._still_at.clear()
        self._printed_at.clear()
        self._at_alias.clear()
        self._watched_at.clear()
        self.at_stop_point_only.clear()
        self.reported_at = None

    def reset(self) -> None:
        """Forget everything about the guest, because it starts over."""
        self.breakpoints_removed()
        self._copied.clear()
        self.breakpoints.conditions.reset_variables()

    def step_is_done(self, vcpu: int) -> Stopped:
        """Return the stop of a vCPU that has been stepped."""
        self._left_breakpoint(vcpu)
        return self._stepped[vcpu]

    def _left_breakpoint(self, vcpu: int) -> None:
        """Forget a breakpoint that the vCPU was at, unless it is there still."""
        if self._at_alias or self._still_at:
            self._at_alias.pop(vcpu, None)
            self._drop_if_moved(vcpu)

    def classify(self, exit: DebugExit) -> Stopped | Disposition:
        """Return the stop to report for *exit*, or its treatment."""
        self._left_breakpoint(exit.vcpu)
        match exit.esr.EC:
            case EC.STEP_LOWER:
                return self._stepped[exit.vcpu]
            case EC.BRK64 | EC.BREAKPOINT_LOWER:
                return self._breakpoint(exit)
            case EC.WATCHPOINT_LOWER:
                accessed = self.accessed(exit.vcpu)
                write = bool(exit.esr.WnR)
                hit = self.breakpoints.hit(exit.far, accessed, write=write)
                if hit is NoWatchpoint.BEYOND_RANGE:
                    return Disposition.STEP_OVER
                if hit is NoWatchpoint.UNRELATED:
                    return self._unclaimed(exit)
                if accessed and not hit.touches(accessed) and self._guest_uses(exit):
                    return self._unclaimed(exit)  # near ours, but not to it
                self._watched_at[exit.vcpu] = self.machine.vcpus[exit.vcpu].get(PC)
                others = self.breakpoints.also_hit(hit, accessed, write=write)
                also = tuple((_STOPS[each.kind], each.clamp(exit.far)) for each in others)
                gva = hit.clamp(exit.far)
                return Stopped(exit.vcpu + 1, stop=_STOPS[hit.kind], gva=gva, also=also)
            case EC.BKPT32:
                return Disposition.REINJECT
        return _unexplained(exit)

    def _breakpoint(self, exit: DebugExit) -> Stopped | Disposition:
        index = exit.vcpu
        self._false_hit.pop(index, None)
        pc = self.machine.vcpus[index].get(PC)
        brk = exit.esr.EC == EC.BRK64
        if brk:
            if exit.esr.comment != BRK_COMMENT or self.patch(index, pc) is None:
                return Disposition.REINJECT
        elif not self.breakpoints.comparator_at(pc):
            return self._unclaimed(exit)
        if self.breakpoints.undo_return_abort(index, pc):
            return Stopped(index + 1, stop=StopReason.SWBREAK)
        if self._still_at.pop(index, None) is not None:
            return Disposition.STEP_OVER
        if kinds := self.breakpoints.kinds_at(index, pc):
            return self._asked_for(index, pc, kinds)
        if not brk or self._is_of_others(index, pc):
            return Disposition.STEP_OVER  # of another process
        # Another mapping of the page. GDB ignores a ``swbreak`` where it has inserted none and
        # continues, to the same BRK, for ever. So a plain trap is reported, once.
        self._at_alias[index] = pc
        text = (
            f"vCPU {index} hit a software breakpoint through another mapping of its page, "
            f"at {pc:#x}"
        )
        return Stopped(index + 1, text=text)

    def _is_of_others(self, index: int, pc: int) -> bool:
        """Return True if our BRK at *pc* was asked for in other processes than a vCPU's only."""
        memory, locator = self.breakpoints.memory.live, self.breakpoints.locator
        if is_upper(pc) or locator.any_space:
            return False
        ipa, space = self.patch(index, pc), space_of(memory.regime(index), pc)
        asked = [each for each in self.breakpoints.requests() if ipa in each.ipas]
        return bool(asked) and not any(
            is_upper(each.gva) or not each.spaces or space in each.spaces for each in asked
        )

    def patch(self, index: int, pc: int) -> int | None:
        """Return the physical address of our BRK at *pc* by a vCPU's tables, None without one."""
        try:
            ipa = self.breakpoints.memory.live.translate(index, pc).ipa
            return ipa if self.breakpoints.patched(ipa) else None
        except MemoryFault:
            return None

    def arrived(self, index: int, pc: int) -> Stopped | None:
        """Classify a vCPU that has come to *pc* without a debug exit; None for no stop.

        Conditions are evaluated and commands obeyed as at an exit of the breakpoints there.
        """
        kinds = self.breakpoints.kinds_at(index, pc)
        stop = self._asked_for(index, pc, kinds) if kinds else None
        return stop if isinstance(stop, Stopped) else None

    def _asked_for(
        self, index: int, pc: int, kinds: tuple[BreakpointKind, ...]
    ) -> Stopped | Disposition:
        """Classify a hit at *pc* by the conditions and commands of all breakpoints there.

        Of several *kinds* that stop, the first is reported.
        """
        process = self.process
        if process and not is_upper(pc) and not process.matches(self.machine.vcpus[index]):
            return Disposition.STEP_OVER
        if self.reported_at == (index, pc):
            self.reported_at = None
            return Disposition.STEP_OVER
        context = _Context(self, index)
        # Only one of several can print where another one stops.
        here = (pc, self._stack(index)) if len(kinds) > 1 else None
        prints = here is None or self._printed_at.pop(index, None) != here
        printed = not prints
        stop: Stopped | Disposition = Disposition.STEP_OVER
        all_false = True
        for kind in kinds:
            outcome = self.breakpoints.conditions.evaluate(kind, pc, context)
            all_false = all_false and outcome is GO_ON
            stops, output = outcome
            if stops and stop is Disposition.STEP_OVER:
                stop = Stopped(index + 1, stop=_STOPS[kind])
            if output and prints:
                self._printed(output)
                printed = True
        if stop is Disposition.STEP_OVER and pc in self.stop_points:
            self.at_stop_point_only.add(index)
            return Stopped(index + 1, stop=StopReason.SWBREAK)
        if printed and here and isinstance(stop, Stopped):
            self._printed_at[index] = here
        if all_false:
            self._false_hit[index] = pc, kinds
        return stop

    def accessed(self, index: int, pc: int | None = None) -> range | None:
        """Return what the instruction at *pc*, or at PC, accesses; None if that is not known."""
        vcpu = self.machine.vcpus[index]
        pc = vcpu.get(PC) if pc is None else pc

        def x(number: int) -> int:
            stack = stack_pointer(vcpu.get(CPSR))
            return vcpu.get(X[number] if number < len(X) else stack)

        def dczid() -> int | None:
            return vcpu.get(DCZID_EL0) if DCZID_EL0 in self.machine.system_registers else None

        return accessed(self.breakpoints.words(index)(pc), pc, x, dczid)

    def _unclaimed(self, exit: DebugExit) -> Stopped | Disposition:
        """Classify a comparator's exit that no request explains: the guest's if it uses any.

        EL2 takes these exceptions from EL1 even where EL1 has them masked. Then the guest would
        not have taken it, and gets on (Arm ARM D2.4 "Enabling debug exceptions").
        """
        if not self._guest_uses(exit):
            # A copy of the guest's that was armed beside ours, and that it has taken back since.
            return Disposition.STEP_OVER if exit.vcpu in self._copied else _unexplained(exit)
        if exit.esr.EC == EC.BREAKPOINT_LOWER and not self._is_guests(exit.vcpu):
            return Disposition.STEP_OVER  # it has been taken back since it was armed beside ours
        enabled = self._enabled(self.machine.vcpus[exit.vcpu])
        return Disposition.REINJECT if enabled else Disposition.STEP_OVER

    def _guest_uses(self, exit: DebugExit) -> bool:
        """Return True if the guest has set a comparator of its own of the kind of *exit*."""
        vcpu, had = self.machine.vcpus[exit.vcpu], self.machine.system_registers
        own = (row for row in _CONTROLS[exit.esr.EC] if row in had)
        return any(DBGBCR(vcpu.get(row)).E for row in own)

    def _is_guests(self, index: int) -> bool:
        """Return True if a breakpoint of the guest's own may be at PC."""
        vcpu, had = self.machine.vcpus[index], self.machine.system_registers
        here = breakpoint_at(vcpu.get(PC))[1]
        for control, value in zip(_CONTROLS[EC.BREAKPOINT_LOWER], _VALUES, strict=True):
            row = DBGBCR(vcpu.get(control) if control in had else 0)
            # Others than those of an address depend on the context.
            if row.E and (row.BT or canonical(vcpu.get(value)) & -4 == here):
                return True
        return False

    def _enabled(self, vcpu: Vcpu) -> bool:
        """Return True if a breakpoint or watchpoint exception is enabled where the guest is."""
        mdscr, pstate = MDSCR(vcpu.get(MDSCR_EL1)), PSTATE(vcpu.get(CPSR))
        if not mdscr.MDE:
            return False
        if _OSLSR_EL1 in self.machine.system_registers and vcpu.get(_OSLSR_EL1) & _OSLK:
            return False
        return not pstate & _MODE or bool(mdscr.KDE and not pstate.D)


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
