"""Memory of a process in the lab, with a lab and a QEMU whose answers are made up here."""

import json
import subprocess
from array import array
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import LabError
from gdbstub.lab import core_files, monitor, process_memory
from gdbstub.lab.core_files import CoreFiles
from gdbstub.lab.monitor import RAM
from gdbstub.lab.process_memory import joined, runs, windows
from gdbstub.linux import vmcore
from gdbstub.linux.handed_out import Part, literal
from tests.pure.test_handed_out import sending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gdbstub.lab.host import Lab

PAGE = 4096
PRESENT = 1 << 63
#: Pages of the lab's RAM, each of one byte.
LAB = b"".join(bytes([number]) * PAGE for number in range(1, 65))


def entry(number: int) -> int:
    """Entry of a pagemap for a page of the lab's RAM; -1 is one that was never touched.

    -2 is one on its way: the kernel shows it as swapped out.
    """
    if number == -2:
        return 1 << 62
    return PRESENT | 1 << 55 | RAM // PAGE + number if number >= 0 else 0


@given(st.lists(st.integers(-1, 63), max_size=40))
def test_pages_are_joined_in_the_order_of_the_process(numbers: list[int]) -> None:
    found = runs([entry(number) for number in numbers], PAGE)
    areas = windows(found)
    contents = [LAB[area.start - RAM : area.stop - RAM] for area in areas]
    expected = b"".join(bytes([number + 1]) * PAGE for number in numbers)
    assert joined(found, areas, contents) == expected
    assert all(one.stop < other.start for one, other in pairwise(areas))


def test_pages_that_are_near_each_other_are_read_at_once() -> None:
    found = runs([entry(number) for number in (0, 1, 2, 4, 60, -1, 5)], PAGE)
    assert [(area.start - RAM) // PAGE for area in windows(found)] == [0, 60]


@pytest.mark.parametrize("bad", [1 << 62, PRESENT])
def test_pages_whose_place_is_not_told(bad: int) -> None:
    with pytest.raises(LabError, match="the lab does not say where a process has its memory"):
        runs([entry(3), bad], PAGE)


class _Lab:
    """A lab in which process 7 has *pages*."""

    def __init__(self, directory: Path, pages: Sequence[int]) -> None:
        self.directory = directory
        self._pages = pages

    def next_pages(self) -> Sequence[int]:
        """Return the pages as they are now."""
        return self._pages

    def run(self, argv: Sequence[str], timeout: float) -> object:
        return subprocess.run(argv, check=True)

    def read(self, argv: Sequence[str], most: int, timeout: float) -> bytes:
        words = dict(word.split("=", 1) for word in argv[1:])
        assert words["if"] == "/proc/7/pagemap"
        entries = array("Q", map(entry, self.next_pages())).tobytes()
        first, count = int(words["skip"]), int(words["count"])
        assert most == count + 1
        return entries[first : first + count]

    def popen(self, argv: Sequence[str], **streams: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(argv, stdin=streams["stdin"], stdout=streams["stdout"])


class _Qemu:
    """QEMU's monitor; it saves *short* bytes less than it is asked to."""

    def __init__(self, short: int = 0) -> None:
        self.short = short

    async def execute(self, cmd: str, arguments: "Mapping[str, object] | None" = None) -> object:
        json.dumps(arguments)
        if cmd == "query-memory-size-summary":
            return {"base-memory": len(LAB), "plugged-memory": 0}
        assert cmd == "pmemsave"
        assert arguments
        start = int(str(arguments["val"])) - RAM
        size = int(str(arguments["size"])) - self.short
        with open(str(arguments["filename"]), "wb") as file:  # noqa: ASYNC230
            file.write(LAB[start : start + size])
        return {}


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch) -> _Qemu:
    """A QEMU in the place of each lab's."""
    import asyncio

    client = _Qemu()
    monkeypatch.setattr(monitor, "converse", lambda _, work: asyncio.run(work(client)))
    return client


def read(lab: _Lab, *where: int) -> Iterator[bytes]:
    """Read memory of process 7."""
    return process_memory.read(cast("Lab", lab), 7, *where)


@pytest.mark.usefixtures("qemu")
def test_memory_of_a_process_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_memory, "_PIECE", 2 * PAGE)
    lab = _Lab(tmp_path, [0, 5, -1, -1, 3, 3, 9, 8, 63, 60])
    data = list(read(lab, PAGE, PAGE, 8 * PAGE))
    assert [(part[0], part[PAGE]) for part in data] == [(6, 0), (0, 4), (4, 10), (9, 64)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("qemu")
def test_pages_that_the_lab_moves_meanwhile_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_memory, "_PIECE", 2 * PAGE)
    lab = _Lab(tmp_path, [])
    pages = iter(([5, 6, 7], [5, 9, 7], [5, 9, 7], [5, 9, 8], [5, 9, 8]))
    monkeypatch.setattr(lab, "next_pages", lambda: next(pages))
    assert [(part[0], part[-1]) for part in read(lab, PAGE, 0, 3 * PAGE)] == [(6, 10), (9, 9)]


