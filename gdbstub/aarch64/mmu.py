"""Stage-1 translation of the EL1&0 regime, as pure functions over a ``read(ipa, length)``.

It checks no permission and sets no flag: a debugger sees what is mapped, whoever may touch it.
Source: Arm ARM D8.2 "Translation process".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.errors import MemoryFault

Read = Callable[[int, int], bytes]

# log2 of the granule, by TCR_EL1.TG0 and TG1, which encode the same three differently.
_TG0: Final = {0b00: 12, 0b01: 16, 0b10: 14}
_TG1: Final = {0b01: 14, 0b10: 12, 0b11: 16}
_ADDRESS_BITS: Final = 56


@dataclass(frozen=True, slots=True)
class Regime:
    """The registers that decide a translation, as one vCPU has them at one moment."""

    sctlr: SCTLR
    tcr: TCR
    ttbr0: int
    ttbr1: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a virtual address lies: ``size`` bytes from ``ipa`` on belong to its block."""

    ipa: int
    size: int


def translate(regime: Regime, gva: int, read: Read) -> Mapping:
    """The physical place of *gva*, and how many bytes from there on are mapped with it.

    Raises:
        MemoryFault: no translation; or a table lies where no RAM is.
    """
    if not regime.sctlr.M:
        return Mapping(gva, (1 << 64) - gva)
    tcr = regime.tcr
    upper = gva >> 55 & 1
    if upper:
        off, top_byte_ignored, size, granule = tcr.EPD1, tcr.TBI1, tcr.T1SZ, _TG1.get(tcr.TG1)
        ttbr = regime.ttbr1
    else:
        off, top_byte_ignored, size, granule = tcr.EPD0, tcr.TBI0, tcr.T0SZ, _TG0.get(tcr.TG0)
        ttbr = regime.ttbr0
    bits = 64 - size
    if off or granule is None or not granule < bits <= _ADDRESS_BITS:
        raise MemoryFault(f"no translation table for {gva:#x}")
    checked = (gva & (1 << _ADDRESS_BITS) - 1 if top_byte_ignored else gva) >> bits
    width = (_ADDRESS_BITS if top_byte_ignored else 64) - bits
    if checked != ((1 << width) - 1 if upper else 0):
        raise MemoryFault(f"{gva:#x} is outside both translation tables")
    return _walk(regime, gva & (1 << bits) - 1, bits, granule, ttbr, read)


def _walk(regime: Regime, gva: int, bits: int, granule: int, ttbr: int, read: Read) -> Mapping:
    """Follow the tables for an address of *bits* bits."""
    stride = granule - 3
    level = 4 - -(-(bits - granule) // stride)
    order = "big" if regime.sctlr.EE else "little"
    first_index_bits = bits - granule - (3 - level) * stride
    table = _first_table(regime.tcr, ttbr, granule, first_index_bits)
    index_bits = first_index_bits
    while True:
        shift = granule + (3 - level) * stride
        index = gva >> shift & (1 << index_bits) - 1
        raw = read(table + 8 * index, 8)
        if len(raw) < 8:
            raise MemoryFault(f"a translation table at {table:#x} is not in RAM")
        descriptor = int.from_bytes(raw, "big" if order == "big" else "little")
        if not descriptor & 1:
            raise MemoryFault(f"no translation at level {level}")
        output = _output(regime.tcr, descriptor, granule)
        if level == 3:
            if not descriptor & 2:
                raise MemoryFault("a reserved descriptor at level 3")
            break
        if not descriptor & 2:
            break
        table, level, index_bits = output, level + 1, stride
    offset = gva & (1 << shift) - 1
    return Mapping((output & -(1 << shift)) + offset, (1 << shift) - offset)


def _large_addresses(tcr: TCR, granule: int) -> bool:
    """Whether output addresses may have 52 bits: LPA (64 K granule) or LPA2 (DS)."""
    return bool(tcr.DS) if granule != 16 else tcr.IPS == 6


def _first_table(tcr: TCR, ttbr: int, granule: int, index_bits: int) -> int:
    """Physical address of the first table (Arm ARM, TTBR0_EL1.BADDR)."""
    base = ttbr & (1 << 48) - 2
    size = 8 << index_bits
    if _large_addresses(tcr, granule):
        return (base & -max(size, 64)) | (ttbr >> 2 & 0xF) << 48
    return base & -size


def _output(tcr: TCR, descriptor: int, granule: int) -> int:
    """A descriptor's output address, granule-aligned (Arm ARM D8.3)."""
    if _large_addresses(tcr, granule):
        if granule == 16:
            return descriptor & 0xFFFF_FFFF_0000 | (descriptor >> 12 & 0xF) << 48
        low = descriptor & (1 << 50) - (1 << granule)
        return low | (descriptor >> 8 & 3) << 50
    return descriptor & (1 << 48) - (1 << granule)
