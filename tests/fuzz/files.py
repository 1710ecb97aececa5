"""Targets for files and options of a user: ELF, Image, device tree, vmlinux, what is typed."""

import zlib
from collections.abc import Callable
from typing import Final

from gdbstub.errors import InputError
from gdbstub.linux import elf, relocate
from gdbstub.linux.kaslr import GuestProgram, read_kernel
from gdbstub.protocol.endpoint import parse_endpoint
from gdbstub.vmm import boot, device_tree, fdt, image, unpack
from gdbstub.vmm.device_tree import Chosen
from gdbstub.vmm.image import LinuxImage
from gdbstub.vmm.layout import RAM_BASE, Gic
from gdbstub.vmm.seed import parse_seed
from gdbstub.vmm.size import parse_memory
from tests.fuzz.source import Source
from tests.fuzz.target import fuzz_target, only
from tests.pure.elves import Elf, zboot
from tests.pure.test_relocate import DATA, forged, rela

_MEMORY: Final = 2 << 20
_HEADER: Final = Elf(symbols=[("vectors", 0x4000_0800, 1), ("start_kernel", 0x4000_0000, 1)])
_WHOLE: Final = _HEADER.build()
_MOVABLE: Final = forged(rela(DATA, 0x1234) + rela(DATA + 8, -8) + rela(0, 0, kind=0))


@fuzz_target("elf", 2048)
def elf_(data: bytes) -> None:
    """Parse an ELF file: one line for a bad one; segments are parts of it, symbols are found."""
    with only(InputError):
        found = elf.parse(data, "guest")
        assert found.segments
        for segment in found.segments:
            assert len(segment.data) <= min(segment.memsz, len(data))
            assert segment.end <= 1 << 64
        assert any(
            each.paddr <= found.physical_entry < each.end and each.memsz for each in found.segments
        )
        symbols = found.symbols
        assert len(symbols) <= len(data) // 24
        names = list(symbols)[:3]
        assert found.find(*names) == {name: symbols[name] for name in names}


@fuzz_target("position-independent", 512)
def position_independent(data: bytes) -> None:
    """Move and relocate a file: one line for a bad one; a good one moves whole, to its place."""
    source = Source(data)
    address = source.choice((None, RAM_BASE, RAM_BASE + 0x1000, 0))
    file = bytearray(_MOVABLE)
    while source:
        at, value = source.number(2) % len(file), source.take(1 + source.below(8))
        file[at : at + len(value)] = value
    with only(InputError):
        found = relocate.parse(
            bytes(file), "guest", address=address, default=RAM_BASE, memory=_MEMORY
        )
        for segment in found.segments:
            assert segment.paddr == segment.vaddr + found.offset
            assert len(segment.data) <= min(segment.memsz, len(file))
        assert found.physical_entry == found.entry + found.offset
        if address is not None:
            assert min(segment.paddr for segment in found.segments) == address


@fuzz_target("notes", 1024)
def notes(data: bytes) -> None:
    """Find the notes of a file of symbols: one line for a bad one; pieces are parts of it."""
    with only(InputError):
        for piece in elf.notes(data, "debug"):
            assert piece in data


@fuzz_target("vmlinux", 2048)
def vmlinux(data: bytes) -> None:
    """Read a kernel: one line for a bad one; a good one passes through text unchanged."""
    with only(InputError):
        kernel = read_kernel(data, "vmlinux", data[-600:], RAM_BASE)
        program = GuestProgram("vmlinux", kernel)
        assert GuestProgram.from_text(program.to_text()) == program
        assert len(kernel.banner) < 512


@fuzz_target("image", 2048)
def image_(data: bytes) -> None:
    """Plan a boot: one line for a bad image; the parts of a good one are in RAM and apart."""
    source = Source(data)
    wrap = source.below(5)
    payload = source.rest()
    if wrap == 1:
        payload = zlib.compress(payload, 1, 31)
    elif wrap == 2:
        payload = zboot(zlib.compress(payload, 1, 31), b"gzip")
    elif wrap == 3:
        payload = _WHOLE[:0x80] + payload
    with only(InputError):
        guest = image.parse(payload, "guest", _MEMORY)
        if isinstance(guest, LinuxImage):
            assert len(guest.data) <= guest.image_size
            assert len(guest.data) <= max(_MEMORY, len(payload))
        plan = boot.plan(
            guest, memory=_MEMORY, gic=Gic.V3, mpidrs=(0, 1), initrd=payload[:5], append="quiet"
        )
        at = RAM_BASE
        for placement in sorted(plan.placements, key=lambda each: each.ipa):
            assert at <= placement.ipa, plan
            assert len(placement.data) <= placement.size
            at = placement.end
        assert at <= RAM_BASE + _MEMORY


@fuzz_target("unpack", 1024)
def unpack_(data: bytes) -> None:
    """Packed data gives three exceptions of its own, or no more than the bound."""
    bound = 1 << 16
    for algorithm, magic in (("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd")):
        for packed in (data, magic + data):
            try:
                assert len(unpack.unpack(packed, algorithm, bound)) <= bound
            except unpack.TooLarge as error:
                head = error.head
                assert len(head) <= 1024
            except (unpack.Truncated, unpack.Damaged):
                pass


@fuzz_target("device-tree", 1024)
def device_tree_(data: bytes) -> None:
    """Amend a device tree: one line for a bad one; a good one has what was put in."""
    source = Source(data)
    start, end = source.number(4), source.number(4)
    chosen = Chosen(source.choice((None, "", "console=ttyAMA0")), (start, end), source.number(8))
    dtb = source.rest()
    if not dtb.startswith(b"\xd0"):
        dtb = _with_header(dtb)
    with only(InputError):
        assert device_tree.amend(dtb, "--dtb", Chosen()) == dtb[: int.from_bytes(dtb[4:8], "big")]
        made = device_tree.amend(dtb, "--dtb", chosen)
        there = fdt.read(made).root.child("chosen").properties
        assert there["linux,initrd-start"] == start.to_bytes(8, "big")
        assert there["linux,initrd-end"] == end.to_bytes(8, "big")
        if chosen.bootargs is not None:
            assert there["bootargs"] == chosen.bootargs.encode() + b"\0"


def _with_header(blocks: bytes) -> bytes:
    """Make a sound header for *blocks*: strings, a zero byte, and the structure."""
    strings, _, structure = blocks.partition(b"\xff\xff")
    structure += bytes(-len(structure) % 4)
    at = 56
    words = (0xD00D_FEED, at + len(structure) + len(strings), at, at + len(structure), 40, 17, 16)
    header = b"".join(word.to_bytes(4, "big") for word in (*words, 0, len(strings), len(structure)))
    return header + bytes(16) + structure + strings


_PARSERS: Final[tuple[Callable[[str], object], ...]] = (parse_memory, parse_seed, parse_endpoint)


@fuzz_target("options", 128)
def options(data: bytes) -> None:
    """An option's text gives a value or one line."""
    source = Source(data)
    parse = source.choice(_PARSERS)
    text = source.rest().decode("utf-8", "surrogateescape")
    with only(InputError):
        parse(text)