@pytest.mark.usefixtures("qemu")
def test_pages_that_are_on_their_way_are_read_when_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = _Lab(tmp_path, [])
    pages = iter(([5, -2], [5, -2], [5, 9], [5, 9]))
    monkeypatch.setattr(lab, "next_pages", lambda: next(pages))
    assert [(part[0], part[-1]) for part in read(lab, PAGE, 0, 2 * PAGE)] == [(6, 10)]


@pytest.mark.usefixtures("qemu")
def test_pages_that_are_swapped_out(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"the lab does not say where .* is that swapped"):
        list(read(_Lab(tmp_path, [5, -2]), PAGE, 0, 2 * PAGE))


@pytest.mark.usefixtures("qemu")
def test_pages_that_the_lab_moves_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, number = _Lab(tmp_path, []), count()
    monkeypatch.setattr(lab, "next_pages", lambda: [next(number)])
    with pytest.raises(LabError, match="the lab moves the memory of process 7 all the time"):
        list(read(lab, PAGE, 0, PAGE))


@pytest.mark.parametrize(
    ("where", "pages", "said"),
    [
        ((PAGE, 0, PAGE), [64], "the lab has no RAM at 0x40040000"),
        ((PAGE, 0, PAGE), [1 << 40], "the lab has no RAM at"),
        ((PAGE, 0, 2 * PAGE), [63, 64], "the lab has no RAM at"),
        ((PAGE, 0, 2 * PAGE), [1], "the memory of process 7 in the lab cannot be read"),
        ((PAGE, 8, PAGE), [1], "no pages of a process"),
        ((PAGE, 0, 8), [1], "no pages of a process"),
        ((100, 0, 100), [1], "no pages of a process"),
        ((PAGE, (1 << 63) - PAGE, 2 * PAGE), [1], "no pages of a process"),
    ],
)
@pytest.mark.usefixtures("qemu")
def test_nothing_but_ram_of_the_lab_is_read(
    where: tuple[int, ...], pages: list[int], said: str, tmp_path: Path
) -> None:
    with pytest.raises(LabError, match=said):
        list(read(_Lab(tmp_path, pages), *where))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full(tmp_path: Path, qemu: _Qemu) -> None:
    qemu.short = 1
    with pytest.raises(LabError, match=r"QEMU saves 4095 bytes of 4096: is .* full\?"):
        list(read(_Lab(tmp_path, [1]), PAGE, 0, PAGE))


@pytest.mark.usefixtures("qemu")
def test_ram_of_a_core_file_is_read_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = vmcore.vmcoreinfo_file(b"")
    sent = literal(core) + Part(7, PAGE, 0, 2 * PAGE).encode() + literal(b"end")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core_files, "reading", lambda _: ["sh", "-c", sending(sent)])
    (tmp_path / "fifo").touch()
    CoreFiles(cast("Lab", _Lab(tmp_path, [4, -1])), None, 1 << 20).take(
        str(tmp_path / "fifo"), "core"
    )
    assert (tmp_path / "core").read_bytes() == core + b"\5" * PAGE + bytes(PAGE) + b"end"
