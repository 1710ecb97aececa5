"""The image of a Linux kernel in RAM: where it is, its bytes, and the BTF in it.

Source: linux/Documentation/arch/arm64/booting.rst (image_size), kernel/vmcore_info.c.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from gdbstub.errors import MemoryFault
from gdbstub.linux import btf
from gdbstub.linux.memory import LinuxKernel
from gdbstub.slices import spend

#: Bytes behind the start of the kernel in which its data and its BTF are.
_IMAGE: Final = 128 << 20
_PIECE: Final = 256 << 10
_PAGE: Final = 4096
#: Places that look like the beginning of BTF, of which so many are looked at.
_TRIES: Final = 64
#: The size of the header, and the magic number near its end.
_HEADER: Final = 64
_MAGIC: Final = b"ARM\x64"


class KernelImage:
    """The image of *kernel*, whose BTF is read once."""

    def __init__(self, kernel: LinuxKernel) -> None:
        """Find the image and its BTF.

        Raises:
            NotFound: the kernel has no BTF, or it is not there yet.
        """
        self._kernel = kernel
        info = kernel.info
        #: Virtual address of the first byte.
        self.start: Final = (info.number("SYMBOL", "_stext") & -(64 << 10)) - (64 << 10)
        self._ipa: Final = (self.start - info.number("NUMBER", "kimage_voffset")) % (1 << 64)
        #: Virtual addresses of its bytes.
        self.addresses: Final = range(self.start, self.start + self._size())
        #: The kernel's types.
        self.btf: Final = self._find_btf()

    def _size(self) -> int:
        """Return the size that the header of the image says, or the most."""
        with suppress(MemoryFault):
            header = self._kernel.read_physical(self._ipa, _HEADER)
            if header[-8:-4] == _MAGIC:
                return min(int.from_bytes(header[16:24], "little"), _IMAGE)
        return _IMAGE

    def pieces(self, overlap: int, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the image from its offset *first* on, in pieces.

        Each comes with its virtual address, and with *overlap* bytes of the next one.
        """
        for at in range(first, len(self.addresses), _PIECE):
            spend(_PIECE // _PAGE)
            try:
                data = self._kernel.read_physical(self._ipa + at, _PIECE + overlap)
            except MemoryFault:
                return
            yield self.start + at, data

    def _find_btf(self) -> btf.Btf:
        tries = 0
        for gva, piece in self.pieces(len(btf.BEGIN)):
            found = piece.find(btf.BEGIN)
            while found >= 0 and (tries := tries + 1) <= _TRIES:
                with suppress(MemoryFault):
                    ipa = self._ipa + gva - self.start + found
                    size = btf.size_of(self._kernel.read_physical(ipa, btf.HEADER))
                    spend(size // _PAGE)
                    if size and len(data := self._kernel.read_physical(ipa, size)) == size:
                        return btf.parse(data)
                found = piece.find(btf.BEGIN, found + 1)
        return btf.find(b"")
