"""A kernel's image forged for tests: BTF with several structures, and memory by its addresses."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from gdbstub.errors import MemoryFault
from gdbstub.linux.vmcoreinfo import VmcoreInfo
from tests.pure.test_linux_log import LAYOUT, info

VOFFSET = 0xFFFF_0000_0000_0000
#: _stext is 64 KiB behind the start.
START = 0x10_0000

STRUCT, UNION = 4, 5


def btf_of(structures: Mapping[str, tuple[int, Mapping[str, int]]], *, kind: int = STRUCT) -> bytes:
    """BTF of *structures*: by name their sizes, and the offsets of members."""
    names = ["the_" + name for name in structures]
    names += [member for _, members in structures.values() for member in members]
    strings = b"\0" + b"".join(f"{name}\0".encode() for name in dict.fromkeys(names))
    types = struct.pack("<III", 0, 1 << 24, 4) + bytes(4)  # an integer before them
    for name, (size, members) in structures.items():
        at = strings.index(b"_" + name.encode() + b"\0") + 1
        types += struct.pack("<III", at, kind << 24 | len(members), size)
        for member, offset in members.items():
            types += struct.pack("<III", strings.index(f"\0{member}\0".encode()) + 1, 1, 8 * offset)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


@dataclass
class Guest:
    """A kernel whose image has BTF at its start, and memory beside it."""

    image: bytearray
    #: Other memory by its virtual address.
    memory: dict[int, bytearray] = field(default_factory=dict)
    vcpus: ClassVar[tuple[()]] = ()

    def read_physical(self, ipa: int, length: int) -> bytes:
        if not START <= ipa < START + len(self.image):
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return bytes(self.image[ipa - START :][:length])

    def reader(self) -> Callable[[int, int], bytes]:
        def read(gva: int, length: int) -> bytes:
            for start, data in ((VOFFSET + START, self.image), *self.memory.items()):
                if start <= gva and gva + length <= start + len(data):
                    return bytes(data[gva - start :][:length])
            raise MemoryFault(f"not mapped: {gva:#x}")

        return read

    @property
    def info(self) -> VmcoreInfo:
        text = f"SYMBOL(_stext)={VOFFSET + START + 0x1_0000:x}\nNUMBER(kimage_voffset)={VOFFSET}\n"
        return info(LAYOUT.replace("NUMBER(kimage_voffset)=0xffff7fffc8000000\n", text))

    @property
    def machine(self) -> "Guest":
        return self
