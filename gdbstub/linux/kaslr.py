"""What a Linux kernel's symbols tell: where it was linked, so how far KASLR has moved it.

It reads bytes that somebody else got, of files and of the guest, and touches no vCPU.
Sources: arch/arm64/kernel/entry.S (vectors, __bp_harden_el1_vectors), proton-pack.c
(this_cpu_set_vectors), init/version.c (linux_banner).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, Self

from gdbstub.capabilities import Relocation
from gdbstub.errors import InputError, MemoryFault, NotFound
from gdbstub.linux import elf

#: A kernel moves by multiples of its segments' alignment (SEGMENT_ALIGN), which no page exceeds.
_ALIGNMENT: Final = 64 << 10
_VECTORS: Final = "vectors"
#: Four copies of the vectors, each with another mitigation of Spectre-BHB; a CPU that needs one
#: has VBAR_EL1 there.
_HARDENED_VECTORS: Final = "__bp_harden_el1_vectors"
_HARDENED: Final = 4
_VECTORS_SIZE: Final = 0x800
_START: Final = "start_kernel"
#: How linux_banner begins. Nearly every kernel has it without a symbol: KALLSYMS_ALL is rare.
_BANNER: Final = b"Linux version "
_BANNER_LIMIT: Final = 512


class LinkedKernel(NamedTuple):
    """What was linked where; a banner is kept as Latin-1, which has a character for each byte."""

    #: The first PT_LOAD.
    start: int
    #: What VBAR_EL1 may be while the kernel runs.
    vectors: tuple[int, ...]
    banner_at: int
    banner: str
    #: Where ``start_kernel`` is while the MMU is off: a physical address.
    start_kernel: int

    def find(self, vbar: int, read: Callable[[int, int], bytes]) -> Relocation:
        """Where it is, by the VBAR_EL1 of a vCPU and what *read* finds at an address.

        Raises:
            NotFound: nowhere that these tell of; why stands there.
        """
        for link in self.vectors:
            if (offset := vbar - link) >= 0 and not offset % _ALIGNMENT:
                break
        else:
            raise NotFound(f"VBAR_EL1 is {vbar:#x}, where none of its vectors can be")
        self.confirm(offset, read)
        return Relocation(self.start, offset)

    def confirm(self, offset: int, read: Callable[[int, int], bytes]) -> None:
        """See whether it is *offset* above its link addresses.

        Raises:
            NotFound: it is not; why stands there.
        """
        wanted = self.banner.encode("latin-1")
        gva = self.banner_at + offset
        try:
            there = read(gva, len(wanted))
        except MemoryFault as fault:
            raise NotFound(f"its banner cannot be read: {fault}") from None
        if there == wanted:
            return
        if there.startswith(_BANNER):
            other = there.split(b"\n")[0].decode("ascii", "replace")
            raise NotFound(f"it is another kernel than --symbols is of: {other}")
        raise NotFound(f"its banner is not at {gva:#x}")


class GuestProgram(NamedTuple):
    """What clients have symbols of: the file's absolute path, and what a kernel's tell."""

    file: str = ""
    kernel: LinkedKernel | None = None

    def to_text(self) -> str:
        """All of it, on one line."""
        import json  # not at the top, as below: only what is run in a lab is handed on

        return json.dumps({"file": self.file, "kernel": self.kernel and self.kernel._asdict()})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What ``to_text`` made *text* of."""
        import json

        fields = json.loads(text)
        kernel = fields["kernel"]
        if kernel is not None:
            kernel = LinkedKernel(**kernel | {"vectors": tuple(kernel["vectors"])})
        return cls(fields["file"], kernel)


NO_PROGRAM: Final = GuestProgram()


def read_kernel(symbols: bytes, name: str, image: bytes, ipa: int) -> LinkedKernel:
    """What the ELF file *symbols* tells of the kernel whose Image lies at the physical *ipa*.

    Of a file that holds symbols and no contents, the banner is *image*'s.

    Raises:
        InputError: it tells nothing, since it is no vmlinux; errors call it *name*.
    """
    file = elf.parse_linked(symbols, name)
    found = file.find(_VECTORS, _HARDENED_VECTORS, _START)
    for needed in (_VECTORS, _START):
        if needed not in found:
            raise InputError(f"{name}: has no symbol {needed}")
    start = file.segments[0].vaddr
    pieces = [(segment.vaddr, bytes(segment.data)) for segment in file.segments]
    for gva, data in (*pieces, (start, image)):
        for at, banner in _banners(data):
            return LinkedKernel(
                start=start,
                vectors=tuple(_vectors(found)),
                banner_at=gva + at,
                banner=banner.decode("latin-1"),
                start_kernel=found[_START] - start + ipa,
            )
    raise InputError(f"{name}: has no Linux banner")


def _vectors(symbols: Mapping[str, int]) -> Iterator[int]:
    yield symbols[_VECTORS]
    if hardened := symbols.get(_HARDENED_VECTORS):
        yield from (hardened + n * _VECTORS_SIZE for n in range(_HARDENED))


def _banners(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each banner in *data*: where it begins, and its text up to the NUL."""
    at = data.find(_BANNER)
    while at >= 0:
        end = data.find(b"\0", at, at + _BANNER_LIMIT)
        if end > 0:
            yield at, data[at:end]
        at = data.find(_BANNER, at + 1)
