"""VMCOREINFO: the note that a Linux kernel keeps of its own structures, found in RAM.

The kernel makes it early in its boot for crash dumps, in a page of its own. It needs no symbols.
Source: linux/Documentation/admin-guide/kdump/vmcoreinfo.rst, kernel/vmcore_info.c.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gdbstub.errors import MemoryFault, NotFound
from gdbstub.slices import spend, spend_piece

Read = Callable[[int, int], bytes]

_BEGIN: Final = b"OSRELEASE="
#: Alignment of the text: it begins a page, whatever the size of the guest's pages is.
_PAGE: Final = 4096
#: Largest text, in bytes: the kernel keeps a page of 4 KiB to 64 KiB.
_LIMIT: Final = 64 << 10
_CHUNK: Final = 1 << 20
_LINE: Final = re.compile(r"([A-Z]+)(?:\(([\w.]+)\))?=(.*)")
#: Entries that every kernel since 5.10 has on arm64, so that no other text is taken for it.
_NEEDED: Final = (("SYMBOL", "init_uts_ns"), ("NUMBER", "kimage_voffset"), ("PAGESIZE", ""))
#: Beginning of a line of each text that has _NEEDED: few others are parsed.
_LINES: Final = tuple(f"\n{kind}({name})=".replace("()", "").encode() for kind, name in _NEEDED)
#: More digits than a number of 64 bits has.
_DIGITS: Final = 32
_SIGNED: Final = "NUMBER"
_PARSED: Final = {"SYMBOL": 16, "SIZE": 10, "OFFSET": 10, "LENGTH": 10, "NUMBER": 0}


class VmcoreInfo(NamedTuple):
    """The text at the physical address ``ipa``, and the values of its lines."""

    ipa: int
    text: bytes
    values: dict[tuple[str, str], str]

    def number(self, kind: str, name: str = "") -> int:
        """Return the value of ``KIND(name)=``, which only a ``NUMBER`` may have below zero.

        Raises:
            NotFound: there is no such line, or its value is no such number of 64 bits.
        """
        try:
            value = int(self.values[kind, name][:_DIGITS], _PARSED.get(kind, 10))
            if (-(1 << 63) if kind == _SIGNED else 0) <= value < 1 << 64:
                return value
        except (KeyError, ValueError):
            pass
        raise NotFound(f"the kernel's VMCOREINFO has no {kind}({name})")

    def has(self, kind: str, name: str) -> bool:
        """Return True if there is a line ``KIND(name)=``."""
        return (kind, name) in self.values

    @property
    def release(self) -> str:
        """The kernel's release, ``6.1.0-57-cloud-arm64`` for example."""
        return self.values.get(("OSRELEASE", ""), "")


def parse(ipa: int, text: bytes) -> VmcoreInfo | None:
    """Parse *text*, which was at *ipa*; None if it is something else."""
    values: dict[tuple[str, str], str] = {}
    for line in text.decode("ascii", "replace").splitlines():
        if match := _LINE.fullmatch(line):
            values[match[1], match[2] or ""] = match[3]
    if any(needed not in values for needed in _NEEDED):
        return None
    return VmcoreInfo(ipa, text, values)


def read_at(ipa: int, read: Read) -> VmcoreInfo | None:
    """Read VMCOREINFO at the physical address *ipa*; None if it is not there."""
    try:
        data = read(ipa, _LIMIT)
    except MemoryFault:
        return None
    if not data.startswith(_BEGIN):
        return None
    text = data.partition(b"\0")[0]
    return parse(ipa, text) if all(line in text for line in _LINES) else None


def find(ram: Sequence[range], read: Read) -> VmcoreInfo:
    """Search all of *ram*, which *read* reads by physical address; half a second for 512 MiB.

    Raises:
        NotFound: it is not there, or not yet.
    """
    for area in ram:
        for start in range(area.start, area.stop, _CHUNK):
            spend_piece()
            try:
                data = read(start, min(_CHUNK, area.stop - start))
            except MemoryFault:
                continue
            for at in range(-start % _PAGE, len(data), _PAGE):
                if data.startswith(_BEGIN, at):
                    spend(1 + _LIMIT // _PAGE)
                    if found := read_at(start + at, read):
                        return found
    raise NotFound(
        "the kernel's VMCOREINFO is not in RAM: it makes that early in its boot, with "
        "CONFIG_VMCORE_INFO (CONFIG_CRASH_CORE before 6.9)"
    )
