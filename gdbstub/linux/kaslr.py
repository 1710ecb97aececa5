"""The offset of a Linux kernel with KASLR, from its symbols and the guest's VBAR_EL1.

The input is bytes of files and a function that reads the guest's memory; no vCPU is accessed.
Sources: arch/arm64/kernel/entry.S (vectors, __bp_harden_el1_vectors), proton-pack.c
(this_cpu_set_vectors), init/version.c (linux_banner).
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from gdbstub.capabilities import Relocation
from gdbstub.errors import InputError, MemoryFault, NotFound, printable
from gdbstub.linux import elf

if TYPE_CHECKING:
    from gdbstub.linux.module_files import ModuleFiles

#: Alignment of the offset: that of the kernel's segments (SEGMENT_ALIGN), at least a page.
_ALIGNMENT: Final = 64 << 10
_VECTORS: Final = "vectors"
#: Four copies of the vectors, each with another mitigation of Spectre-BHB; VBAR_EL1 is at one
#: of them on a CPU that needs the mitigation.
_HARDENED_VECTORS: Final = "__bp_harden_el1_vectors"
_HARDENED: Final = 4
_VECTORS_SIZE: Final = 0x800
_START: Final = "start_kernel"
#: Functions that ``stop_on`` and ``module_events`` ask for.
_STOPPED_AT: Final = (
    *("vpanic", "panic", "die", "__warn", "machine_restart"),
    *("do_init_module", "free_module"),
)
#: Start of linux_banner, which few kernels have a symbol for: that needs KALLSYMS_ALL.
_BANNER: Final = b"Linux version "
_BANNER_LIMIT: Final = 512


class LinkedKernel(NamedTuple):
    """Link addresses and banner of a kernel."""

    #: Virtual address of the first PT_LOAD segment.
    start: int
    #: Link addresses of all vector tables that VBAR_EL1 may hold.
    vectors: tuple[int, ...]
    #: Link address of linux_banner.
    banner_at: int
    #: Bytes of linux_banner, decoded as Latin-1, which has a character for each byte.
    banner: str
    #: Physical address of ``start_kernel``: its address while the MMU is off. None: not known.
    start_kernel: int | None
    #: Link addresses of functions at which the guest may be stopped, by name.
    functions: Mapping[str, int] = MappingProxyType({})
    #: True if the file is one of ``debug_frame``, by which every debugger undoes signed addresses.
    unwinds: bool = False

    def find(self, vbar: int, read: Callable[[int, int], bytes]) -> Relocation:
        """Return the relocation of the kernel, from *vbar*, the VBAR_EL1 of a vCPU.

        *read* takes a virtual address and a length; it returns bytes or raises ``MemoryFault``.

        Raises:
            NotFound: the kernel is not at the offset that *vbar* implies, with the reason.
        """
        for link in self.vectors:
            if (offset := vbar - link) >= 0 and not offset % _ALIGNMENT:
                break
        else:
            raise NotFound(
                f"VBAR_EL1 is {vbar:#x}, where none of the kernel's vector tables can be"
            )
        self.confirm(offset, read)
        return Relocation(self.start, offset)

    def confirm(self, offset: int, read: Callable[[int, int], bytes]) -> None:
        """Check by its banner that the kernel is *offset* above its link addresses.

        Raises:
            NotFound: it is not, with the reason.
        """
        wanted = self.banner.encode("latin-1")
        gva = self.banner_at + offset
        try:
            there = read(gva, len(wanted))
        except MemoryFault as fault:
            raise NotFound(f"the kernel's banner cannot be read: {fault}") from None
        if there == wanted:
            return
        if there.startswith(_BANNER):
            other = there.split(b"\n")[0].decode("ascii", "replace")
            raise NotFound(
                f"the guest runs another kernel than --symbols is of: {printable(other)}"
            )
        raise NotFound(f"the kernel's banner is not at {gva:#x}")


class GuestProgram(NamedTuple):
    """The file with the guest's symbols: its absolute path, and the kernel in it, if any.

    ``expected`` is where it goes at each boot, if that is known beforehand.
    """

    file: str = ""
    kernel: LinkedKernel | None = None
    expected: Relocation | None = None
    #: Files of the kernel's modules; None: nobody asked for them.
    modules: "ModuleFiles | None" = None

    def to_text(self) -> str:
        """Serialise the program as one line of text."""
        import json  # imported here and below, since only runs in the lab need it

        kernel = self.kernel and self.kernel._asdict()
        return json.dumps({"file": self.file, "kernel": kernel, "expected": self.expected})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse the output of ``to_text``, the argument of ``--program``.

        Raises:
            InputError: it is something else.
        """
        import json

        try:
            fields = json.loads(text)
            kernel = fields["kernel"]
            if kernel is not None:
                kernel = LinkedKernel(**kernel | {"vectors": tuple(kernel["vectors"])})
            expected = fields["expected"]
            found = cls(fields["file"], kernel, expected and Relocation(*expected))
            found._check_types()
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            raise InputError(
                f"--program {text[:80]!r}: expected what another gdbstub has written"
            ) from None
        return found

    def _check_types(self) -> None:
        """Check what was parsed from a text.

        Raises:
            TypeError: a field is of another type.
            ValueError: the banner is no text of bytes.
        """
        texts, numbers = [self.file], list(self.expected or ())
        if kernel := self.kernel:
            kernel.banner.encode("latin-1")
            texts += kernel.functions
            numbers += (kernel.start, *kernel.vectors, kernel.banner_at)
            numbers += (kernel.start_kernel or 0, *kernel.functions.values())
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(texts)
        if not all(isinstance(number, int) for number in numbers):
            raise TypeError(numbers)


