"""Names of files that another process maps, and its text without an end, which it makes up."""

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from gdbstub.foreign import process
from gdbstub.foreign.process import ProcessMapping, VmmProcess

if TYPE_CHECKING:
    from gdbstub.foreign.injection import ProcessMemory


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_name_that_another_process_gives_a_file_ends_no_line_of_its_mappings(
    end: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{end}10000-20000 r-xp 00000000 00:00 0 [fake]"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        found = VmmProcess(os.getpid()).mappings()
    assert sum(each.name == str(path) for each in found) == 1
    assert not [each for each in found if each.name == "[fake]"]


def test_the_text_of_another_process_is_looked_through_as_far_as_text_goes() -> None:
    class Endless:
        """Memory of a process that maps more than there is."""

        reads = 0

        def read(self, address: int, length: int) -> bytes:
            assert length < 2 << 20
            self.reads += 1
            return b"abcdabcd"[address % 4 :] * 8

    memory = Endless()
    texts = [ProcessMapping(0x10000, 1 << 46, "r-xp", "/hostile")]
    found = process._find(cast("ProcessMemory", memory), texts, b"efgh")
    assert found is None
    assert memory.reads <= 4096
    assert process._find(cast("ProcessMemory", memory), texts, b"abcd") == 0x10000


def test_code_across_two_pieces_of_text_is_found() -> None:
    class Text:
        data = bytes((1 << 20) - 4) + b"efghijkl" + bytes(100)

        def read(self, address: int, length: int) -> bytes:
            return self.data[address : address + length]

    texts = [ProcessMapping(0, len(Text.data), "r-xp", "/text")]
    assert process._find(cast("ProcessMemory", Text()), texts, b"efghijkl") == (1 << 20) - 4
