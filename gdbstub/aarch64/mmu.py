"""Stage-1 translation of the EL1&0 regime, as pure functions over a ``read(ipa, length)``.

Permissions are not checked and no flag is set: a debugger sees whatever is mapped.
Source: Arm ARM D8.2 "Translation process", D8.3 "Translation table descriptor formats".
"""

import struct
from collections.abc import Callable, Iterator
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from gdbstub.aarch64.sysreg import ID_AA64MMFR0, SCTLR, TCR
from gdbstub.errors import MemoryFault

Read = Callable[[int, int], bytes]

# log2 of the granule, by TCR_EL1.TG0 and TG1, which encode the same three differently.
_TG0: Final = {0b00: 12, 0b01: 16, 0b10: 14}
_TG1: Final = {0b01: 14, 0b10: 12, 0b11: 16}
#: Size of a physical address in bits, by TCR_EL1.IPS and ID_AA64MMFR0_EL1.PARange.
PA_BITS: Final = (32, 36, 40, 42, 44, 48, 52, 56)
#: Size of the smallest page and granule, in bytes: what lies within one is mapped as one.
SMALLEST_PAGE: Final = 4096
_LPA: Final = 52  # bits of the largest address that stage 1 makes
_IPS_52: Final = 0b110
_MAX_TNSZ: Final = {12: 48, 14: 48, 16: 47}  # with FEAT_TTST
_LAST: Final = 3  # the level of pages
_TOP_BYTE: Final = 0xFF << 56


class Regime(NamedTuple):
    """Registers that decide a translation, as one vCPU has them at one moment.

    ``pa_bits`` is the size of a physical address in bits (``pa_bits``).
    """

    sctlr: SCTLR
    tcr: TCR
    ttbr0: int
    ttbr1: int
    pa_bits: int = _LPA


def pa_bits(mmfr0: int) -> int:
    """Return the size of a physical address in bits, by a vCPU's ID_AA64MMFR0_EL1.

    A value of PARange that is not known counts as the largest.
    """
    return PA_BITS[min(ID_AA64MMFR0(mmfr0).PARange, len(PA_BITS) - 1)]


class Mapping(NamedTuple):
    """Physical place of a virtual address: ``size`` contiguous bytes from ``ipa`` on."""

    ipa: int
    size: int


class Type(Enum):
    """Type of a descriptor (Arm ARM D8.3.1)."""

    TABLE = "table"
    BLOCK = "block"
    PAGE = "page"
    INVALID = "invalid"


class WalkStep(NamedTuple):
    """One table that a walk looks into.

    ``entry`` is the number of the entry that holds the ``descriptor``. ``output`` is the address
    in that: the next table's, the block's or the page's.
    """

    level: int
    table: int
    entry: int
    descriptor: int
    type: Type
    output: int


class Walk(NamedTuple):
    """A translation with all its steps.

    There are none with the MMU off. ``granule`` is the base-2 logarithm of the granule's size
    and ``bits`` the size of an input address; both are 0 if no table is looked into. ``fault``
    is the reason for having no ``mapping``.
    """

    regime: Regime
    gva: int
    granule: int = 0
    bits: int = 0
    steps: tuple[WalkStep, ...] = ()
    mapping: Mapping | None = None
    fault: str = ""


class _Tables(NamedTuple):
    """The format and the place of the tables for one half of the virtual addresses.

    ``bits`` is the size of an input address, ``output_bits`` the largest size of an output.
    ``ds`` is True if descriptors have the format of the 4 and 16 K granules for 52 bits.
    """

    granule: int
    bits: int
    base: int
    start: int
    ds: bool
    pa_bits: int
    output_bits: int
    order: str

    def shift(self, level: int) -> int:
        """Return the number of address bits that an entry of this level leaves untranslated."""
        return self.granule + (_LAST - level) * (self.granule - 3)

    def index_bits(self, level: int) -> int:
        """Return the number of address bits that choose an entry of a table of this level."""
        return min(self.granule - 3, self.bits - self.shift(level))

    def type(self, level: int, descriptor: int) -> Type:
        match descriptor & 0b11:
            case 0b11:
                return Type.PAGE if level == _LAST else Type.TABLE
            case 0b01 if self._has_blocks(level):
                return Type.BLOCK
        return Type.INVALID

    def _has_blocks(self, level: int) -> bool:
        """Return True if this level may hold blocks (Arm ARM D8.3.1, "Block descriptor")."""
        if level == 2:
            return True
        match self.granule:
            case 12:
                return level == 1 or (level == 0 and self.ds)
            case 14:
                return level == 1 and self.ds
        return level == 1 and self.pa_bits >= _LPA

    def output(self, descriptor: int, shift: int) -> int:
        """Return a descriptor's output address, aligned to ``1 << shift``."""
        if self.ds:
            low = descriptor & (1 << 50) - 1
            high = descriptor >> 8 & 3
            return low & -(1 << shift) | high << 50
        low = descriptor & (1 << 48) - 1 & -(1 << shift)
        if self.granule == 16 and self.pa_bits >= _LPA:
            return low | (descriptor >> 12 & 0xF) << 48
        return low


