"""The bus of memory-mapped devices: guest accesses to addresses without RAM.

It emulates nothing and does not know what KVM is.
"""

import logging
from typing import Final, Protocol

from gdbstub.vmm.layout import PAGE

_log = logging.getLogger("gdbstub.vmm")

_PAGE_SHIFT: Final = PAGE.bit_length() - 1
#: Number of empty addresses that are remembered: a hostile guest fills neither memory nor log.
REMEMBERED: Final = 256


class Device(Protocol):
    """Registers at offsets; called on any vCPU's thread, on several at once."""

    def read(self, offset: int, size: int) -> int:
        """Load *size* bytes (1, 2, 4 or 8) at *offset*, as a little-endian number."""
        ...

    def write(self, offset: int, size: int, value: int) -> None:
        """Store *value* in *size* bytes (1, 2, 4 or 8) at *offset*."""
        ...


class Bus:
    """Devices by page of guest physical address.

    Without a device, reads give 0 and writes are ignored, with one warning for each address.
    ``attach`` and ``clear`` are for when no vCPU runs; ``read`` and ``write`` for any time.
    """

    def __init__(self) -> None:
        #: A page's number to its device and the device's base: one look-up an access.
        self._pages: dict[int, tuple[Device, int]] = {}
        self._warned: set[int] = set()

    def attach(self, base: int, size: int, device: Device) -> None:
        """Attach *device* to *size* bytes from *base* on, both multiples of a page.

        Raises:
            ValueError: not whole pages, or another device has one of them.
        """
        if base % PAGE or size % PAGE or size <= 0:
            raise ValueError(f"{base:#x}, {size:#x}: not whole pages")
        pages = range(base >> _PAGE_SHIFT, (base + size) >> _PAGE_SHIFT)
        if not self._pages.keys().isdisjoint(pages):
            raise ValueError(f"{base:#x}: a device is there already")
        self._pages |= dict.fromkeys(pages, (device, base))

    def clear(self) -> None:
        """Detach all devices, and forget the addresses that were warned of."""
        self._pages.clear()
        self._warned.clear()

    def read(self, ipa: int, size: int) -> int:
        """Load *size* bytes (1, 2, 4 or 8) at *ipa*, as a little-endian number."""
        found = self._pages.get(ipa >> _PAGE_SHIFT)
        if found is None:
            self._nothing("read", ipa, size)
            return 0
        device, base = found
        return device.read(ipa - base, size)

    def write(self, ipa: int, size: int, value: int) -> None:
        """Store *value* in *size* bytes (1, 2, 4 or 8) at *ipa*."""
        found = self._pages.get(ipa >> _PAGE_SHIFT)
        if found is None:
            self._nothing("write", ipa, size)
            return
        device, base = found
        device.write(ipa - base, size, value)

    def _nothing(self, what: str, ipa: int, size: int) -> None:
        warned = self._warned
        # Two vCPUs at once may warn twice or remember one too many, which harms nobody.
        if ipa in warned or len(warned) > REMEMBERED:
            return
        warned.add(ipa)
        if len(warned) > REMEMBERED:
            _log.warning("the guest uses many addresses where nothing is; no more warnings")
            return
        outcome = "gives 0" if what == "read" else "is ignored"
        _log.warning("a %s of %d bytes at %#x, where nothing is, %s", what, size, ipa, outcome)
