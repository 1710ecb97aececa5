"""Breakpoint and watchpoint comparators (Arm ARM D2.8, D2.9), matched in Python.

They compare what Unicorn reports, which for data is a physical address: watchpoints are
right where a guest's addresses are their own translation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR, EC, ESR
from gdbstub.machine import DebugRegisters

_FSC = 0x22  # IFSC or DFSC: a debug exception


def syndrome(ec: int, iss: int) -> ESR:
    """Return the ESR_EL2 of a debug exception from a 4-byte instruction."""
    return ESR.of(EC=ec, IL=1, ISS=iss)


def stepped(*, trapped: bool, exclusive: bool) -> ESR:
    """A completed step; what traps to the hypervisor leaves no valid syndrome."""
    return ESR.of(EC=EC.STEP_LOWER, IL=1, ISS=_FSC, ISV=not trapped, EX=exclusive)


@dataclass(frozen=True, slots=True)
class Access:
    """One access of an instruction to memory."""

    address: int
    size: int
    write: bool


def _selected(field: int, el: int) -> bool:
    """DBGBCR.PMC and DBGWCR.PAC with HMC and SSC 0: bit 0 is EL1, bit 1 EL0."""
    return bool(field & (1 if el == 1 else 2))


@dataclass(frozen=True, slots=True)
class Watch:
    """One armed watchpoint: the addresses that it watches."""

    control: DBGWCR
    value: int

    def _bytes(self) -> range:
        if self.control.MASK >= 3:
            size = 1 << self.control.MASK
            return range(self.value & -size, (self.value & -size) + size)
        bas = self.control.BAS
        low = (bas & -bas).bit_length() - 1
        return range((self.value & -8) + low, (self.value & -8) + bas.bit_length())

    def first_touched(self, access: Access, el: int) -> int | None:
        """The lowest watched byte that *access* touches."""
        if not (self.control.LSC & (2 if access.write else 1) and _selected(self.control.PAC, el)):
            return None
        watched = self._bytes()
        first = max(watched.start, access.address)
        return first if first < min(watched.stop, access.address + access.size) else None


class Comparators:
    """The comparators that ``Machine.arm`` set, for one vCPU."""

    def __init__(self, debug: DebugRegisters = DebugRegisters()) -> None:  # noqa: B008
        self._breakpoints: dict[int, int] = {}  # address -> PMC
        for control, value in debug.breakpoints:
            bcr = DBGBCR(control)
            if bcr.E and bcr.BAS and bcr.BT == 0:
                self._breakpoints[value] = self._breakpoints.get(value, 0) | bcr.PMC
        self._watches: Sequence[Watch] = [
            Watch(wcr, value)
            for control, value in debug.watchpoints
            if (wcr := DBGWCR(control)).E and wcr.BAS
        ]
        #: KVM lets debug exceptions exit as soon as anything at all is asked of it.
        self.exits = debug.enabled or bool(debug.breakpoints or debug.watchpoints)

    @property
    def armed(self) -> bool:
        """True if every instruction must be checked."""
        return bool(self._breakpoints or self._watches)

    @property
    def watching(self) -> bool:
        """True if every access must be checked."""
        return bool(self._watches)

    def breaks_at(self, pc: int, el: int) -> bool:
        """Return True if a breakpoint exception comes before the instruction at *pc*."""
        return _selected(self._breakpoints.get(pc, 0), el)

    def watched(self, accesses: Sequence[Access], el: int) -> tuple[ESR, int] | None:
        """The syndrome and FAR of the first access that a watchpoint catches."""
        for access in accesses:
            touched = [w.first_touched(access, el) for w in self._watches]
            if hits := [address for address in touched if address is not None]:
                return syndrome(EC.WATCHPOINT_LOWER, _FSC | access.write << 6), min(hits)
        return None


def at_breakpoint() -> ESR:
    """The syndrome of a breakpoint exception."""
    return syndrome(EC.BREAKPOINT_LOWER, _FSC)
