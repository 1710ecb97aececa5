"""A native core in which an ioctl fails, for the test that asks for it.

The lab, which has no compiler, gets the library from outside.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gdbstub.kvm import compiler
from gdbstub.kvm.abi import CData, ffi

LIBRARY: Final = Path(__file__).with_name("faulty-core.so")
_SOURCE: Final = Path(__file__).with_name("faulty_ioctl.c")


def key() -> Sequence[bytes]:
    """Sources of the library."""
    return (*compiler.key(), _SOURCE.read_bytes())


def build(path: Path) -> None:
    """Compile it to *path*."""
    compiler.build(path, flags=("-Dioctl=faulty_ioctl", str(_SOURCE)))


class FaultyCore:
    """The library, and what is to fail in it."""

    def __init__(self, directory: Path) -> None:
        """Open it; it is made in *directory* where it is not there."""
        path = LIBRARY
        if not path.exists():
            build(path := directory / LIBRARY.name)
        #: The library as ``native.core`` returns it.
        self.core: CData = ffi.dlopen(str(path))
        self._c = ctypes.CDLL(str(path))
        self._c.fail.argtypes = (ctypes.c_ulong, ctypes.c_int, ctypes.c_int)

    def fail(self, request: int, place: int, code: int) -> None:
        """Have call number *place* of *request* fail with *code*."""
        self._c.fail(request, place, code)

    @property
    def has_failed(self) -> bool:
        """True once the call has failed."""
        return bool(self._c.has_failed())
