import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.linux import elf
from gdbstub.vmm import image as images
from gdbstub.vmm.image import LinuxImage, RawBinary
from tests.pure.elves import Elf, Load, image, zboot

MEMORY = 64 << 20
RAW = image()
GZ, ZST = gzip.compress(RAW), zstandard.compress(RAW)


@pytest.mark.parametrize(
    ("data", "wrapping"),
    [
        (RAW, ()),
        (GZ, ("gzip",)),
        (ZST, ("zstd",)),
        (zboot(GZ, b"gzip"), ("EFI zboot",)),
        (zboot(ZST, b"zstd22"), ("EFI zboot",)),
        (zboot(ZST, b"zstd"), ("EFI zboot",)),
        (gzip.compress(zboot(ZST, b"zstd")), ("gzip", "EFI zboot")),
        (GZ + b"what a build appends", ("gzip",)),
    ],
)
def test_every_wrapping_gives_the_same_image(data: bytes, wrapping: tuple[str, ...]) -> None:
    found = images.parse(data, "vmlinuz", MEMORY)
    assert found == LinuxImage("vmlinuz", RAW, 0, 0x8000, 0xA, wrapping)


def test_an_elf_may_come_packed() -> None:
    found = images.parse(gzip.compress(Elf().build()), "a.elf.gz", MEMORY)
    assert isinstance(found, elf.Executable)


def test_image_size_never_is_less_than_the_data() -> None:
    found = images.parse(image(0x3000, image_size=0x1000, efi=False), "Image", MEMORY)
    assert isinstance(found, LinuxImage)
    assert found.image_size == 0x3000


