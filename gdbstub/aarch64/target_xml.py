"""Types of AArch64 registers in the target description: vectors, and words with fields.

It lists no register and no field: those are the rows of ``registers.py`` and the classes of
``sysreg.py``.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from gdbstub.aarch64.sysreg import FIELDS, Fields

# A vector's views: letter, bits of an element, and the float type of that size.
_VIEWS: Final = (
    ("d", 64, "ieee_double"),
    ("s", 32, "ieee_single"),
    ("h", 16, "ieee_half"),
    ("b", 8, None),
    ("q", 128, None),
)


def type_xml(name: str, width: int) -> str:
    """Define the type *name* of registers with *width* bits, unless the protocol predefines it."""
    if fields := FIELDS.get(name):
        return _flags(fields, name, width)
    return _VECTORS[name](name, width) if name in _VECTORS else ""


def _flags(fields: type[Fields], name: str, width: int) -> str:
    """Define a flags type of *fields*, from the lowest bit up."""
    lines = (
        f'<field name="{key}" start="{bits.lo}" end="{bits.lo + bits.width - 1}"/>\n'
        for key, bits in fields.disjoint().items()
    )
    return f'<flags id="{name}" size="{width // 8}">\n{"".join(lines)}</flags>\n'


def _vector_union(prefix: str, name: str, width: int) -> str:
    """Define a union of all views of a vector of *width* bits: ``$v0.s.f`` is four floats."""
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
    """Define a vector of bytes for a predicate, which has a bit for each byte of a vector."""
    return f'<vector id="{name}" type="uint8" count="{width // 8}"/>\n'


# Types that are no fields' and that the protocol does not predefine, by the name that rows use.
_VECTORS: Final[dict[str, Callable[[str, int], str]]] = {
    "aarch64v": partial(_vector_union, "v"),
    "svev": partial(_vector_union, "svev"),
    "svep": _predicate,
}
