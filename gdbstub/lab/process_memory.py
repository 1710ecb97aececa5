"""Memory of a process in the lab, read from outside at the speed of this machine.

The kernel of the lab says which pages of the lab's RAM it is, and QEMU's monitor reads those. So
nothing is executed in the lab for each byte. The lab may be a guest's by now, so only its RAM is
read. Source: linux/Documentation/admin-guide/mm/pagemap.rst, qemu/hw/arm/virt.c.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.errors import LabError
from gdbstub.lab import monitor
from gdbstub.lab.processes import ProcessFiles
from gdbstub.slices import spend

if TYPE_CHECKING:
    from gdbstub.lab.host import Lab

#: Bits of an entry of /proc/PID/pagemap: the page is in RAM, or swapped out; its number.
_PRESENT: Final = 1 << 63
_SWAPPED: Final = 1 << 62
_NUMBER: Final = (1 << 55) - 1
_KEPT: Final = _PRESENT | _SWAPPED | _NUMBER
_ENTRY: Final = 8
#: Sizes of a page on arm64.
_PAGES: Final = (4 << 10, 16 << 10, 64 << 10)
#: Bytes that are read at once.
_PIECE: Final = 64 << 20
#: Bytes between two areas that are read as one: a request for each would take longer.
_GAP: Final = 8 << 10
#: Areas that are read before it is looked whether that is wanted still: each takes QEMU 1 ms.
_AREAS: Final = 256
#: Readings of one piece, whose pages the kernel may move meanwhile (khugepaged, compaction).
_TRIES: Final = 5
_SECONDS: Final = 30.0


class Run(NamedTuple):
    """Pages that follow one another: their address in the lab's RAM, and all their bytes.

    An address of 0 is of pages that were never touched.
    """

    address: int
    size: int


def read(lab: "Lab", pid: int, page: int, address: int, size: int) -> Iterator[bytes]:
    """Yield *size* bytes at *address* of process *pid*, whose pages have *page* bytes.

    The memory is private to the process: pages that it has not touched are zeroes.

    Raises:
        LabError: there is no such process, or the memory cannot be read.
    """
    if page not in _PAGES or (address | size) % page or address + size > 1 << 63:
        raise LabError(f"no pages of a process: {size:#x} bytes at {address:#x}, of {page} each")
    first, left = address // page, size // page
    count = min(left, _PIECE // page)
    entries = _entries(lab, pid, first, count)
    while left:
        following = min(left - count, _PIECE // page)
        for _ in range(_TRIES):
            # One on its way to another place looks as if it were swapped out.
            placed = not any(entry & _SWAPPED for entry in entries)
            data = _contents(lab, runs(entries, page)) if placed else b""
            now = _entries(lab, pid, first, count + following)
            moved, entries = now[:count] != entries, now[:count]
            if placed and not moved:
                break
        else:
            runs(entries, page)  # raises if they are swapped out
            raise LabError(f"the lab moves the memory of process {pid} all the time")
        yield data
        first, left, count, entries = first + count, left - count, following, now[count:]


def _contents(lab: "Lab", found: Sequence[Run]) -> bytes:
    areas = windows(found)
    socket = ProcessFiles(lab.directory).monitor
    contents: list[bytes] = []
    for first in range(0, len(areas), _AREAS):
        spend(0)
        contents += monitor.read_memory(socket, areas[first : first + _AREAS], lab.directory)
    return joined(found, areas, contents)


def _entries(lab: "Lab", pid: int, first: int, count: int) -> Sequence[int]:
    """Return the entries of *count* pages in the pagemap of a process, from *first* on."""
    skipped, wanted = f"skip={first * _ENTRY}", f"count={count * _ENTRY}"
    units = ["bs=64k", "iflag=skip_bytes,count_bytes", "status=none"]
    argv = ["dd", f"if=/proc/{pid}/pagemap", *units, skipped, wanted]
    # One byte more than there can be, for a lab that sends anything.
    try:
        data = lab.read(argv, count * _ENTRY + 1, _SECONDS)
    except TimeoutError:
        data = b""
    if len(data) != count * _ENTRY:
        raise LabError(f"the memory of process {pid} in the lab cannot be read: has it ended?")
    return array("Q", (entry & _KEPT for entry in array("Q", data)))


def runs(entries: Sequence[int], page: int) -> list[Run]:
    """Return the runs of pages that *entries* of a pagemap name.

    Raises:
        LabError: they do not say where the pages are.
    """
    found: list[Run] = []
    address, size = -1, 0
    for entry in entries:
        place = (entry & _NUMBER) * page if entry & _PRESENT else 0
        if entry & _SWAPPED or (entry & _PRESENT and not place):
            raise LabError("the lab does not say where a process has its memory: is that swapped?")
        if place == (address + size if address else 0) and size:
            size += page
        else:
            if size:
                found.append(Run(address, size))
            address, size = place, page
    return [*found, Run(address, size)] if size else found


def windows(found: Sequence[Run]) -> list[range]:
    """Return the areas of the lab's RAM that have all runs, ascending; near ones are joined."""
    areas: list[range] = []
    for address, size in sorted(run for run in found if run.address):
        if areas and address <= areas[-1].stop + _GAP:
            areas[-1] = range(areas[-1].start, max(areas[-1].stop, address + size))
        else:
            areas.append(range(address, address + size))
    return areas


def joined(found: Sequence[Run], areas: Sequence[range], contents: Sequence[bytes]) -> bytes:
    """Return the bytes of all runs in their order, from the *contents* of *areas*."""
    starts, parts = [area.start for area in areas], list[bytes | memoryview]()
    for address, size in found:
        if not address:
            parts.append(bytes(size))
            continue
        index = bisect_right(starts, address) - 1
        at = address - starts[index]
        parts.append(memoryview(contents[index])[at : at + size])
    return b"".join(parts)
