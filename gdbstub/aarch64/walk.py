"""Attributes of translation table descriptors, and a translation's steps as text.

``mmu.walk`` does the walk. Source: Arm ARM D8.3.1 and D8.3.2, descriptor formats.
"""

from typing import Final

from gdbstub.aarch64.bits import Bits, Word
from gdbstub.aarch64.mmu import Type, Walk


class TableDescriptor(Word):
    """Attributes of a table, which limit those below it (TCR_EL1.HPDn may turn them off)."""

    NSTable = Bits(63)
    APTable = Bits(62, 61)
    UXNTable = Bits(60)
    PXNTable = Bits(59)


class LeafDescriptor(Word):
    """Attributes of a block or page; ``AP`` is what the Arm ARM calls AP[2:1]."""

    UXN = Bits(54)
    PXN = Bits(53)
    Contiguous = Bits(52)
    DBM = Bits(51)
    GP = Bits(50)
    nG = Bits(11)
    AF = Bits(10)
    SH = Bits(9, 8)
    AP = Bits(7, 6)
    NS = Bits(5)
    AttrIndx = Bits(4, 2)


#: Meanings of fields that are shown with one, by value.
_WORDS: Final = {
    "AP": ("EL1 writes", "EL1 and EL0 write", "EL1 reads", "EL1 and EL0 read"),
    "SH": ("non-shareable", "reserved", "outer shareable", "inner shareable"),
}


def attributes(walk: Walk) -> LeafDescriptor | None:
    """Return the attributes of the block or page at the end of *walk*; None if it has none.

    With TCR_EL1.DS the descriptor has address bits in place of SH, and TCR_EL1 has SH.
    """
    if not walk.steps or walk.steps[-1].type not in (Type.BLOCK, Type.PAGE):
        return None
    leaf = LeafDescriptor(walk.steps[-1].descriptor)
    if walk.regime.tcr.DS and walk.granule in (12, 14):
        tcr = walk.regime.tcr
        return leaf.replace(SH=tcr.SH1 if walk.gva >> 55 & 1 else tcr.SH0)
    return leaf


def render(walk: Walk) -> str:
    """Return *walk* as lines: one for each table, and one for its result."""
    lines = [_head(walk)]
    for step in walk.steps:
        line = f"level {step.level:2}  {step.table:#x}[{step.entry}] = {step.descriptor:#018x}  "
        line += step.type.value
        if step.type is not Type.INVALID:
            line += f" {step.output:#x}"
        shown = TableDescriptor(step.descriptor) if step.type is Type.TABLE else attributes(walk)
        lines.append(f"{line}  {_fields(shown)}".rstrip() if shown is not None else line)
    if walk.mapping:
        lines.append(f"physical {walk.mapping.ipa:#x}, {walk.mapping.size:#x} bytes from there")
    else:
        lines.append(walk.fault)
    return "\n".join(lines)


def _head(walk: Walk) -> str:
    if not walk.regime.sctlr.M:
        return f"{walk.gva:#x}: the MMU is off"
    half = walk.gva >> 55 & 1
    ttbr = walk.regime.ttbr1 if half else walk.regime.ttbr0
    head = f"{walk.gva:#x}: TTBR{half}_EL1 = {ttbr:#x}"
    if walk.granule:
        head += f", {1 << walk.granule - 10} KiB granule, {walk.bits} bits"
    return head


def _fields(word: Word) -> str:
    """Return single bits that are set by name, and other fields with their values."""
    shown = []
    for name, bits in word.declared().items():
        value = getattr(word, name)
        if bits.width == 1:
            shown += [name] if value else []
        elif name in _WORDS:
            shown.append(f"{name}={value} ({_WORDS[name][value]})")
        elif value or not name.endswith("Table"):
            shown.append(f"{name}={value}")
    return " ".join(shown)
