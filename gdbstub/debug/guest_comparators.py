"""Comparators of the guest's own, which KVM hides while any of a debugger's are in use.

It reads registers. Source: Arm ARM D2.8 "Breakpoint exceptions", D2.9 "Watchpoint exceptions".
"""

import re
from functools import cache
from typing import Final

from gdbstub.aarch64.registers import MDSCR_EL1, SYSTEM_REGISTERS
from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR, MDSCR
from gdbstub.architecture import Register
from gdbstub.machine import DebugRegisters, Machine

_SLOTS: Final = 16
#: ``MSR MDSCR_EL1, Xt``, of any Xt.
_MSR_MDSCR: Final = re.compile(rb"[\x40-\x5f]\x02\x10\xd5")


def sets_mdscr(text: bytes) -> bool:
    """Return True if *text*, A64 code from a word on, has an ``MSR`` of MDSCR_EL1."""
    return any(match.start() % 4 == 0 for match in _MSR_MDSCR.finditer(text))


@cache
def _pairs(kind: str) -> tuple[tuple[Register, Register], ...]:
    """Return control and value registers of all breakpoints (``B``) or watchpoints (``W``)."""
    names = [(f"DBG{kind}CR{n}_EL1", f"DBG{kind}VR{n}_EL1") for n in range(_SLOTS)]
    return tuple((SYSTEM_REGISTERS[control], SYSTEM_REGISTERS[value]) for control, value in names)


class GuestComparators:
    """Comparators that the guest of one vCPU has set up for itself."""

    def __init__(self, machine: Machine, index: int) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._vcpu = machine.vcpus[index]
        had = {row.id for row in machine.system_registers}
        self._breakpoints, self._watchpoints = (
            [pair for pair in _pairs(kind) if pair[0].id in had] for kind in "BW"
        )

    def enabled(self) -> bool:
        """Return True if the guest has its comparators switched on (MDSCR_EL1.MDE)."""
        return bool(MDSCR(self._vcpu.get(MDSCR_EL1)).MDE)

    def comparators(self) -> DebugRegisters:
        """Return those that are set, but for linked ones, which depend on their slots."""
        if not self.enabled():
            return DebugRegisters()
        get = self._vcpu.get
        breakpoints = ((DBGBCR(get(control)), value) for control, value in self._breakpoints)
        watchpoints = ((DBGWCR(get(control)), value) for control, value in self._watchpoints)
        return DebugRegisters(
            tuple((row, get(value)) for row, value in breakpoints if row.E and not row.BT),
            tuple((row, get(value)) for row, value in watchpoints if row.E and not row.WT),
        )
