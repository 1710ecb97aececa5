"""The program that clients debug: its symbols, and how far they move."""

import errno
import logging
import os
from pathlib import Path

import pytest

from gdbstub.capabilities import Relocation
from gdbstub.cli.settings.program import default_symbols, read_kernel_symbols, read_program
from gdbstub.errors import InputError
from gdbstub.vmm import image
from tests.pure.elves import RAM, Elf, Load

MEMORY = 64 << 20
#: Linked at 0x1000; its segments are not in the order of their addresses.
MOVABLE = Elf([Load(0x3000), Load(0x1000)], entry=0x1000, type=3).build()
FIXED = Elf().build()
RAW = bytes.fromhex("1f2003d5") * 4


def guest(data: bytes, load: int | None = None) -> image.Guest:
    return image.parse(data, "guest", MEMORY, load)


def test_an_elf_brings_its_symbols_and_a_raw_binary_has_those_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "guest.flat"
    assert default_symbols(path, guest(FIXED)) == path
    assert default_symbols(path, guest(RAW)) is None
    beside = tmp_path / "guest.elf"
    beside.write_bytes(MOVABLE)
    assert default_symbols(path, guest(RAW)) == beside
    assert default_symbols(beside, guest(RAW)) is None  # not of itself
    assert default_symbols(tmp_path / ("a" * 253), guest(RAW)) is None  # .elf is too much


@pytest.mark.parametrize(
    ("data", "load", "symbols", "expected"),
    [
        (MOVABLE, RAM, MOVABLE, Relocation(0x3000, RAM - 0x1000)),
        (MOVABLE, RAM, FIXED, None),
        (FIXED, None, FIXED, None),
        (RAW, RAM, MOVABLE, Relocation(0x3000, RAM - 0x1000)),
        (RAW, RAM, FIXED, None),
    ],
)
def test_symbols_move_as_the_guest_does(
    tmp_path: Path, data: bytes, load: int | None, symbols: bytes, expected: Relocation | None
) -> None:
    path = tmp_path / "symbols"
    path.write_bytes(symbols)
    program = read_program(path, guest(data, load))
    assert (program.file, program.kernel, program.expected) == (str(path), None, expected)


def test_symbols_that_are_none_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "symbols"
    path.write_bytes(b"text")
    with caplog.at_level(logging.WARNING):
        assert read_program(path, guest(RAW, RAM)).expected is None
    assert caplog.messages == [f"--symbols {path}: is not an ELF file"]
    assert not read_program(None, guest(RAW)).file


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".", "is a directory; expected a file"),
        ("absent", "No such file or directory"),
        ("text", "is not an ELF file"),
    ],
)
def test_the_option_is_named_once(
    name: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text").write_bytes(b"text")
    path = tmp_path / name
    line = f"--symbols {path}: {why}"
    with pytest.raises(InputError) as caught:
        read_kernel_symbols(path, needed=True)
    assert str(caught.value) == line
    with caplog.at_level(logging.DEBUG, "gdbstub.run"):
        assert read_kernel_symbols(path, needed=False).kernel is None
    assert caplog.messages == [line]


def test_symbols_that_cannot_be_read_are_warned_of_by_their_option_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "symbols"
    path.write_bytes(FIXED)

    def refuse(_path: Path, _flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with caplog.at_level(logging.WARNING):
        read_program(path, guest(RAW, RAM))
    assert caplog.messages == [f"--symbols {path}: Permission denied"]


def test_symbols_without_end_are_one_line(tmp_path: Path) -> None:
    """A file of symbols is read whole."""
    with open(tmp_path / "symbols", "wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(InputError, match=r"symbols: has \S+ MiB or more; expected at most 8G, the"):
        read_kernel_symbols(tmp_path / "symbols", needed=True)
