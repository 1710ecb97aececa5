"""The native core, ``gdbstub/kvm/core``, through cffi: opened at its first use, on arm64 alone.

``core.h`` documents its functions. Each is called without Python's lock.
"""

import functools
import os

from gdbstub.errors import InputError, MachineError, installation
from gdbstub.kvm.abi import CData, ffi


@functools.cache
def core() -> CData:
    """Return the library of this installation.

    Raises:
        InputError: it is not there.
        MachineError: it cannot be opened.
    """
    path = os.path.join(os.path.dirname(__file__), "core.so")
    try:
        return ffi.dlopen(path)
    except OSError as error:
        if os.path.exists(path):  # and there is no descriptor or no memory for it
            raise MachineError(
                f"gdbstub's native core cannot be opened ({error}): see ulimit -n and ulimit -v, "
                "or install gdbstub again (pip install --force-reinstall)"
            ) from error
        raise InputError(
            f"gdbstub's native core cannot be opened ({error}): install a C compiler "
            f"({installation('gcc libc6-dev')}), then gdbstub again (pip install --force-reinstall)"
        ) from error
