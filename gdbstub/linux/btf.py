"""Offsets of structure members, from the BTF that a Linux kernel carries in its image.

A structure is found by its name and not by its number, so the types before it are not read.
Source: linux/Documentation/bpf/btf.rst.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from gdbstub.errors import NotFound
from gdbstub.slices import spend

#: struct btf_header, little-endian: magic, version, flags, hdr_len, then offsets and lengths.
_HEADER: Final = struct.Struct("<HBBIIIII")
#: Bytes of the header.
HEADER: Final = _HEADER.size
#: Beginning of BTF.
BEGIN: Final = struct.pack("<HBB", 0xEB9F, 1, 0)
#: Longest header that is believed: later versions may have more in it.
_LONGEST_HEADER: Final = 256
#: struct btf_type, and struct btf_member.
_TYPE: Final = struct.Struct("<III")
_MEMBER: Final = struct.Struct("<III")
_STRUCT: Final = 4
#: Members between two that are near each other, at most.
_NEAR: Final = 8
#: Bytes that are searched at once, and what that costs in steps.
_PIECE: Final = 1 << 20
_PIECE_STEPS: Final = 16
#: Steps for each place of a name, which is kept.
_NAME_STEPS: Final = 4
#: Members of a structure that are looked at in a step.
_MEMBERS: Final = 16
#: Largest BTF of a kernel that is read, in bytes.
MOST: Final = 32 << 20


class Structure(NamedTuple):
    """A structure: its size, and the offsets of members in it, both in bytes."""

    size: int
    offsets: Mapping[str, int]


class Btf:
    """The types of one kernel."""

    def __init__(self, types: bytes, strings: bytes) -> None:
        """Keep the two sections."""
        self._types = types
        self._strings = strings

    def members(self, name: str, wanted: Collection[str]) -> Mapping[str, int]:
        """Return the offsets in bytes of those members *wanted* that the structure *name* has.

        Raises:
            NotFound: there is no such structure, or it has none of them.
        """
        return self.structure(name, wanted).offsets

    def all_members(self, name: str, wanted: Collection[str]) -> Mapping[str, int]:
        """Return the offsets in bytes of all members *wanted* of the structure *name*.

        Raises:
            NotFound: there is no such structure, or it lacks one of them.
        """
        found = self.members(name, wanted)
        if missing := [member for member in wanted if member not in found]:
            raise NotFound(f"the kernel's BTF has a structure {name} without {missing[0]}")
        return found

    def structure(self, name: str, wanted: Collection[str]) -> Structure:
        """Return the structure *name* with those members *wanted* that it has.

        Raises:
            NotFound: there is no such structure, or it has none of them.
        """
        wanted_at = {at: member for member in wanted for at in self._named(member)}
        best = Structure(0, {})
        for at in self._named(name):
            for found in self._structures(at, wanted_at):
                best = max(best, found, key=lambda each: len(each.offsets))
        if not best.offsets:
            raise NotFound(f"the kernel's BTF has no structure {name} with {', '.join(wanted)}")
        return best

    def beside(self, member: str, before: str) -> int:
        """Return the offset of *member* in a structure without a name, by a member shortly before.

        Such a structure is a member of another one, here at the start of that.

        Raises:
            NotFound: there is none.
        """
        wanted = {at.to_bytes(4, "little") for at in self._named(before)}
        for name in self._named(member):
            for at in _places(self._types, name.to_bytes(4, "little")):
                starts = range(at - _MEMBER.size, max(at - _NEAR * _MEMBER.size, 0), -_MEMBER.size)
                if at % 4 or at + _MEMBER.size > len(self._types):
                    continue
                if any(self._types[each : each + 4] in wanted for each in starts):
                    bits: int = _MEMBER.unpack_from(self._types, at)[2]
                    return bits // 8
        raise NotFound(f"the kernel's BTF has no structure with {before} and {member}")

    def _named(self, name: str) -> Iterator[int]:
        """Yield the offsets of *name* in the strings; a longer name may share its end."""
        for at in _places(self._strings, name.encode() + b"\0"):
            spend(_NAME_STEPS)
            yield at

    def _structures(self, name: int, wanted: Mapping[int, str]) -> Iterator[Structure]:
        for at in _places(self._types, name.to_bytes(4, "little")):
            if at % 4 == 0 and at + _TYPE.size <= len(self._types):
                _, info, size = _TYPE.unpack_from(self._types, at)
                if info >> 24 & 0x1F == _STRUCT:
                    spend((info & 0xFFFF) // _MEMBERS)
                    yield Structure(size, self._offsets(at + _TYPE.size, info, size, wanted))

    def _offsets(self, at: int, info: int, size: int, wanted: Mapping[int, str]) -> dict[str, int]:
        rows = self._types[at : at + (info & 0xFFFF) * _MEMBER.size]
        rows = rows[: len(rows) - len(rows) % _MEMBER.size]
        mask = 0xFF_FFFF if info >> 31 else 0xFFFF_FFFF  # with kind_flag: bit fields
        found: dict[str, int] = {}
        for name, _, bits in _MEMBER.iter_unpack(rows):
            if name in wanted and (bits & mask) // 8 < size:
                found.setdefault(wanted[name], (bits & mask) // 8)
        return found


def _places(data: bytes, wanted: bytes) -> Iterator[int]:
    """Yield each offset of *wanted* in *data*."""
    for start in range(0, len(data), _PIECE):
        spend(_PIECE_STEPS)
        end = start + _PIECE + len(wanted) - 1
        at = data.find(wanted, start, end)
        while at >= 0:
            spend()
            yield at
            at = data.find(wanted, at + 1, end)


def size_of(header: bytes) -> int:
    """Return the bytes of the BTF that begins with *header*, ``HEADER`` bytes; 0 if none does."""
    if len(header) < HEADER or not header.startswith(BEGIN):
        return 0
    *_, length, types, types_size, strings, strings_size = _HEADER.unpack(header)
    if length % 4 or not HEADER <= length <= _LONGEST_HEADER:
        return 0
    size: int = length + max(types + types_size, strings + strings_size)
    return size if types_size and strings_size and size <= MOST else 0


def parse(data: bytes) -> Btf:
    """Return the BTF *data*, as many bytes as ``size_of`` says."""
    *_, length, types, types_size, strings, strings_size = _HEADER.unpack_from(data)
    types, strings = length + types, length + strings
    return Btf(data[types : types + types_size], data[strings : strings + strings_size])


def find(image: bytes) -> Btf:
    """Find BTF in *image*, the bytes of a kernel from its start.

    Raises:
        NotFound: there is none.
    """
    at = image.find(BEGIN)
    while at >= 0:
        if (size := size_of(image[at : at + HEADER])) and at + size <= len(image):
            return parse(image[at : at + size])
        at = image.find(BEGIN, at + 1)
    raise NotFound("the kernel's image has no BTF: CONFIG_DEBUG_INFO_BTF makes it")
