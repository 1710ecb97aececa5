"""The native core, ``gdbstub/kvm/core``, through cffi: opened at its first use, on arm64 alone.

``core.h`` documents its functions. Each is called without Python's lock.
"""

import functools
import os

from gdbstub.errors import InputError
from gdbstub.kvm.abi import CData, ffi


@functools.cache
def core() -> CData:
    """Return the library of this installation.

    Raises:
        InputError: it is not there, or cannot be opened.
    """
    try:
        return ffi.dlopen(os.path.join(os.path.dirname(__file__), "core.so"))
    except OSError as error:
        raise InputError(
            f"gdbstub's native core cannot be opened ({error}): install a C compiler "
            "(apt-get install gcc libc6-dev), then gdbstub again (pip install --force-reinstall)"
        ) from error
