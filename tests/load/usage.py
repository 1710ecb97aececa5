"""Use of this process: descriptors, threads, objects of Python, and memory."""

import gc
import os
import threading
from pathlib import Path
from typing import Final, NamedTuple

_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024
#: Objects that a run may leave: entries of caches that are bounded.
_OBJECTS: Final = 2000
#: Memory that a long run may leave, in KiB: an allocator keeps fragments.
_KIB: Final = 4096


class Usage(NamedTuple):
    """A measurement; ``kib`` is the resident memory."""

    descriptors: int
    threads: int
    objects: int
    kib: int

    @classmethod
    def now(cls) -> "Usage":
        """Measure, garbage excluded."""
        gc.collect()
        return cls(
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            len(gc.get_objects()),
            int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KIB,
        )

    def check(self, later: "Usage", *, memory: bool = True) -> None:
        """Check that nothing has grown until *later*; *memory* includes the resident memory."""
        assert later.descriptors <= self.descriptors, (self, later)
        assert later.threads <= self.threads, (self, later)
        assert later.objects <= self.objects + _OBJECTS, (self, later)
        assert not memory or later.kib <= self.kib + _KIB, (self, later)

    def __str__(self) -> str:
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, "
            f"{self.objects} objects, {self.kib} KiB"
        )