@lru_cache(maxsize=16)
def _tables(regime: Regime, upper: int) -> _Tables:
    """Return the tables that TCR_EL1 and a TTBR give one half.

    Raises:
        MemoryFault: it has no tables.
    """
    tcr = regime.tcr
    if upper:
        off, size, granule, ttbr = tcr.EPD1, tcr.T1SZ, _TG1.get(tcr.TG1), regime.ttbr1
    else:
        off, size, granule, ttbr = tcr.EPD0, tcr.T0SZ, _TG0.get(tcr.TG0), regime.ttbr0
    half = f"the {'upper' if upper else 'lower'} half"
    if off:
        raise MemoryFault(f"no translation table for {half}: TCR_EL1.EPD{upper} is set")
    ds = bool(tcr.DS) and granule in (12, 14)
    least = 12 if granule == 16 or ds else 16
    if granule is None or not least <= size <= _MAX_TNSZ[granule]:
        raise MemoryFault(f"no translation table for {half}: T{upper}SZ or TG{upper} is reserved")
    bits = 64 - size
    stride = granule - 3
    start = _LAST + 1 - -(-(bits - granule) // stride)
    index_bits = bits - granule - (_LAST - start) * stride
    # The first table is aligned to its size, which may be less than a granule.
    if ds or (granule == 16 and tcr.IPS == _IPS_52 and regime.pa_bits >= _LPA):
        base = ttbr & (1 << 48) - (1 << max(index_bits + 3, 6)) | (ttbr >> 2 & 0xF) << 48
    else:
        base = ttbr & (1 << 48) - (1 << max(index_bits + 3, 1))
    most = _LPA if ds or granule == 16 else 48
    output_bits = min(PA_BITS[tcr.IPS], regime.pa_bits, most)
    if base >> output_bits:
        raise MemoryFault(f"TTBR{upper}_EL1 is beyond {output_bits} bits of physical address")
    order = ">" if regime.sctlr.EE else "<"
    return _Tables(granule, bits, base, start, ds, regime.pa_bits, output_bits, order)


def _select(regime: Regime, gva: int) -> _Tables:
    """Return the tables that *gva* is looked up in (Arm ARM D8.2.4).

    Raises:
        MemoryFault: there are none.
    """
    upper = gva >> 55 & 1
    tables = _tables(regime, upper)
    ignored = regime.tcr.TBI1 if upper else regime.tcr.TBI0
    ones = (1 << (56 if ignored else 64) - tables.bits) - 1
    if gva >> tables.bits & ones != (ones if upper else 0):
        raise MemoryFault(f"{gva:#x} is outside both translation tables")
    return tables


def _steps(tables: _Tables, gva: int, read: Read) -> Iterator[WalkStep]:
    """Yield a step for each table on the way; the last is at the block or page.

    Raises:
        MemoryFault: no translation.
    """
    table, level = tables.base, tables.start
    while True:
        shift = tables.shift(level)
        entry = gva >> shift & (1 << tables.index_bits(level)) - 1
        try:
            raw = read(table + 8 * entry, 8)
        except MemoryFault:
            raw = b""
        if len(raw) < 8:
            raise MemoryFault(f"the translation table of level {level}, {table:#x}, is not in RAM")
        (descriptor,) = struct.unpack(tables.order + "Q", raw)
        type_ = tables.type(level, descriptor)
        last = type_ is not Type.TABLE
        output = 0
        if type_ is not Type.INVALID:
            output = tables.output(descriptor, shift if last else tables.granule)
        yield WalkStep(level, table, entry, descriptor, type_, output)
        if type_ is Type.INVALID:
            raise MemoryFault(f"no translation at level {level}")
        if output >> tables.output_bits:
            raise MemoryFault(
                f"the descriptor at level {level} is beyond {tables.output_bits} bits "
                "of physical address"
            )
        if last:
            return
        table, level = output, level + 1


def _flat(regime: Regime, gva: int) -> Mapping:
    """Return the place of *gva* with the MMU off; a tag is dropped even then (TCR_EL1.TBIn).

    Raises:
        MemoryFault: *gva* is larger than a physical address.
    """
    ignored = regime.tcr.TBI1 if gva >> 55 & 1 else regime.tcr.TBI0
    ipa = gva & ~_TOP_BYTE if ignored else gva
    if ipa >> regime.pa_bits:
        raise MemoryFault(
            f"{gva:#x} is beyond {regime.pa_bits} bits of physical address, and the MMU is off"
        )
    return Mapping(ipa, (1 << regime.pa_bits) - ipa)


def walk(regime: Regime, gva: int, read: Read) -> Walk:
    """Return the translation of *gva* step by step, with the reason if there is none."""
    try:
        if not regime.sctlr.M:
            return Walk(regime, gva, mapping=_flat(regime, gva))
        tables = _select(regime, gva)
    except MemoryFault as fault:
        return Walk(regime, gva, fault=str(fault))
    steps: list[WalkStep] = []
    mapping, why = None, ""
    try:
        for step in _steps(tables, gva, read):
            steps.append(step)  # those before a fault, too
        (mapping,) = _pieces_of_a_table(tables, steps[-1], gva, 1, read)
    except MemoryFault as fault:
        why = str(fault)
    return Walk(regime, gva, tables.granule, tables.bits, tuple(steps), mapping, why)


def translate(regime: Regime, gva: int, read: Read) -> Mapping:
    """Return the physical place of *gva*, as far as its block or page goes.

    Raises:
        MemoryFault: no translation, or a table is not in RAM.
    """
    return next(pieces(regime, gva, 1, read))


def pieces(regime: Regime, gva: int, length: int, read: Read) -> Iterator[Mapping]:
    """Yield the physical places of *length* bytes from *gva* on, in order.

    Adjacent pieces of one table are joined. A table of blocks or pages is read once, however
    many of its entries the range takes. The last piece may go on behind the range.

    Raises:
        MemoryFault: the next address has no translation.
    """
    end = gva + length
    while gva < end:
        if not regime.sctlr.M:
            yield _flat(regime, gva)
            return
        tables = _select(regime, gva)
        *_, leaf = _steps(tables, gva, read)
        for piece in _pieces_of_a_table(tables, leaf, gva, end - gva, read):
            yield piece
            gva += piece.size


def _pieces_of_a_table(
    tables: _Tables, leaf: WalkStep, gva: int, length: int, read: Read
) -> Iterator[Mapping]:
    """Yield ``pieces`` from *gva* on, up to the end of the table of *leaf*."""
    size = 1 << tables.shift(leaf.level)
    offset = gva & size - 1
    ipa, together = leaf.output + offset, size - offset
    if together < length:
        for output in _following(tables, leaf, -(-(length - together) // size), read):
            if output != ipa + together:
                yield Mapping(ipa, together)
                ipa, together = output, 0
            together += size
    yield Mapping(ipa, together)


def _following(tables: _Tables, leaf: WalkStep, most: int, read: Read) -> Iterator[int]:
    """Yield the outputs of the entries after *leaf* in its table, up to one of another type."""
    first = leaf.entry + 1
    count = min(most, (1 << tables.index_bits(leaf.level)) - first)
    try:
        raw = read(leaf.table + 8 * first, 8 * count) if count else b""
    except MemoryFault:
        return
    shift = tables.shift(leaf.level)
    size, address = 1 << shift, (1 << 48) - (1 << shift)
    output, expected = leaf.output, leaf.descriptor
    for descriptor in struct.unpack(f"{tables.order}{len(raw) // 8}Q", raw[: len(raw) & -8]):
        expected += size
        if descriptor == expected and descriptor & address:  # 0: the address has overflowed
            output += size
        elif tables.type(leaf.level, descriptor) is leaf.type:
            output, expected = tables.output(descriptor, shift), descriptor
        else:
            return
        if output >> tables.output_bits:
            return
        yield output
