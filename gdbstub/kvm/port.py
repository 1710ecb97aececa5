"""The ioctl port: the way to the VM and vCPU descriptors of one process.

``LOCAL`` is this process. A port of another process makes the same calls there.
Source: linux/Documentation/virt/kvm/api.rst, 2 and 4.
"""

import errno
import os
from typing import TYPE_CHECKING, Final, Protocol

from gdbstub.errors import MachineError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi, libc

if TYPE_CHECKING:
    from collections.abc import Callable


class IoctlPort(Protocol):
    """ioctl(2) in the process that has the descriptors, and how often it was called.

    KVM takes ioctls of a VM from the process that made it alone, and fails with EIO elsewhere.
    """

    #: The calls that went through ``ioctl`` of this module, by request. Two threads at once may
    #: lose one.
    calls: dict[int, int]

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        """Call ioctl(2); a negative result is a failure, and ``errno`` has its number.

        *argument* is a pointer of this process. A port of another process copies the structure
        there and back, by the size and direction in *request*, and whatever its ``addr`` points to.
        """
        ...

    @property
    def errno(self) -> int:
        """The error number of the last call of this thread that failed."""
        ...


class LocalPort:
    """The port of this process: libc's ioctl."""

    def __init__(self) -> None:
        """Begin to count."""
        self.calls: dict[int, int] = {}
        # The C function itself: a method around it would cost as much as some calls do.
        self.ioctl: Callable[[int, int, CData], int] = libc.ioctl

    @property
    def errno(self) -> int:
        """The error number of the last call of this thread that failed (``IoctlPort``)."""
        number: int = ffi.errno
        return number


LOCAL: Final = LocalPort()

#: Requests that fail with EINTR if a signal waits (mm_take_all_locks in linux/mm/mmap.c): at a
#: reset, the end of a child for example.
_INTERRUPTIBLE: Final = frozenset((abi.CREATE_VM, abi.CREATE_VCPU, abi.SET_USER_MEMORY_REGION))
#: Number of times that such a call is made again.
_TRIES: Final = 100


def ioctl(port: IoctlPort, fd: int, request: int, argument: CData = 0) -> int:
    """Call ioctl(2) through *port*, count it, and return its result, 0 or more.

    *argument* is cdata, or a number where the call takes one.

    Raises:
        MachineError: the call failed; its message names the request.
    """
    port.calls[request] = port.calls.get(request, 0) + 1
    pointer = ffi.cast("void *", argument) if isinstance(argument, int) else argument
    result = port.ioctl(fd, request, pointer)
    if request in _INTERRUPTIBLE:
        for _ in range(_TRIES):
            if result >= 0 or port.errno not in (errno.EINTR, errno.EAGAIN):
                break
            result = port.ioctl(fd, request, pointer)
    if result < 0:
        code = port.errno
        name = abi.names().get(request, f"ioctl {request:#x}")
        raise MachineError(f"{name}: {os.strerror(code)}", code)
    return result


def set_attribute(port: IoctlPort, fd: int, group: int, attribute: int, value: CData) -> None:
    """Call KVM_SET_DEVICE_ATTR for a device or a vCPU; *value* is a pointer.

    Raises:
        MachineError: the call failed.
    """
    request = ffi.new("struct kvm_device_attr *")
    request.group, request.attr = group, attribute
    request.addr = int(ffi.cast("uintptr_t", value))
    ioctl(port, fd, abi.SET_DEVICE_ATTR, request)
