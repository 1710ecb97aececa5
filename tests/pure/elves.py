"""ELF files and Linux Images forged byte by byte, for the tests of what loads them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

RAM = 0x4000_0000
EHDR, PHDR, SHDR = 64, 56, 64
PT_LOAD, PT_INTERP = 1, 3


@dataclass
class Load:
    paddr: int = RAM
    data: bytes = b"\x1f\x20\x03\xd5" * 4
    memsz: int | None = None
    vaddr: int | None = None
    type: int = PT_LOAD


@dataclass
class Elf:
    """The fields that a test bends; the rest is what a linker would write."""

    loads: Sequence[Load] = field(default_factory=lambda: [Load()])
    entry: int = RAM
    machine: int = 183
    type: int = 2
    symbols: Sequence[tuple[str, int, int]] = ()

    def build(self) -> bytes:
        body_at = EHDR + PHDR * len(self.loads)
        headers, body = b"", b""
        for load in self.loads:
            vaddr = load.paddr if load.vaddr is None else load.vaddr
            memsz = len(load.data) if load.memsz is None else load.memsz
            headers += struct.pack(
                "<IIQQQQQQ", load.type, 7, body_at + len(body), vaddr, load.paddr,
                len(load.data), memsz, 8,
            )  # fmt: skip
            body += load.data
        names, rows = b"\0", bytes(24)
        for name, value, bind in self.symbols:
            rows += struct.pack("<IBBHQQ", len(names), bind << 4 | 2, 0, 1, value, 4)
            names += name.encode() + b"\0"
        section_names = b"\0.symtab\0.strtab\0.shstrtab\0"
        tables = [(1, 2, rows, 2, 24), (9, 3, names, 0, 0), (17, 3, section_names, 0, 0)]
        sections, at = bytes(SHDR), body_at + len(body)
        for name_at, kind, data, link, entsize in tables:
            sections += struct.pack(
                "<IIQQQQIIQQ", name_at, kind, 0, 0, at, len(data), link, 1, 1, entsize
            )
            body += data
            at += len(data)
        header = struct.pack(
            "<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, self.type, self.machine, 1,
            self.entry, EHDR, at, 0, EHDR, PHDR, len(self.loads), SHDR, 4, 3,
        )  # fmt: skip
        return header + headers + body + sections


def image(
    size: int = 0x3000,
    *,
    text_offset: int = 0,
    image_size: int = 0x8000,
    flags: int = 0xA,
    efi: bool = True,
) -> bytes:
    """A Linux arm64 Image of *size* bytes; with *efi*, one whose PE sections end there."""
    header = struct.pack(
        "<4s4xQQQ24x4sI", b"MZ\x40\xfa" if efi else b"\0\0\0\x14", text_offset, image_size,
        flags, b"ARM\x64", 64 if efi else 0,
    )  # fmt: skip
    if efi:
        header += struct.pack("<4sHH12xHH", b"PE\0\0", 0xAA64, 2, 112, 0x206) + bytes(112)
        half = size // 2
        for at, raw in ((0, half), (half, size - half)):
            header += struct.pack("<8sIIII16x", b".text", image_size, at, raw, at)
    length = size - len(header)
    return header + (bytes(range(251)) * (length // 251 + 1))[:length]


def zboot(payload: bytes, compression: bytes) -> bytes:
    header = struct.pack("<4s4sII8x32sI", b"MZ\0\0", b"zimg", 64, len(payload), compression, 64)
    return header[:64].ljust(64, b"\0") + payload + b"PE and decompressor"
