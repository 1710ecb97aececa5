"""The image of a guest: a static ELF, a raw binary, or a Linux arm64 Image in any wrapping.

It unpacks into bytes and figures, and puts nothing into guest memory.
Sources: Documentation/arch/arm64/booting.rst; drivers/firmware/efi/libstub/zboot-header.S.
"""

import struct
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import InputError
from gdbstub.linux import elf
from gdbstub.numbers import parse_number
from gdbstub.vmm import unpack
from gdbstub.vmm.files import read_input
from gdbstub.vmm.layout import RAM_BASE
from gdbstub.vmm.size import format_figure, format_size, suggest

_EXPECTED: Final = (
    "expected a static AArch64 ELF or a Linux arm64 Image (raw, gzip, zstd or EFI zboot); "
    "a raw binary needs --load ADDR"
)
#: Address at which QEMU loads raw binaries and position-independent programs.
DEFAULT_LOAD: Final = RAM_BASE + 0x8_0000
#: text_offset, image_size, flags at 8; magic at 0x38; the PE header's offset at 0x3c.
_HEADER: Final = struct.Struct("<8xQQQ24x4sI")
_MAGIC: Final = b"ARM\x64"
_MAGIC_AT: Final = 0x38
#: Before image_size existed (Linux 3.17) the offset was this, whatever its field says.
_OLD_TEXT_OFFSET: Final = 0x8_0000
_BIG_ENDIAN: Final = 1 << 0

#: Of an ELF header: EI_CLASS and EI_DATA; e_type; e_type and e_machine; the top of e_entry.
_ELF64_LITTLE: Final = b"\2\1"
_SHARED: Final = b"\3\0"
_SHARED_AARCH64: Final = b"\3\0\xb7\0"
_HIGH: Final = b"\xff\xff"

#: Payload offset, payload size at 8; the name of the compression at 24.
_ZBOOT: Final = struct.Struct("<4s4sII8x32s")
#: Compressed Image in zboot in gzip is as deep as anything sensible is.
_DEEPEST: Final = 3