def test_before_image_size_the_offset_was_fixed() -> None:
    found = images.parse(image(image_size=0, text_offset=1, flags=1), "Image", MEMORY)
    assert isinstance(found, LinuxImage)
    assert (found.text_offset, found.flags) == (0x80000, 0)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "is empty"),
        (b"hello" * 100, "is neither ELF nor a kernel; expected a static AArch64 ELF or"),
        (b"\xfd7zXZ\0" + bytes(99), "is xz data; unpack it first"),
        (bytes(0x202) + b"HdrS", "is a Linux kernel for x86"),
        (b"MZ" + bytes(0x300), "is an EFI or Windows program, no arm64 kernel"),
        (b"070701" + bytes(99), "is a cpio archive; an initramfs goes to --initrd"),
        (image(flags=0xB), "is a big-endian kernel; expected a little-endian one"),
        (image(text_offset=2), r"has its text at offset 0x2, .*; expected a multiple of 4"),
        (RAW[:0x3E], "is truncated: 62 bytes hold no Image header"),
        (RAW[:0x50], "is truncated: its sections end at byte 0x58"),
        (RAW[:0x100], "is truncated: its sections end at byte 0x"),
        (RAW[:-1], "is truncated: its sections end at byte 0x3000, and the Image has 0x2fff"),
        (gzip.compress(RAW[:-1]), "is truncated: its sections end"),
        (GZ[:-1], "is truncated: its gzip data ends early"),
        (GZ[:2], "is truncated: its gzip data ends early"),
        (ZST[:-1], "is truncated: its zstd data ends early"),
        (ZST[:4], "is truncated: its zstd data ends early"),
        (GZ[:40] + bytes(8) + GZ[48:], "its gzip data is damaged"),
        (ZST[:4] + b"\xff" * 40, "its zstd data is damaged"),
        (zboot(GZ, b"gzip")[:100], "is truncated: its payload ends at byte"),
        (zboot(GZ, b"gzip")[:30], "is truncated: 30 bytes hold no zboot header"),
        (zboot(GZ, b"zstd22"), "its zstd data is damaged"),
        (zboot(b"", b"xzkern"), "is an EFI zboot image packed by 'xzkern'; expected gzip or zstd"),
        (gzip.compress(gzip.compress(gzip.compress(GZ))), "is packed more than 3 times"),
        (gzip.compress(b""), "is empty"),
    ],
)
def test_bad_input_gets_one_clear_line(data: bytes, line: str) -> None:
    with pytest.raises(InputError, match=f"^vmlinuz: {line}") as caught:
        images.parse(data, "vmlinuz", MEMORY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_bounded_by_the_memory(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(64 << 20))
    with pytest.raises(InputError, match="unpacks to more than --memory 4M; give more"):
        images.parse(bomb, "bomb", 4 << 20)


def test_a_packed_kernel_that_is_too_large_says_how_large() -> None:
    packed = gzip.compress(image(3 << 20, image_size=90 << 20))
    line = r"needs 90.0 MiB of memory, and --memory is 2M; give at least --memory 128M"
    with pytest.raises(InputError, match=line):
        images.parse(packed, "vmlinuz", 2 << 20)


@given(st.sampled_from([RAW, GZ, ZST, zboot(ZST, b"zstd")]), st.data())
def test_mutated_files_never_raise_anything_else(base: bytes, data: st.DataObject) -> None:
    content = bytearray(base)
    for at in data.draw(st.lists(st.integers(0, 300), max_size=4)):
        if at < len(content):
            content[at] = data.draw(st.integers(0, 255))
    try:
        found = images.parse(bytes(content), "vmlinuz", MEMORY)
    except InputError:
        return
    if isinstance(found, LinuxImage):
        assert found.image_size >= len(found.data)


NOP = bytes.fromhex("1f2003d5")


def test_a_raw_binary_goes_where_qemu_loads_it_or_where_asked() -> None:
    code = NOP + bytes(range(200))
    assert images.parse(code, "a.flat", MEMORY) == RawBinary("a.flat", code, 0x4008_0000)
    assert images.parse(gzip.compress(code), "a", MEMORY, 0x4000_0000) == RawBinary(
        "a", code, 0x4000_0000
    )


@pytest.mark.parametrize("data", [b"hello" * 20, bytes(100), b"\xff\xff\xff\x07" + bytes(99)])
def test_what_can_be_no_code_is_a_raw_binary_only_on_request(data: bytes) -> None:
    with pytest.raises(InputError, match=r"is neither ELF nor a kernel; .* needs --load"):
        images.parse(data, "a", MEMORY)
    assert images.parse(data, "a", MEMORY, 0x4000_0000) == RawBinary("a", data, 0x4000_0000)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (RAW, "--load: a is a Linux kernel, which says itself where it goes"),
        (Elf().build(), "--load: a is linked to run at 0x40000000; link it with -pie, or give"),
        (b"070701" + bytes(99), "a: is a cpio archive"),
    ],
)
def test_load_is_for_what_may_be_anywhere(data: bytes, line: str) -> None:
    with pytest.raises(InputError, match=f"^{line}"):
        images.parse(data, "a", MEMORY, 0x4000_0000)


@pytest.mark.parametrize("text", ["", "here", "0x3fffffff", "0x40000002", "-1", "0x40080000K"])
def test_load_wants_an_address_in_ram(text: str) -> None:
    with pytest.raises(InputError, match=r"^--load '.*': expected an address from 0x40000000,"):
        images.parse_load(text)


def test_a_position_independent_elf_is_moved() -> None:
    found = images.parse(Elf([Load(0x1000)], entry=0x1004, type=3).build(), "a.elf", MEMORY)
    assert isinstance(found, elf.Executable)
    assert (found.offset, found.physical_entry) == (0x4007_F000, 0x4008_0004)


def test_load_reads_a_file_and_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(RAW)
    found = images.load(path, MEMORY)
    assert isinstance(found, LinuxImage)
    assert found.data == RAW
    assert found.name == str(path)


def test_load_says_what_is_wrong_with_a_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: No such file or directory"):
        images.load(tmp_path / "absent", MEMORY)
    with pytest.raises(InputError, match="is a directory; expected a file"):
        images.load(tmp_path, MEMORY)
    with pytest.raises(InputError, match="is not a regular file"):
        images.load(Path(os.devnull), MEMORY)
    with pytest.raises(InputError, match="null"):
        images.load(Path("a\0b"), MEMORY)