NO_PROGRAM: Final = GuestProgram()


def read_kernel(
    symbols: bytes, name: str, image: bytes | None = None, ipa: int | None = None
) -> LinkedKernel:
    """Read a kernel's link addresses from its vmlinux; its Image is at the physical *ipa*.

    *symbols* is the ELF file. If it has symbols and no contents, the banner is read from
    *image*, the bytes of the Image; None: nobody has that. Errors name the ELF file *name*.

    Raises:
        InputError: it is not a vmlinux, or not the one of *image*.
    """
    file = elf.parse_linked(symbols, name)
    unwinds = b"\0.debug_frame\0" in symbols and b"\0.debug_info\0" not in symbols
    found = file.find(_VECTORS, _HARDENED_VECTORS, _START, *_STOPPED_AT)
    for needed in (_VECTORS, _START):
        if needed not in found:
            raise InputError(f"{name}: has no symbol {needed}; expected a vmlinux")
    start = file.segments[0].vaddr
    pieces = [(segment.vaddr, bytes(segment.data)) for segment in file.segments]
    for gva, data in (*pieces, (start, image or b"")):
        for at, banner in _banners(data):
            if image is not None:
                _check_banner(banner, image, name)
            return LinkedKernel(
                start=start,
                vectors=tuple(_vectors(found)),
                banner_at=gva + at,
                banner=banner.decode("latin-1"),
                start_kernel=None if ipa is None else found[_START] - start + ipa,
                functions={name: found[name] for name in _STOPPED_AT if name in found},
                unwinds=unwinds,
            )
    raise InputError(f"{name}: has no Linux banner; expected a vmlinux")


def _check_banner(banner: bytes, image: bytes, name: str) -> None:
    """Check that *image* has the *banner* of the symbols.

    Raises:
        InputError: it has another one.
    """
    if banner in image:
        return
    other = next((text for _, text in _banners(image)), b"no banner")
    ours, theirs = (text.decode("ascii", "replace").strip() for text in (banner, other))
    raise InputError(f"{name}: is of another kernel than the guest: {ours}; the guest: {theirs}")


def _vectors(symbols: Mapping[str, int]) -> Iterator[int]:
    yield symbols[_VECTORS]
    if hardened := symbols.get(_HARDENED_VECTORS):
        yield from (hardened + n * _VECTORS_SIZE for n in range(_HARDENED))


def _banners(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the offset of each banner in *data*, and its text up to the NUL."""
    at = data.find(_BANNER)
    while at >= 0:
        end = data.find(b"\0", at, at + _BANNER_LIMIT)
        if end > 0:
            yield at, data[at:end]
        at = data.find(_BANNER, at + 1)
