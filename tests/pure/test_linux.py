"""The kernel locator, with made-up symbols and memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.capabilities import Relocation
from gdbstub.errors import InputError, MemoryFault, NotFound
from gdbstub.linux.kaslr import GuestProgram, LinkedKernel, read_kernel
from tests.fuzz.target import check_message
from tests.pure.elves import Elf, Load

START = 0xFFFF_8000_0800_0000
RAM = 0x4020_0000
BANNER = b"Linux version 6.1.0 (me@here) #1 SMP\n"
SYMBOLS = (
    ("vectors", START + 0x1_0800, 1),
    ("__bp_harden_el1_vectors", START + 0x1_2800, 1),
    ("start_kernel", START + 0x139_09F4, 1),
)


def vmlinux(
    content: bytes = b"code" * 4 + BANNER + b"\0",
    symbols: tuple[tuple[str, int, int], ...] = SYMBOLS,
) -> bytes:
    """Make a kernel's file as CONFIG_RELOCATABLE does: a shared object by its header."""
    loads = [Load(START, b"first"), Load(START + 0x1000, content, memsz=0x800)]
    return Elf(loads, entry=START, type=3, symbols=symbols).build()


#: Start of every Image of these tests.
IMAGE = b"MZ" + bytes(62) + BANNER + b"\0"
KERNEL = read_kernel(vmlinux(), "vmlinux", IMAGE, RAM)


class Memory:
    """Memory with one mapped address."""

    def __init__(self, gva: int, data: bytes) -> None:
        self.gva, self.data = gva, data

    def __call__(self, gva: int, length: int) -> bytes:
        if gva != self.gva:
            raise MemoryFault(f"nothing is mapped at {gva:#x}")
        return self.data[:length]


def memory(offset: int) -> Memory:
    return Memory(KERNEL.banner_at + offset, BANNER)


def test_what_a_vmlinux_tells() -> None:
    hardened = (START + 0x1_2800 + n * 0x800 for n in range(4))
    assert KERNEL == LinkedKernel(
        start=START,
        vectors=(START + 0x1_0800, *hardened),
        banner_at=START + 0x1010,
        banner=BANNER.decode(),
        start_kernel=RAM + 0x139_09F4,
    )


def test_frames_without_types_are_those_that_undo_signed_addresses() -> None:
    frames, types = b"\0.debug_frame\0", b"\0.debug_info\0"
    assert not KERNEL.unwinds
    assert read_kernel(vmlinux() + frames, "vmlinux", IMAGE, RAM).unwinds
    assert not read_kernel(vmlinux() + types + frames, "vmlinux", IMAGE, RAM).unwinds


def test_symbols_without_contents_take_the_banner_of_the_image() -> None:
    """The file is such as ``objcopy --only-keep-debug`` makes."""
    image = b"MZ" + bytes(0x200E) + BANNER + b"\0"
    found = read_kernel(vmlinux(b""), "vmlinux", image, RAM)
    assert (found.banner_at, found.banner) == (START + 0x2010, BANNER.decode())


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"#!/bin/sh\n", "vmlinux: is not an ELF file"),
        (vmlinux(b"code"), "vmlinux: has no Linux banner"),
        (vmlinux(symbols=SYMBOLS[1:]), "vmlinux: has no symbol vectors"),
        (vmlinux(symbols=SYMBOLS[:2]), "vmlinux: has no symbol start_kernel"),
        (vmlinux(BANNER * 20), "vmlinux: has no Linux banner"),
    ],
)
def test_what_is_no_vmlinux(data: bytes, line: str) -> None:
    with pytest.raises(InputError, match=line):
        read_kernel(data, "vmlinux", b"", RAM)


def test_symbols_of_another_kernel() -> None:
    other = IMAGE.replace(b"6.1.0", b"6.1.1")
    with pytest.raises(InputError, match=r"vmlinux: is of another kernel than the guest: Linux"):
        read_kernel(vmlinux(), "vmlinux", other, RAM)


@given(st.integers(0, (1 << 31) - 1), st.sampled_from(range(len(KERNEL.vectors))))
def test_it_is_found_wherever_it_is(units: int, which: int) -> None:
    """The kernel runs at any multiple of 64 KiB, and any of its vectors may be in VBAR_EL1."""
    offset = units << 16
    place = KERNEL.find(KERNEL.vectors[which] + offset, memory(offset))
    assert (place.start, place.offset) == (START, offset)


@pytest.mark.parametrize("vbar", [0, 0x4000_0800, START + 0x1_1000, START + 0x1_0800 - 0x1_0000])
def test_a_register_that_holds_no_vectors_of_its(vbar: int) -> None:
    with pytest.raises(
        NotFound, match=f"VBAR_EL1 is {vbar:#x}, where none of the kernel's vector tables can be"
    ):
        KERNEL.find(vbar, memory(0))


def test_it_must_be_there() -> None:
    vbar, gva = KERNEL.vectors[0] + 0x10_0000, KERNEL.banner_at + 0x10_0000
    with pytest.raises(NotFound, match=f"cannot be read: nothing is mapped at {gva:#x}"):
        KERNEL.find(vbar, memory(0))
    with pytest.raises(NotFound, match=f"the kernel's banner is not at {gva:#x}"):
        KERNEL.find(vbar, Memory(gva, bytes(100)))
    other = b"Linux version 6.5.0 (you@there) #7\n"
    with pytest.raises(NotFound, match=r"another kernel than --symbols is of: Linux version 6.5.0"):
        KERNEL.find(vbar, Memory(gva, other))


def test_another_kernels_banner_is_told_as_part_of_one_line() -> None:
    vbar, gva = KERNEL.vectors[0] + 0x10_0000, KERNEL.banner_at + 0x10_0000
    other = b"Linux version \x1b]0;title\x07\r6 \xe2\x80\xae" + b"x" * 400
    with pytest.raises(NotFound) as raised:
        KERNEL.find(vbar, Memory(gva, other))
    check_message(str(raised.value))
    assert r"of: Linux version \x1b]0;title\x07\r6 " in str(raised.value)


def test_a_program_goes_through_a_line_of_text() -> None:
    for program in (
        GuestProgram(),
        GuestProgram("/tmp/a \udcff", KERNEL),
        GuestProgram("/guest.elf"),
        GuestProgram("/moved.elf", expected=Relocation(0x1000, 0x4008_0000)),
    ):
        text = program.to_text()
        assert text.isascii()
        assert "\n" not in text
        assert GuestProgram.from_text(text) == program


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "5", "null", "[" * 100_000, '{"kernel": 1}'),
        '{"file": 1, "kernel": null, "expected": null}',
        '{"file": "", "kernel": null, "expected": 5}',
        '{"file": "", "kernel": null, "expected": ["a", 1]}',
        '{"file": "", "kernel": {"vectors": []}, "expected": null}',
        '{"file": "", "kernel": {"start": 0, "vectors": [], "banner_at": 0, "banner": "\u20ac", '
        '"start_kernel": null}, "expected": null}',
        '{"file": "", "kernel": {"start": 0, "vectors": ["a"], "banner_at": 0, "banner": "", '
        '"start_kernel": null}, "expected": null}',
    ],
    ids=range(12),
)
def test_a_text_that_is_of_no_program(text: str) -> None:
    with pytest.raises(
        InputError, match=r"^--program '.*': expected what another gdbstub has writ"
    ):
        GuestProgram.from_text(text)