#: Other files that are given as guests: offset, magic, description.
_FOREIGN: Final = (
    (0, b"\xfd7zXZ\0", "xz data; unpack it first"),
    (0, b"\x04\x22\x4d\x18", "lz4 data; unpack it first"),
    (0, b"\x02\x21\x4c\x18", "lz4 data; unpack it first"),
    (0, b"BZh", "bzip2 data; unpack it first"),
    (0, b"]\0\0", "lzma data; unpack it first"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree or FIT image"),
    (0, b"\x27\x05\x19\x56", "a U-Boot image"),
    (0, b"!<arch>\n", "an archive (.a or .deb)"),
    (0, b"070701", "a cpio archive; an initramfs goes to --initrd"),
    (0x24, b"\x18\x28\x6f\x01", "a Linux kernel for 32-bit Arm"),
    (0x38, b"RSC\x05", "a Linux kernel for RISC-V"),
    (0x202, b"HdrS", "a Linux kernel for x86"),
)


class LinuxImage(NamedTuple):
    """A little-endian Linux arm64 Image, unpacked.

    It goes to a 2 MiB boundary plus ``text_offset``, and ``image_size`` bytes from there
    are the kernel's own (its BSS is not in ``data``); never less than ``data`` is long.
    """

    name: str
    data: bytes
    text_offset: int
    image_size: int
    flags: int
    #: The image's wrappings, outermost first: none, ``gzip``, ``EFI zboot`` and so on.
    wrapping: tuple[str, ...] = ()


class RawBinary(NamedTuple):
    """Bytes without a header, which go to ``address`` and begin with the first instruction."""

    name: str
    data: bytes
    address: int


Guest = elf.Executable | RawBinary | LinuxImage


def load(path: Path, memory: int, address: int | None = None) -> Guest:
    """Read and recognise the guest in the file *path*; *memory* is the bytes of RAM it gets.

    Raises:
        InputError: unreadable, not a guest, damaged, truncated or larger than *memory*.
    """
    return parse(read_input(path), str(path), memory, address)


def parse(data: bytes, name: str, memory: int, address: int | None = None) -> Guest:
    """Recognise the guest in *data*, unpacking at most *memory* bytes; errors call it *name*.

    *address* is the value of ``--load``, for a guest that may be anywhere. With it, whatever is no
    other guest is a raw binary; without it, whatever may be code.

    Raises:
        InputError: not a guest, damaged, truncated or larger than *memory*.
    """
    wrapping: list[str] = []
    while True:
        if not data:
            raise InputError(f"{name}: is empty; {_EXPECTED}")
        if data.startswith(elf.MAGIC):
            return _executable(data, name, memory, address)
        if data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC:
            if address is not None:
                raise InputError(
                    f"--load: {name} is a Linux kernel, which says itself where it goes"
                )
            return _linux(data, name, tuple(wrapping))
        if data[4:8] == b"zimg" and data.startswith(b"MZ"):
            kind, (data, algorithm) = "EFI zboot", _zboot_payload(data, name)
        elif algorithm := unpack.recognise(data):
            kind = algorithm
        elif what := _other_file(data):
            raise InputError(f"{name}: is {what}; {_EXPECTED}")
        elif address is not None or _may_be_code(data):
            return RawBinary(name, data, DEFAULT_LOAD if address is None else address)
        else:
            raise InputError(f"{name}: is neither ELF nor a kernel; {_EXPECTED}")
        if len(wrapping) == _DEEPEST:
            raise InputError(f"{name}: is packed more than {_DEEPEST} times; {_EXPECTED}")
        wrapping.append(kind)
        data = _unpacked(data, algorithm, name, memory)


def parse_load(text: str) -> int:
    """Parse the argument of ``--load``, a physical address.

    Raises:
        InputError: it is none, or there is no RAM or no instruction at it.
    """
    address = parse_number(text)
    if address is None or address < RAM_BASE or address % 4:
        raise InputError(
            f"--load {text!r}: expected an address from {RAM_BASE:#x}, where RAM begins, on; "
            f"a multiple of 4 such as {DEFAULT_LOAD:#x}"
        )
    return address


def _executable(data: bytes, name: str, memory: int, address: int | None) -> elf.Executable:
    if data[4:6] == _ELF64_LITTLE and data[16:20] == _SHARED_AARCH64 and data[30:32] == _HIGH:
        raise _vmlinux(name)  # CONFIG_RELOCATABLE makes it look like a shared object
    if data[16:18] == _SHARED:
        from gdbstub.linux import relocate  # few guests need it

        return relocate.parse(data, name, address=address, default=DEFAULT_LOAD, memory=memory)
    found = elf.parse(data, name)
    if address is not None:
        raise InputError(
            f"--load: {name} is linked to run at {found.segments[0].vaddr:#x}; link it with -pie, "
            "or give a raw binary"
        )
    if all(segment.paddr >> 48 == 0xFFFF for segment in found.segments):
        raise _vmlinux(name)
    return found


def _vmlinux(name: str) -> InputError:
    return InputError(
        f"{name}: is a kernel linked at virtual addresses, a vmlinux: give its Image as GUEST, "
        "and this file to --symbols"
    )


def too_large(name: str, needed: int, memory: int) -> InputError:
    """Make the error for a guest that needs *needed* bytes of RAM and has *memory*."""
    given = f"{name}: needs {format_figure(needed)} of memory, and --memory is "
    enough = suggest(needed)
    advice = f"give at least --memory {format_size(enough)}" if enough else "no size is enough"
    return InputError(f"{given}{format_size(memory)}; {advice}")


def _unpacked(data: bytes, algorithm: str, name: str, memory: int) -> bytes:
    try:
        return unpack.unpack(data, algorithm, memory)
    except unpack.TooLarge as error:
        head = error.head
        if head[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC:
            text_offset, image_size, *_ = _HEADER.unpack_from(head)
            if text_offset + image_size > memory:
                raise too_large(name, text_offset + image_size, memory) from None
        raise InputError(
            f"{name}: unpacks to more than --memory {format_size(memory)}; give more"
        ) from None
    except unpack.Truncated:
        raise InputError(f"{name}: is truncated: its {algorithm} data ends early") from None
    except unpack.Damaged as error:
        raise InputError(f"{name}: its {algorithm} data is damaged ({error})") from None


def _linux(data: bytes, name: str, wrapping: tuple[str, ...]) -> LinuxImage:
    if len(data) < _HEADER.size:
        raise InputError(f"{name}: is truncated: {len(data)} bytes hold no Image header")
    text_offset, image_size, flags, _, pe = _HEADER.unpack_from(data)
    if not image_size:
        text_offset, flags = _OLD_TEXT_OFFSET, 0
    if flags & _BIG_ENDIAN:
        raise InputError(f"{name}: is a big-endian kernel; expected a little-endian one")
    if text_offset % 4:
        raise InputError(
            f"{name}: has its text at offset {text_offset:#x}, of which no instruction can be "
            "executed; expected a multiple of 4"
        )
    # image_size tells nothing of the file's length, for it counts the BSS; an EFI stub's
    # section table does. A kernel without the stub cannot be told from a cut one.
    if data.startswith(b"MZ") and (end := _pe_end(data, pe)) > len(data):
        raise InputError(
            f"{name}: is truncated: its sections end at byte {end:#x}, "
            f"and the Image has {len(data):#x}"
        )
    return LinuxImage(name, data, text_offset, max(image_size, len(data)), flags, wrapping)


def _pe_end(data: bytes, pe: int) -> int:
    """Find the end of the PE sections (PE Format, "COFF File Header", "Section Table")."""
    if len(data) < pe + 24:
        return pe + 24
    if data[pe : pe + 4] != b"PE\0\0":
        return 0
    count, optional_size = struct.unpack_from("<6xH12xH", data, pe)
    end = table = pe + 24 + optional_size
    for at in range(table, table + count * 40, 40):
        end = max(end, at + 40)
        if end > len(data):
            break
        size, pointer = struct.unpack_from("<16xII", data, at)
        end = max(end, pointer + size)
    return int(end)


def _zboot_payload(data: bytes, name: str) -> tuple[bytes, str]:
    if len(data) < _ZBOOT.size:
        raise InputError(f"{name}: is truncated: {len(data)} bytes hold no zboot header")
    _, _, offset, size, named = _ZBOOT.unpack_from(data)
    if offset + size > len(data):
        raise InputError(
            f"{name}: is truncated: its payload ends at byte {offset + size:#x}, "
            f"and the file has {len(data):#x}"
        )
    said = named.split(b"\0")[0].decode("ascii", "replace")
    # The kernel's build names zstd after its level, "zstd22".
    algorithm = "zstd" if said.startswith("zstd") else said
    if algorithm not in unpack.ALGORITHMS:
        raise InputError(f"{name}: is an EFI zboot image packed by {said!r}; expected gzip or zstd")
    return data[offset : offset + size], algorithm


def _other_file(data: bytes) -> str:
    """Describe a file that is no guest, by its first bytes; empty: it is unknown."""
    for at, magic, what in _FOREIGN:
        if data[at : at + len(magic)] == magic:
            return what
    return "an EFI or Windows program, no arm64 kernel" if data.startswith(b"MZ") else ""


def _may_be_code(data: bytes) -> bool:
    """Return True if *data* begins with what may be an A64 instruction, and is not text.

    Source: Arm ARM C4.1: bits 28 to 25, op0, are not 0, 1 or 3 in any instruction without SME.
    """
    if len(data) < 4 or all(chr(byte).isprintable() or byte in b"\t\n\r" for byte in data[:64]):
        return False
    return int.from_bytes(data[:4], "little") >> 25 & 0xF not in (0, 1, 3)
