"""The kernel's log: records of printk's ring buffer, since Linux 5.10.

Nothing is taken for granted: sizes, identifiers and positions are the guest's.
Source: linux/kernel/printk/printk_ringbuffer.c, Documentation/admin-guide/kdump/gdbmacros.txt.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gdbstub.errors import MemoryFault, NotFound, excerpt, printable
from gdbstub.linux.memory import pointer
from gdbstub.linux.vmcoreinfo import VmcoreInfo
from gdbstub.slices import spend

Read = Callable[[int, int], bytes]

#: States of a descriptor whose text is complete: in the two top bits of its state_var.
_COMMITTED, _FINALIZED = 1, 2
_ID: Final = (1 << 62) - 1
#: Bounds of what a kernel can be built with: LOG_BUF_SHIFT is 25 at most.
_MOST_RECORDS: Final = 1 << 20
_MOST_TEXT: Final = 1 << 26
#: Rows of a table that are read at once, and the most bytes of one that are believed.
_ROWS: Final = 1 << 10
_MOST_OF_ROW: Final = 4096
#: Length of the id in front of each text.
_WORD: Final = 8


class Record(NamedTuple):
    """One record: its time, its level, and its text without a line feed at the end."""

    nanoseconds: int
    level: int
    text: str

    def lines(self) -> Iterator[str]:
        """Yield the record as ``dmesg`` shows it; the work is noted (``slices.spend``)."""
        seconds, rest = divmod(self.nanoseconds, 10**9)
        stamp = f"[{seconds:5}.{rest // 1000:06}] "
        for line in self.text.split("\n"):
            spend()
            yield stamp + "\t".join(map(printable, line.split("\t")))


def records(info: VmcoreInfo, read: Read) -> Iterator[Record]:
    """Yield all records, the oldest first.

    Raises:
        NotFound: the kernel has no ring buffer of this kind, or it is damaged.
    """
    if not info.has("SYMBOL", "prb"):
        raise NotFound(
            f"Linux {excerpt(info.release)} keeps its log otherwise; 5.10 and newer are known"
        )
    try:
        yield from _Ring(info, read).records()
    except MemoryFault as fault:
        raise NotFound(f"the kernel's log cannot be read: {fault}") from None


class _Ring:
    def __init__(self, info: VmcoreInfo, read: Read) -> None:
        self._info = info
        self._read = read
        self._ring = pointer(read, info.number("SYMBOL", "prb"))
        descriptors = self._ring + self._at("printk_ringbuffer.desc_ring")
        texts = self._ring + self._at("printk_ringbuffer.text_data_ring")
        self._count = 1 << self._bits(descriptors + self._at("prb_desc_ring.count_bits"))
        self._size = 1 << self._bits(texts + self._at("prb_data_ring.size_bits"))
        if self._count > _MOST_RECORDS or self._size > _MOST_TEXT:
            raise NotFound(
                f"the kernel's log is damaged: room for {self._count} records, {self._size} bytes"
            )
        counter = self._at("atomic_long_t.counter")
        self._head = pointer(read, descriptors + self._at("prb_desc_ring.head_id") + counter)
        self._tail = pointer(read, descriptors + self._at("prb_desc_ring.tail_id") + counter)
        self._descriptors = pointer(read, descriptors + self._at("prb_desc_ring.descs"))
        self._infos = pointer(read, descriptors + self._at("prb_desc_ring.infos"))
        self._text = read(pointer(read, texts + self._at("prb_data_ring.data")), self._size)

    def _at(self, member: str) -> int:
        return self._info.number("OFFSET", member)

    def _bits(self, gva: int) -> int:
        return min(int.from_bytes(self._read(gva, 4), "little"), 63)

    def records(self) -> Iterator[Record]:
        size, info_size = (self._info.number("SIZE", name) for name in ("prb_desc", "printk_info"))
        if (largest := max(size, info_size)) > _MOST_OF_ROW:
            raise NotFound(f"the kernel's log is damaged: records of {largest} bytes")
        descriptors = _Rows(self._read, self._descriptors, size, self._count)
        infos = _Rows(self._read, self._infos, info_size, self._count)
        state_at = self._at("prb_desc.state_var") + self._at("atomic_long_t.counter")
        block = self._at("prb_desc.text_blk_lpos")
        begin_at = block + self._at("prb_data_blk_lpos.begin")
        next_at = block + self._at("prb_data_blk_lpos.next")
        number, text = self._tail & _ID, 0
        for _ in range(self._count):
            spend()
            index = number % self._count
            row = descriptors.row(index)
            state = _word(row, state_at)
            if state >> 62 in (_COMMITTED, _FINALIZED) and state & _ID == number:
                record = self._record(infos.row(index), _word(row, begin_at), _word(row, next_at))
                if (text := text + len(record.text)) > self._size:
                    raise NotFound("the kernel's log is damaged: it has more text than room")
                yield record
            if number == self._head & _ID:
                return
            number = number + 1 & _ID

    def _record(self, about: bytes, begin: int, end: int) -> Record:
        length_at = self._at("printk_info.text_len")
        length = int.from_bytes(about[length_at : length_at + 2], "little")
        # Behind text_len: facility, and flags and level in one byte.
        level = about[length_at + 3] >> 5 if len(about) > length_at + 3 else 0
        text = b""
        if not (begin | end) & 1:  # odd positions are of records without text
            # Since 6.18 a text may end where the ring does; before, the end was of the next round.
            start, stop = begin % self._size, (end - 1) % self._size + 1
            if start >= stop:  # it did not fit at the end
                start = 0
            start += _WORD
            text = self._text[start : min(start + length, stop)]
        return Record(
            _word(about, self._at("printk_info.ts_nsec")), level, text.decode("utf-8", "replace")
        )


class _Rows:
    """A table of *count* rows of *size* bytes, of which some at once are read."""

    def __init__(self, read: Read, gva: int, size: int, count: int) -> None:
        self._read, self._gva, self._size, self._count = read, gva, size, count
        self._first, self._data = -1, b""

    def row(self, index: int) -> bytes:
        """Return the row *index*."""
        first = index - index % _ROWS
        if first != self._first:
            number = min(_ROWS, self._count - first)
            self._data = self._read(self._gva + first * self._size, number * self._size)
            self._first = first
        at = (index - first) * self._size
        return self._data[at : at + self._size]


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
