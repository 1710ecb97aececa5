"""A file that a session reads, or writes by another option, is not written over."""

import pytest

from gdbstub.lab.qemu import PROGRAM as QEMU
from tests.cli.program import GDBSTUB, Place
from tests.pure.elves import Elf

ELF = Elf().build()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--record guest.elf", "--record guest.elf: is the file of GUEST; expected another"),
        ("--console=./guest.elf", "--console ./guest.elf: is the file of GUEST; expected another"),
        ("--record x --console x", "--console x: is the file of --record; expected another"),
        ("--symbols s --record link", "--record link: is the file of --symbols; expected another"),
        ("--vmcore-on timeout c --timeout 9 --record c", "--record c: is the file of --vmcore-on"),
    ],
)
def test_a_file_is_not_written_that_is_read_or_written_by_another_option(
    place: Place, words: str, line: str
) -> None:
    (place.files / "s").write_bytes(ELF)
    (place.files / "link").symlink_to("s")
    assert place.refusal("guest.elf", *words.split()).startswith(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("p.bin --record hard", "--record hard: is the file of GUEST; expected another"),
        ("guest.elf --symbols p.bin --console hard", "--console hard: is the file of --symbols; "),
        ("guest.elf --initrd p.bin --record hard", "--record hard: is the file of --initrd; "),
        ("guest.elf --dtb p.bin --record hard", "--record hard: is the file of --dtb; "),
        ("guest.elf --record p.bin --console hard", "--console hard: is the file of --record; "),
        ("guest.elf --record d/x --console e/x", "--console e/x: is the file of --record; "),
        ("--load 0x40080000 p.bin --record p.elf", "--record p.elf: is the file of GUEST's symbol"),
    ],
)
def test_a_file_is_the_same_by_another_of_its_names(place: Place, words: str, line: str) -> None:
    (place.files / "p.bin").write_bytes(b"\x1f\x20\x03\xd5" * 8)
    (place.files / "p.elf").write_bytes(ELF)
    (place.files / "hard").hardlink_to(place.files / "p.bin")
    (place.files / "d").mkdir()
    (place.files / "e").symlink_to("d")
    assert place.refusal(*words.split()).startswith(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("VMM -kernel guest.elf", "--record guest.elf: is the file of VMM; expected another"),
        ("VMM -drive if=none,file=./guest.elf", "--record guest.elf: is the file of VMM; expected"),
        ("VMM -drive file=file:guest.elf", "--record guest.elf: is the file of VMM; expected"),
        ('VMM -blockdev {"filename":"guest.elf"}', "--record guest.elf: is the file of VMM;"),
        ("VMM -drive file=a,,b.img,if=none", "--record guest.elf: is the file of VMM; expected"),
    ],
)
def test_a_file_of_a_vmm_that_is_to_be_started_is_not_written(
    place: Place, words: str, line: str
) -> None:
    (place.files / "a,b.img").hardlink_to(place.files / "guest.elf")
    launch = (*GDBSTUB, "launch", "--gdb=localhost:0", "--record", "guest.elf", "--")
    line_of = place.refusal(*words.replace("VMM", QEMU).split(), program=launch)
    assert line_of.startswith(line)
