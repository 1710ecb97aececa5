"""Permissions of a stage-1 translation: the exception levels that may execute and write there.

It walks nothing: ``mmu.walk`` does. Indirect permissions (FEAT_S1PIE) are read as the direct ones
whose bits they share, as Linux lays its descriptors out. Source: Arm ARM D8.4 "Memory access
control", D8.4.1.2 "Data access permissions", D8.4.5 "Instruction execution permissions".
"""

from typing import NamedTuple

from gdbstub.aarch64.mmu import Type, Walk
from gdbstub.aarch64.walk import LeafDescriptor, TableDescriptor

# AP[2:1] of a block or page: bit 0 gives EL0 access, bit 1 takes the permission to write.
_EL0, _READ_ONLY = 0b01, 0b10


class Permissions(NamedTuple):
    """Permissions at an address, by exception level."""

    el1_executes: bool
    el0_executes: bool
    el1_writes: bool
    el0_writes: bool

    @property
    def executes(self) -> bool:
        """True if any level may execute there."""
        return self.el1_executes or self.el0_executes

    @property
    def writes(self) -> bool:
        """True if any level may write there."""
        return self.el1_writes or self.el0_writes


NONE = Permissions(False, False, False, False)
#: With the MMU off (Arm ARM D8.2.9).
ALL = Permissions(True, True, True, True)


def permissions(walk: Walk) -> Permissions:
    """Compute the permissions at the end of *walk*; none where it ends in a fault."""
    if walk.mapping is None:
        return NONE
    sctlr, tcr = walk.regime.sctlr, walk.regime.tcr
    if not sctlr.M:
        return ALL
    leaf = LeafDescriptor(walk.steps[-1].descriptor)
    # A page that is clean yet is writable where hardware marks it dirty (D8.5.2, DBM).
    writable = not leaf.AP & _READ_ONLY or bool(leaf.DBM and tcr.HA and tcr.HD)
    el0 = bool(leaf.AP & _EL0)
    uxn, pxn = bool(leaf.UXN), bool(leaf.PXN)
    if not (tcr.HPD1 if walk.gva >> 55 & 1 else tcr.HPD0):
        for step in walk.steps:
            if step.type is Type.TABLE:
                table = TableDescriptor(step.descriptor)
                el0 = el0 and not table.APTable & _EL0
                writable = writable and not table.APTable & _READ_ONLY
                uxn, pxn = uxn or bool(table.UXNTable), pxn or bool(table.PXNTable)
    el0_writes = writable and el0
    # What EL0 may write, EL1 must not execute, whatever PXN says.
    el1_executes = not (pxn or el0_writes or (sctlr.WXN and writable))
    el0_executes = not (uxn or (sctlr.WXN and el0_writes))
    return Permissions(el1_executes, el0_executes, writable, el0_writes)
