"""Guests whose memory is made to cost a reader much: any read is answered with the worst.

They have the layout of a kernel, whose tables have no end.
"""

import struct
from array import array
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gdbstub.aarch64.registers import SP_EL0
from gdbstub.errors import MemoryFault
from gdbstub.machine import Capabilities
from tests.fuzz.still_machine import StillMachine
from tests.pure.linux_images import STRUCT, btf_of
from tests.pure.test_linux_log import LAYOUT

START: Final = 0x8000_0000
SIZE: Final = 1 << 30
VA_BITS: Final = 48
LINEAR: Final = (1 << 64) - (1 << VA_BITS)
VOFFSET: Final = LINEAR - START
PAGE: Final = 4096
#: Offset in RAM of the kernel's image, which its first MiB of types begins, and of all else.
IMAGE: Final = 1 << 20
IMAGE_SIZE: Final = 32 << 20
DATA: Final = 64 << 20

#: Fills memory: bytes of so many at an offset in RAM, a multiple of 8 both.
Fill = Callable[[int, int], bytes]


def at(offset: int) -> int:
    """The kernel's address of an offset in RAM."""
    return LINEAR + offset


def chain(stride: int, first: int = 0) -> Fill:
    """Each word has the address *stride* behind itself, so that no walk comes back."""

    def fill(offset: int, length: int) -> bytes:
        start = at(offset) + stride
        return array("Q", range(start, start + length, 8)).tobytes()

    return fill


