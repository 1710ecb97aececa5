"""Allocation tags by virtual address, as one vCPU translates it."""

from collections.abc import Callable, Iterator

from gdbstub.aarch64.mte import GRANULE
from gdbstub.debug.memory import VirtualMemory
from gdbstub.machine import RamTags


class VirtualTags:
    """Implements ``MemoryTags`` over a machine's tags.

    *translating* returns the number of a vCPU that translates an address as a thread does.
    """

    def __init__(
        self, memory: VirtualMemory, tags: RamTags, translating: Callable[[int, int], int]
    ) -> None:
        self._memory = memory
        self._tags = tags
        self._translating = translating

    def read(self, thread: int, gva: int, count: int) -> bytes:
        """Read *count* tags from the granule at *gva* on (``MemoryTags.read``)."""
        return b"".join(
            self._tags.read_tags(ipa, part) for ipa, part in self._pieces(thread, gva, count)
        )

    def write(self, thread: int, gva: int, tags: bytes) -> None:
        """Write tags from the granule at *gva* on (``MemoryTags.write``)."""
        self.read(thread, gva, len(tags))  # raises before anything is written
        at = 0
        for ipa, part in self._pieces(thread, gva, len(tags)):
            self._tags.write_tags(ipa, tags[at : at + part])
            at += part

    def _pieces(self, thread: int, gva: int, count: int) -> Iterator[tuple[int, int]]:
        """Yield runs of granules: the physical address, and the number of granules."""
        vcpu = self._translating(thread, gva)
        while count:
            mapping = self._memory.translate(vcpu, gva)
            part = min(count, mapping.size // GRANULE)
            yield mapping.ipa, part
            gva, count = gva + part * GRANULE, count - part
