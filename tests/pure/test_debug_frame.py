"""The section that describes frames: what it says of return addresses, and files without code."""

import struct

import pytest

from gdbstub.linux.debug_frame import with_frames

PACIASP, RET = 0xD503233F, 0xD65F03C0
NAMES = b"\0_stext\0_etext\0"


def elf(start: int, size: int = 8) -> bytes:
    """Symbols at *start* and behind *size* bytes of code, as in the ELF file of a kernel."""
    code = struct.pack("<II", PACIASP, RET)
    symbols = bytes(24)
    for name, gva in ((1, start), (8, start + size)):
        symbols += struct.pack("<IBBHQQ", name, 0x12, 0, 1, gva, 0)
    parts, rows = [bytes(64), code, symbols, NAMES], [bytes(64)]
    for kind, gva, part, link in ((1, start, 1, 0), (2, 0, 2, 3), (3, 0, 3, 0)):
        at = sum(map(len, parts[:part]))
        rows.append(
            struct.pack("<IIQQQQIIQQ", 0, kind, 0, gva, at, len(parts[part]), link, 0, 1, 24)
        )
    header = bytearray(64)
    struct.pack_into("<Q", header, 40, sum(map(len, parts)))
    struct.pack_into("<HH", header, 60, len(rows), 3)
    return bytes(header) + b"".join(parts[1:]) + b"".join(rows)


def upper_bits(file: bytes) -> int:
    """The bits that the rule for a return address in x30 sets."""
    at = file.index(bytes((0x8E, 0, 0x11))) + 3  # DW_OP_breg30 0, DW_OP_consts
    value = shift = 0
    while True:
        byte = file[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            assert file[at] == 0x21  # DW_OP_or
            return (value - (byte >> 6 & 1) * (1 << shift)) % (1 << 64)


@pytest.mark.parametrize(
    ("start", "bits"),
    [
        (0xFFFF_8000_0801_0000, -1 << 47),
        (0xFFFF_FFC0_0801_0000, -1 << 38),
        # Of some kernels the symbols are offsets.
        (0x28E_0000, -1 << 47),
    ],
)
def test_the_bits_of_a_signature_are_set(start: int, bits: int) -> None:
    assert upper_bits(with_frames(elf(start))) == bits % (1 << 64)
    assert upper_bits(with_frames(elf(start), upper=0)) == 0


def test_what_has_no_code_stays_as_it_is() -> None:
    file = elf(0xFFFF_8000_0801_0000, 0)
    assert with_frames(file) == file
    assert with_frames(file.replace(b"_etext", b"_other")) == file.replace(b"_etext", b"_other")
