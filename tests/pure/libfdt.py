"""Device trees as libfdt reads them, which QEMU brings along: an oracle for our own reader."""

import ctypes
import struct
from typing import Final

_lib: Final = ctypes.CDLL("libfdt.so.1")
_lib.fdt_getprop.restype = ctypes.POINTER(ctypes.c_char)


class Blob:
    """A blob that libfdt finds sound."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        assert _lib.fdt_check_full(data, ctypes.c_size_t(len(data))) == 0

    def node(self, path: str) -> int:
        """The offset of a node; negative: there is none."""
        offset: int = _lib.fdt_path_offset(self.data, path.encode())
        return offset

    def get(self, path: str, name: str) -> bytes | None:
        """A property's bytes; None if it is absent."""
        size = ctypes.c_int()
        at = _lib.fdt_getprop(self.data, self.node(path), name.encode(), ctypes.byref(size))
        return at[: size.value] if at else None

    def cells(self, path: str, name: str) -> list[int]:
        data = self.get(path, name)
        assert data is not None
        return list(struct.unpack(f">{len(data) // 4}I", data))

    def strings(self, path: str, name: str) -> list[str]:
        data = self.get(path, name)
        assert data is not None
        assert data.endswith(b"\0")
        return data[:-1].decode().split("\0")

    def reservations(self) -> list[tuple[int, int]]:
        address, size = ctypes.c_uint64(), ctypes.c_uint64()
        found = []
        for index in range(_lib.fdt_num_mem_rsv(self.data)):
            row = (ctypes.byref(address), ctypes.byref(size))
            assert _lib.fdt_get_mem_rsv(self.data, index, *row) == 0
            found.append((address.value, size.value))
        return found
