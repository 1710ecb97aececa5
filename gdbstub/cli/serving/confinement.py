"""Confinement of a stub that has all that it needs: user, privileges, system calls.

A guest that is hostile, or a client, then has less to gain by a fault of the stub.
"""

import errno
import logging
import os
import sys
from typing import Final

from gdbstub.cli.serving import seccomp
from gdbstub.errors import MachineError
from gdbstub.kvm.abi import ffi, libc

_log = logging.getLogger("gdbstub.run")

#: User and group of a stub in the lab, where it is started as root: those that own nothing.
NOBODY: Final = 65534

# linux/prctl.h and linux/seccomp.h
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
#: Number of seccomp(2) on arm64.
_SECCOMP: Final = 277


def drop_root() -> None:
    """Become a user that owns nothing, if this is root. What is open stays open.

    Raises:
        MachineError: the kernel refuses.
    """
    if os.geteuid():
        return
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        raise MachineError(f"cannot become user {NOBODY}: {error.strerror}") from None


def confine(*, unlink: bool, in_lab: bool, child: int = 0) -> None:
    """Allow no new privileges and few system calls from here on, for all threads of the process.

    *unlink*, *in_lab* and *child* are as in ``seccomp.instructions``. On a kernel without seccomp,
    and on another architecture than arm64, a line of the log says that there is no filter.
    """
    sys.dont_write_bytecode = True  # a file that is written is renamed, which is refused
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        _log.warning("not confined: no_new_privs: %s", os.strerror(ffi.errno))
        return
    if os.uname().machine != "aarch64":
        _log.info("no filter of system calls: there is one for arm64 only")
        return
    code = seccomp.program(unlink=unlink, in_lab=in_lab, child=child)
    program = ffi.new("struct sock_fprog *", [len(code) // 8, ffi.from_buffer(code)])
    mode, flags = _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC
    if libc.syscall(_SECCOMP, mode, flags, program):
        number = ffi.errno
        why = "this kernel has none" if number in (errno.ENOSYS, errno.EINVAL) else ""
        _log.warning("no filter of system calls: %s", why or os.strerror(number))
