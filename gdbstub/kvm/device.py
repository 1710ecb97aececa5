"""The KVM device, /dev/kvm: opened, or refused with the remedy. It makes no VM.

Source: linux/Documentation/virt/kvm/api.rst, 4.1 (KVM_GET_API_VERSION).
"""

import os
import stat
from typing import Final

from gdbstub.errors import InputError, MachineError
from gdbstub.kvm import abi
from gdbstub.kvm.port import LOCAL, ioctl

DEVICE: Final = "/dev/kvm"
API_VERSION: Final = 12

#: A group's permission to read and write.
_GROUP_MAY: Final = stat.S_IRGRP | stat.S_IWGRP


def open_kvm(path: str = DEVICE) -> int:
    """Open the KVM device.

    Raises:
        InputError: it is missing, this user may not open it, or it is another device.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist: this kernel has no KVM, or it is switched off; use --host lab"
        ) from None
    except PermissionError:
        raise InputError(
            f"{path} is not for this user: {_remedy(path)}, or use --host lab"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        version = ioctl(LOCAL, fd, abi.GET_API_VERSION)
    except MachineError:
        version = None
    if version != API_VERSION:
        os.close(fd)
        raise InputError(f"{path} is not a KVM device of API version {API_VERSION}")
    return fd


def _remedy(path: str) -> str:
    """Say how to get access to a device that others have access to."""
    import grp  # not at the top: nearly every start can do without

    status = os.stat(path)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    if status.st_mode & _GROUP_MAY == _GROUP_MAY:
        return f"join the group {group!r} (usermod -aG {group} $USER, then log in again)"
    return f"let the group {group!r} use it (as root: chmod g+rw {path}) and join that"
