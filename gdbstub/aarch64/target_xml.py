"""The target description that tells a client which registers there are.

It is made from the rows of ``registers.py`` and lists no register of its own.
"""

from collections.abc import Callable, Container, Sequence
from functools import lru_cache, partial
from itertools import groupby
from typing import Final

from gdbstub.aarch64.bits import Bits, Word
from gdbstub.aarch64.registers import SYSTEM, Register
from gdbstub.aarch64.sysreg import (
    CPACR,
    DBGBCR,
    DBGWCR,
    ESR,
    ID_AA64DFR0,
    ID_AA64MMFR0,
    ID_AA64PFR0,
    ID_AA64PFR1,
    MDSCR,
    PSTATE,
    SCTLR,
    TCR,
)

_HEAD: Final = """<?xml version="1.0"?>
<!DOCTYPE target SYSTEM "gdb-target.dtd">
<target version="1.0">
<architecture>aarch64</architecture>
<osabi>none</osabi>
"""

# A vector's views: letter, bits of an element, and the float type of that size.
_VIEWS: Final = (
    ("d", 64, "ieee_double"),
    ("s", 32, "ieee_single"),
    ("h", 16, "ieee_half"),
    ("b", 8, None),
    ("q", 128, None),
)


def target_xml(registers: Sequence[Register]) -> bytes:
    """Describe *registers*, in the order of their numbers (GDB manual, G "Target Descriptions").

    The OS ABI is "none" said aloud: without it GDB takes a kernel for a Linux program and
    looks for signal frames. System registers have a group of their own, and GDB must not put
    them back after it has called a function of the guest's.
    """
    return _build(tuple(registers))


@lru_cache(maxsize=8)
def _build(registers: tuple[Register, ...]) -> bytes:
    shown = (row for row in registers if row.feature)
    features = (_feature(name, list(rows)) for name, rows in groupby(shown, lambda r: r.feature))
    return f"{_HEAD}{''.join(features)}</target>\n".encode()


def _feature(name: str | None, rows: list[Register]) -> str:
    types = {row.type: row.bits for row in rows}
    lines = [_TYPES[type_](type_, bits) for type_, bits in types.items() if type_ in _TYPES]
    more = ' group="system" save-restore="no"' if name == SYSTEM else ""
    lines += (
        f'<reg name="{row.name}" bitsize="{row.bits}" type="{row.type}" regnum="{row.number}"'
        f"{more}/>\n"
        for row in rows
    )
    return f'<feature name="{name}">\n{"".join(lines)}</feature>\n'


def _flags(word: type[Word], name: str, width: int, only: Container[str] = ()) -> str:
    """A flags type of *word*'s fields, from the lowest bit up; ones made of others are left out.

    *only* names those to show where the meaning of the rest depends on them.
    """
    fields = {
        key: bits
        for key, bits in vars(word).items()
        if isinstance(bits, Bits) and (not only or key in only)
    }
    masks = {key: bits.mask << bits.lo for key, bits in fields.items()}
    lines = (
        f'<field name="{key}" start="{bits.lo}" end="{bits.lo + bits.mask.bit_length() - 1}"/>\n'
        for key, bits in sorted(fields.items(), key=lambda item: item[1].lo)
        if not any(other & masks[key] and other < masks[key] for other in masks.values())
    )
    return f'<flags id="{name}" size="{width // 8}">\n{"".join(lines)}</flags>\n'


def _vector_union(prefix: str, name: str, width: int) -> str:
    """A union of every way to see a vector of *width* bits: ``$v0.s.f`` is four floats."""
    vectors, unions, fields = "", "", ""
    for letter, bits, real in _VIEWS:
        kinds = [("f", real)] if real else []
        kinds += [("u", f"uint{bits}"), ("s", f"int{bits}")]
        members = ""
        for kind, element in kinds:
            vector = f"{prefix}{letter}{kind}"
            vectors += f'<vector id="{vector}" type="{element}" count="{width // bits}"/>\n'
            members += f'<field name="{kind}" type="{vector}"/>\n'
        unions += f'<union id="{prefix}n{letter}">\n{members}</union>\n'
        fields += f'<field name="{letter}" type="{prefix}n{letter}"/>\n'
    return f'{vectors}{unions}<union id="{name}">\n{fields}</union>\n'


def _predicate(name: str, width: int) -> str:
    """A bit for each byte of a vector, seen by bytes."""
    return f'<vector id="{name}" type="uint8" count="{width // 8}"/>\n'


# Types that the protocol does not predefine, by the name that rows use: what makes one, given
# its name and the width of a register in bits.
_TYPES: Final[dict[str, Callable[[str, int], str]]] = {
    "cpsr_flags": partial(_flags, PSTATE),
    "aarch64v": partial(_vector_union, "v"),
    "svev": partial(_vector_union, "svev"),
    "svep": _predicate,
    "SPSR": partial(_flags, PSTATE),
    "SCTLR": partial(_flags, SCTLR),
    "CPACR": partial(_flags, CPACR),
    "TCR": partial(_flags, TCR),
    "ESR": partial(_flags, ESR, only=("ISS2", "EC", "IL", "ISS")),
    "MDSCR": partial(_flags, MDSCR),
    "DBGBCR": partial(_flags, DBGBCR),
    "DBGWCR": partial(_flags, DBGWCR),
    "ID_AA64PFR0": partial(_flags, ID_AA64PFR0),
    "ID_AA64PFR1": partial(_flags, ID_AA64PFR1),
    "ID_AA64DFR0": partial(_flags, ID_AA64DFR0),
    "ID_AA64MMFR0": partial(_flags, ID_AA64MMFR0),
}
