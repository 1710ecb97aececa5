"""Translation tables, forged by their definition: what a kernel would write into RAM.

It shares nothing with the walk that is tested by it. Source: Arm ARM D8.3.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

TG0: Final = {12: 0b00, 16: 0b01, 14: 0b10}
TG1: Final = {14: 0b01, 12: 0b10, 16: 0b11}
VALID: Final = 0b01
TABLE: Final = 0b11
PAGE: Final = 0b11
AF: Final = 1 << 10


@dataclass
class Tables:
    """Tables of one half. *granule* is a logarithm, *bits* those of an input address.

    *large*: addresses of 52 bits, as FEAT_LPA (64 K) and FEAT_LPA2 (4 and 16 K) spell them.
    """

    granule: int = 12
    bits: int = 48
    base: int = 0x4010_0000
    large: bool = False
    order: Literal["little", "big"] = "little"
    #: By address: 8 bytes each.
    words: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stride = self.granule - 3
        self.start = 4 - -(-(self.bits - self.granule) // self.stride)
        self.next = self.base + (1 << self.granule)

    def shift(self, level: int) -> int:
        return self.granule + (3 - level) * self.stride

    def size(self, level: int) -> int:
        return 1 << self.shift(level)

    def entry(self, gva: int, level: int) -> int:
        """The index of an address in a table of *level*."""
        width = min(self.stride, self.bits - self.shift(level))
        return gva >> self.shift(level) & (1 << width) - 1

    def spell(self, address: int) -> int:
        """An address as descriptors have it."""
        if self.large and self.granule == 16:
            return address & (1 << 48) - 1 | address >> 48 << 12
        if self.large:
            return address & (1 << 50) - 1 | address >> 50 << 8
        return address

    @property
    def ttbr(self) -> int:
        if self.large:
            return self.base & (1 << 48) - 1 | self.base >> 48 << 2
        return self.base

    def tcr(self) -> dict[str, int]:
        """Fields for both halves."""
        tnsz = 64 - self.bits
        fields = {"T0SZ": tnsz, "T1SZ": tnsz, "TG0": TG0[self.granule], "TG1": TG1[self.granule]}
        fields["IPS"] = 6 if self.large else 5
        if self.large and self.granule != 16:
            fields["DS"] = 1
        return fields

    def place(self, gva: int, level: int) -> int:
        """Return the address of the descriptor of *level*. Missing tables above it are made."""
        table = self.base
        for above in range(self.start, level):
            at = table + 8 * self.entry(gva, above)
            if at not in self.words:
                self.words[at] = self.spell(self.next) | TABLE
                self.next += 1 << self.granule
            table = self._address(self.words[at])
        return table + 8 * self.entry(gva, level)

    def _address(self, descriptor: int) -> int:
        low = descriptor & (1 << 48) - (1 << self.granule)
        if self.large and self.granule == 16:
            return low | (descriptor >> 12 & 15) << 48
        if self.large:
            return low | (descriptor >> 48 & 3) << 48 | (descriptor >> 8 & 3) << 50
        return low

    def map(self, gva: int, ipa: int, level: int = 3, attributes: int = AF) -> None:
        """Map the block or page that *gva* is in to the one that *ipa* is in."""
        kind = PAGE if level == 3 else VALID
        output = self.spell(ipa & -self.size(level))
        self.words[self.place(gva, level)] = output | attributes | kind

    def unmap(self, gva: int) -> None:
        self.words[self.place(gva, 3)] = 0

    def content(self) -> dict[int, bytes]:
        """Return the words of the tables, by their addresses in RAM."""
        return {at: word.to_bytes(8, self.order) for at, word in self.words.items()}

    def read(self, ipa: int, length: int) -> bytes:
        """RAM that has these tables and, in between, zeros."""
        words = range(ipa & -8, ipa + length, 8)
        data = b"".join(self.words.get(at, 0).to_bytes(8, self.order) for at in words)
        return data[ipa & 7 :][:length]
