"""Options by which the symbols of an Image are found; the Images are forged."""

import struct

import pytest

from gdbstub.lab.demo import symbolizer_options


def image(version: str, magic: bytes = b"ARM\x64") -> bytes:
    header = struct.pack("<16xQ32x4s4x", 0xFE_0000, magic)
    return header + bytes(100) + f"\0Linux version {version}\0".encode()


def test_symbols_of_linux_7_are_where_its_contents_are() -> None:
    assert symbolizer_options(image("7.3.4-lx (root@vm)")) == ["--base-address", "0xfe0000"]
    assert symbolizer_options(image("10.0")) == ["--base-address", "0xfe0000"]


@pytest.mark.parametrize(
    "data",
    [image("6.19.14"), image("7.3", magic=b"MZ\0\0"), image("no"), b"", b"Linux version 7.0"],
)
def test_of_all_others_they_are_found_as_ever(data: bytes) -> None:
    assert symbolizer_options(data) == []
