"""Types of AArch64 registers in the target description: vectors, and words with fields.

It lists no register: those are the rows of ``registers.py``.
"""

from collections.abc import Container, Mapping
from functools import partial
from typing import Final

from gdbstub.aarch64.bits import Bits, Word
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
from gdbstub.architecture import TypeXml

# A vector's views: letter, bits of an element, and the float type of that size.
_VIEWS: Final = (
    ("d", 64, "ieee_double"),
    ("s", 32, "ieee_single"),
    ("h", 16, "ieee_half"),
    ("b", 8, None),
    ("q", 128, None),
)


def _flags(word: type[Word], name: str, width: int, only: Container[str] = ()) -> str:
    """Make a flags type of *word*'s fields, from the lowest bit up.

    A field that contains others is left out. *only* names the fields to show, if the meaning of the
    others depends on them.
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
    """Make a union of all views of a vector of *width* bits: ``$v0.s.f`` is four floats."""
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
    """Make a vector of bytes: a predicate has one bit for each byte of a vector."""
    return f'<vector id="{name}" type="uint8" count="{width // 8}"/>\n'


#: Types that GDB does not predefine, by the name that rows use.
TYPES: Final[Mapping[str, TypeXml]] = {
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