def pages(text: bytes) -> Fill:
    """Each page begins with *text*."""
    page = text.ljust(PAGE, b"\0")

    def fill(offset: int, length: int) -> bytes:
        first = offset % PAGE
        return (page * (length // PAGE + 2))[first : first + length]

    return fill


def again(text: bytes) -> Fill:
    """The same eight bytes again and again."""

    def fill(offset: int, length: int) -> bytes:
        return text * (length // 8)

    return fill


def vmcoreinfo(more: str = "") -> bytes:
    """VMCOREINFO of a kernel at ``IMAGE``, with the lines *more*."""
    stext = VOFFSET + START + IMAGE + 0x1_0000
    text = LAYOUT.replace("NUMBER(kimage_voffset)=0xffff7fffc8000000\n", "")
    text += f"SYMBOL(_stext)={stext:x}\nNUMBER(kimage_voffset)={VOFFSET}\n"
    text += f"NUMBER(VA_BITS)={VA_BITS}\nNUMBER(PHYS_OFFSET)={START:#x}\n"
    text += f"SYMBOL(swapper_pg_dir)={at(0):x}\n{more}"
    return text.encode() + b"\0"


class Area(NamedTuple):
    """Part of RAM that is filled alike."""

    start: int
    stop: int
    fill: Fill


class HostileMachine(StillMachine):
    """A gigabyte of RAM or less, most of it made up as it is read."""

    complete = True  # all memory of the guest (``RamLayout``)

    def __init__(self, areas: Sequence[Area] = (), *, size: int = SIZE) -> None:
        super().__init__(vcpus=1)
        self.size = size
        self.areas = areas
        #: Bytes at offsets in RAM, before the areas.
        self.written: dict[int, bytes] = {}
        #: Length of the longest read.
        self.longest = 0
        #: Bytes that were read in all.
        self.total = 0
        self.write_info()

    def write_info(self, more: str = "") -> None:
        """Have VMCOREINFO in the first page."""
        self.written[0] = vmcoreinfo(more)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(layout=self)

    @property
    def ram_ranges(self) -> Sequence[range]:
        return (range(START, START + self.size),)

    def read_memory(self, ipa: int, length: int) -> bytes:
        if not START <= ipa < START + self.size:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        offset, stop = ipa - START, min(ipa - START + length, self.size)
        self.longest = max(self.longest, length)
        self.total += length
        first, last = offset & -8, (stop + 7) & -8
        data = bytearray(last - first)
        for start, end, fill in self.areas:
            low, high = max(first, start), min(last, end)
            if low < high:
                data[low - first : high - first] = fill(low, high - low)
        for start, text in self.written.items():
            low, high = max(first, start), min(last, start + len(text))
            if low < high:
                data[low - first : high - first] = text[low - start : high - start]
        return bytes(data[offset - first : stop - first])


_TASK: Final = {
    **{"__state": 0, "tasks": 16, "pid": 32, "comm": 64, "real_parent": 80, "exit_state": 40},
    **{"mm": 96, "stack": 104, "signal": 112, "thread_node": 120, "thread": 128},
}
_MODULE: Final = {
    **{"state": 0, "list": 8, "name": 24, "mem": 80, "sect_attrs": 288, "refcnt": 300},
    **{"kallsyms": 304},
}
STRUCTURES: Final = {
    "task_struct": (512, _TASK),
    "signal_struct": (64, {"thread_head": 16}),
    "thread_struct": (64, {"cpu_context": 0}),
    "cpu_context": (104, {"fp": 80, "pc": 96}),
    "module": (400, _MODULE),
    "module_memory": (24, {"base": 0, "size": 8}),
    "bin_attribute": (64, {"private": 24}),
    "mod_kallsyms": (32, {"symtab": 0, "num_symtab": 8, "strtab": 16}),
}
#: Offset in RAM of the first task, in the kernel's data.
FIRST: Final = IMAGE + (4 << 20)
#: Offset of the head of the list of modules, and of the only sound module.
HEAD: Final = FIRST + 0x1000
MODULE: Final = 48 << 20
#: Addresses of the module's code.
CODE: Final = 0xFFFF_8000_7000_0000


def kernel(*areas: Area, types: bytes = b"") -> HostileMachine:
    """A kernel with types and a first task, whose list goes on in the *areas*."""
    machine = HostileMachine(areas)
    machine.written[IMAGE] = (
        bytes(16) + struct.pack("<Q", IMAGE_SIZE) + bytes(32) + b"ARM\x64" + bytes(4)
    )
    machine.written[IMAGE + 0x1_0000] = types or btf_of(STRUCTURES)
    task = bytearray(512)
    link = at(FIRST) + _TASK["tasks"]
    struct.pack_into("<QQ", task, _TASK["tasks"], at(DATA), at(DATA))
    task[_TASK["comm"] : _TASK["comm"] + 10] = b"swapper/0\0"
    struct.pack_into("<Q", task, _TASK["real_parent"], at(FIRST))
    machine.written[FIRST] = bytes(task)
    # The list's next entry has the link back that makes the first task one.
    machine.written[DATA + 8] = struct.pack("<Q", link)
    machine.vcpus[0].set(SP_EL0, at(FIRST))
    return machine


def with_module(machine: HostileMachine, after: int) -> HostileMachine:
    """Put a module into *machine*, whose list goes on at the offset *after*."""
    gva = at(MODULE)
    module = bytearray(400)
    struct.pack_into("<QQ", module, _MODULE["list"], at(after), at(HEAD))
    module[_MODULE["name"] : _MODULE["name"] + 4] = b"mod\0"
    struct.pack_into("<QI", module, _MODULE["mem"], CODE, PAGE)
    struct.pack_into("<QI", module, _MODULE["mem"] + 24, gva, PAGE)
    struct.pack_into("<Q", module, _MODULE["kallsyms"], at(MODULE + 512))
    machine.written[MODULE] = bytes(module)
    link = gva + _MODULE["list"]
    machine.written[HEAD] = struct.pack("<QQ", link, link)
    return machine


def with_symbols(machine: HostileMachine, count: int, symbols: int, strings: int) -> None:
    """Give the module *count* symbols, at the offset *symbols*, with names at *strings*."""
    machine.written[MODULE + 512] = struct.pack("<QQQ", at(symbols), count, at(strings))


def log_ring(machine: HostileMachine, bits: int, records: int | None = None) -> None:
    """Give the kernel a log of so many records, and as many bytes, all in *machine*'s areas."""
    ring, place = 40 << 20, 41 << 20
    machine.written[place] = struct.pack("<Q", at(ring))
    last = (1 << bits) - 1 if records is None else records
    descriptors = struct.pack("<I4xQQQQ", bits, at(DATA), at(DATA), last, 0)
    machine.written[ring] = descriptors.ljust(48, b"\0") + struct.pack("<I4xQ", bits, at(DATA))
    machine.write_info(f"SYMBOL(prb)={at(place):x}\n")


def same_names() -> bytes:
    """BTF whose names, and whose structures, are all the same."""
    strings = b"\0task_struct" + b"\0tasks\0pid\0comm" * (1 << 17) + b"\0"
    types = struct.pack("<III", 1, STRUCT << 24 | 0xFFFF, 1 << 20) * (1 << 17)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings
