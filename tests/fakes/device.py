"""A device of a machine that has no other: what its memory-mapped registers do."""

from typing import Protocol


class Device(Protocol):
    """Handler of accesses outside RAM. Called on vCPU threads."""

    def read(self, ipa: int, size: int) -> int: ...

    def write(self, ipa: int, size: int, value: int) -> None: ...


class Nothing:
    """No device: reads are 0, writes are lost."""

    def read(self, ipa: int, size: int) -> int:
        return 0

    def write(self, ipa: int, size: int, value: int) -> None:
        pass
