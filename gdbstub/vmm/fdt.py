"""Flattened device trees, version 17: a reader and a writer.

It knows no binding: a property is a name and bytes.
Source: the Devicetree Specification 0.4, chapter 5, "Flattened Devicetree (DTB) Format".
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

MAGIC: Final = b"\xd0\x0d\xfe\xed"

#: magic, totalsize, off_dt_struct, off_dt_strings, off_mem_rsvmap, version, last_comp_version,
#: boot_cpuid_phys, size_dt_strings, size_dt_struct.
HEADER: Final = struct.Struct(">4s9I")
VERSION: Final = 17
#: The oldest version that a reader of this one must understand, and its oldest reader's.
OLDEST: Final = 16

_RESERVATION: Final = struct.Struct(">QQ")
_CELL: Final = struct.Struct(">I")
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
#: Bounds on what a hostile blob can make a reader do; trees in use are far below them.
_DEEPEST: Final = 64
_LONGEST_NAME: Final = 1024

Value = int | str | bytes | Sequence[int] | Sequence[str] | None


class Malformed(ValueError):
    """A blob that contradicts the format; the message says how."""


class Node:
    """Node with its ``properties``, in order, and its ``children`` by their names."""

    def __init__(self, name: str = "") -> None:
        """Make an empty node; the root's *name* is empty."""
        self.name: Final = name
        self.properties: Final[dict[str, bytes]] = {}
        self.children: Final[dict[str, Node]] = {}

    def child(self, name: str) -> "Node":
        """Return the child *name*; add it if there is none."""
        return self.children.setdefault(name, Node(name))

    def update(self, values: Mapping[str, Value]) -> None:
        """Set properties to *values*, encoded."""
        self.properties.update({name: encode(value) for name, value in values.items()})


class Tree(NamedTuple):
    """A tree with what its header has besides."""

    root: Node
    #: Address and size of each range of memory that the kernel must not use.
    reservations: tuple[tuple[int, int], ...] = ()
    #: The ``reg`` of the CPU that boots.
    boot_cpu: int = 0


def encode(value: Value) -> bytes:
    """Encode a cell, a string, a list of either, bytes, or nothing (chapter 2.2.4)."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    items = [value] if isinstance(value, int | str) else value
    return b"".join(
        _CELL.pack(item) if isinstance(item, int) else item.encode() + b"\0" for item in items
    )


def write(tree: Tree) -> bytes:
    """Write *tree* as a blob of version 17."""
    strings: dict[str, int] = {}
    table = bytearray()
    body = bytearray()

    def pad() -> None:
        body.extend(bytes(-len(body) % 4))

    def put(node: Node) -> None:
        body.extend(_CELL.pack(_BEGIN_NODE) + node.name.encode() + b"\0")
        pad()
        for name, data in node.properties.items():
            if name not in strings:
                strings[name] = len(table)
                table.extend(name.encode() + b"\0")
            body.extend(struct.pack(">III", _PROP, len(data), strings[name]) + data)
            pad()
        for child in node.children.values():
            put(child)
        body.extend(_CELL.pack(_END_NODE))

    put(tree.root)
    body.extend(_CELL.pack(_END))
    rows = b"".join(_RESERVATION.pack(*row) for row in (*tree.reservations, (0, 0)))
    structure = HEADER.size + len(rows)
    end = structure + len(body)
    header = HEADER.pack(
        *(MAGIC, end + len(table), structure, end, HEADER.size, VERSION, OLDEST),
        *(tree.boot_cpu, len(table), len(body)),
    )
    return b"".join((header, rows, body, table))


def read(blob: bytes) -> Tree:
    """Read *blob*, whose header says version 16 or 17.

    Raises:
        Malformed: it contradicts the format.
    """
    try:
        _, _, structure, strings, reserved, _, _, boot_cpu, size, _ = HEADER.unpack_from(blob)
        if strings + size > len(blob):
            raise Malformed("its strings end behind it")
        table = blob[strings : strings + size]
        return Tree(_root(blob, structure, table), tuple(_reservations(blob, reserved)), boot_cpu)
    except struct.error:
        raise Malformed("a part of it ends behind it") from None
    except UnicodeDecodeError:
        raise Malformed("a name in it is no ASCII") from None


def _reservations(blob: bytes, at: int) -> Iterator[tuple[int, int]]:
    while any(row := _RESERVATION.unpack_from(blob, at)):
        yield row
        at += _RESERVATION.size


def _root(blob: bytes, at: int, table: bytes) -> Node:
    """Read the structure block, which begins *at*; *table* has the names of properties."""
    if at % 4:
        raise Malformed(f"its structure is at byte {at:#x}")
    top = Node()  # of which the tree's root is the only child
    path = [top]
    while True:
        (token,) = _CELL.unpack_from(blob, at)
        at += _CELL.size
        node = path[-1]
        if token == _BEGIN_NODE:
            name = _string(blob, at)
            at += _aligned(len(name) + 1)
            if name in node.children or (node is top and node.children):
                raise Malformed(f"a node {name!r} is there twice")
            if (len(path) == 1) != (not name) or len(path) > _DEEPEST:
                raise Malformed(f"a node {name!r} is at level {len(path) - 1}")
            path.append(node.child(name))
        elif token == _END_NODE and len(path) > 1:
            path.pop()
        elif token == _PROP and len(path) > 1:
            size, name_at = struct.unpack_from(">II", blob, at)
            at += 8
            name = _string(table, name_at)
            if at + size > len(blob):
                raise Malformed(f"property {name!r} ends behind it")
            if name in node.properties:
                raise Malformed(f"a property {name!r} is there twice")
            node.properties[name] = blob[at : at + size]
            at += _aligned(size)
        elif token == _END and len(path) == 1 and top.children:
            return top.children[""]
        elif token != _NOP:
            raise Malformed(f"token {token:#x} at byte {at - _CELL.size:#x}")


def _string(data: bytes, at: int) -> str:
    if (end := data.find(b"\0", at, at + _LONGEST_NAME)) < 0:
        raise Malformed(f"a name in it is longer than {_LONGEST_NAME - 1} characters")
    return data[at:end].decode("ascii")


def _aligned(size: int) -> int:
    return -(-size // 4) * 4
