"""Seccomp filter of a stub that serves: the system calls that it needs from then on.

It is a BPF program for arm64 Linux. Source: linux/Documentation/userspace-api/seccomp_filter.rst,
include/uapi/linux/{seccomp,filter,audit}.h, and include/uapi/asm-generic/unistd.h.
"""

import errno
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

AUDIT_ARCH_AARCH64: Final = 0xC000_00B7

RET_KILL_PROCESS: Final = 0x8000_0000
RET_ERRNO: Final = 0x0005_0000
RET_ALLOW: Final = 0x7FFF_0000

# Offsets in struct seccomp_data; of an argument, its low word.
_NR, _ARCH, _ARGS = 0, 4, 16
# BPF: load a word, jump if equal, jump if any bit is set, return.
_LD, _JEQ, _JSET, _RET = 0x20, 0x15, 0x45, 0x06

_CLONE_THREAD: Final = 0x0001_0000
# arm64 has the generic values of O_CREAT and O_EXCL, and of O_WRONLY, O_RDWR, O_TRUNC, O_APPEND.
_O_CREAT, _O_EXCL = 0o100, 0o200
_O_WRITES: Final = 0o1 | 0o2 | _O_CREAT | 0o1000 | 0o2000

#: System calls that are allowed whatever their arguments are, the frequent ones first.
ALLOWED: Final = {
    "ioctl": 29, "futex": 98, "ppoll": 73, "epoll_pwait": 22, "read": 63, "write": 64,
    "recvfrom": 207, "sendto": 206, "sendmsg": 211, "recvmsg": 212, "readv": 65, "writev": 66,
    "clock_gettime": 113, "clock_nanosleep": 115, "nanosleep": 101, "gettimeofday": 169,
    "epoll_ctl": 21, "epoll_create1": 20, "eventfd2": 19, "pipe2": 59, "pselect6": 72,
    "accept": 202, "accept4": 242, "shutdown": 210, "getsockopt": 209, "setsockopt": 208,
    "getsockname": 204, "getpeername": 205, "socketpair": 199,
    "close": 57, "close_range": 436, "dup": 23, "dup3": 24, "fcntl": 25, "lseek": 62,
    "fstat": 80, "newfstatat": 79, "statx": 291, "faccessat": 48, "faccessat2": 439,
    "readlinkat": 78, "getdents64": 61, "getcwd": 17, "pread64": 67, "fadvise64": 223,
    "mmap": 222, "munmap": 215, "mprotect": 226, "mremap": 216, "madvise": 233, "brk": 214,
    "ftruncate": 46, "fallocate": 47, "memfd_create": 279, "membarrier": 283, "fsync": 82,
    "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "rt_sigtimedwait": 137,
    "sigaltstack": 132, "rt_sigsuspend": 133, "restart_syscall": 128, "tgkill": 131,
    "set_robust_list": 99, "set_tid_address": 96, "rseq": 293, "sched_yield": 124,
    "sched_getaffinity": 123, "getpid": 172, "getppid": 173, "gettid": 178, "getuid": 174,
    "geteuid": 175, "getgid": 176, "getegid": 177, "uname": 160, "getrandom": 278,
    "getrusage": 165, "times": 153, "sysinfo": 179, "setitimer": 103, "getitimer": 102,
    "timerfd_create": 85, "timerfd_settime": 86, "prctl": 167, "prlimit64": 261,
    "exit": 93, "exit_group": 94,
}  # fmt: skip

CLONE: Final = 220
CLONE3: Final = 435
OPENAT: Final = 56
UNLINKAT: Final = 35
#: A stub in the lab hands its core file out by a FIFO: mknodat and mkdirat make it.
IN_LAB: Final = (33, 34)
#: A stub with a script, which is its child, waits for that: wait4, waitid, pidfd_open.
WITH_CHILD: Final = (260, 95, 434)
#: kill, by which the script's process group is ended with it.
KILL: Final = 129


class FilterInstruction(NamedTuple):
    """One BPF instruction: struct sock_filter."""

    code: int
    if_true: int
    if_false: int
    value: int


def _load(offset: int) -> FilterInstruction:
    return FilterInstruction(_LD, 0, 0, offset)


def _return(action: int) -> FilterInstruction:
    return FilterInstruction(_RET, 0, 0, action)


def instructions(*, unlink: bool, in_lab: bool, child: int = 0) -> Iterator[FilterInstruction]:
    """Yield the program; with *unlink* files may be removed, as a socket is at the end.

    Threads may be made, and no process. Files may be opened to read, and new ones to write, as a
    core file is; *in_lab*, any file that its user may write. The process *child* may be waited for
    and killed, with its group. What is not allowed fails with EPERM. Another architecture's call
    ends the process.
    """
    yield _load(_ARCH)
    yield FilterInstruction(_JEQ, 1, 0, AUDIT_ARCH_AARCH64)
    yield _return(RET_KILL_PROCESS)
    yield _load(_NR)
    more = [UNLINKAT] * (unlink or in_lab) + [*IN_LAB] * in_lab + [*WITH_CHILD] * bool(child)
    for number in (*ALLOWED.values(), *more):
        yield FilterInstruction(_JEQ, 0, 1, number)
        yield _return(RET_ALLOW)
    if child:
        yield FilterInstruction(_JEQ, 0, 5, KILL)
        yield _load(_ARGS)
        yield FilterInstruction(_JEQ, 1, 0, child)
        yield FilterInstruction(_JEQ, 0, 1, -child & 0xFFFF_FFFF)
        yield _return(RET_ALLOW)
        yield _return(RET_ERRNO | errno.EPERM)
    # Its flags are in memory, which a filter cannot read. The C library then calls clone.
    yield FilterInstruction(_JEQ, 0, 1, CLONE3)
    yield _return(RET_ERRNO | errno.ENOSYS)
    yield FilterInstruction(_JEQ, 0, 4, CLONE)
    yield _load(_ARGS)
    yield FilterInstruction(_JSET, 0, 1, _CLONE_THREAD)
    yield _return(RET_ALLOW)
    yield _return(RET_ERRNO | errno.EPERM)
    yield FilterInstruction(_JEQ, 0, 6, OPENAT)
    yield _load(_ARGS + 2 * 8)
    yield FilterInstruction(_JSET, 0, 3, 0 if in_lab else _O_WRITES)
    yield FilterInstruction(_JSET, 0, 1, _O_CREAT)
    yield FilterInstruction(_JSET, 1, 0, _O_EXCL)
    yield _return(RET_ERRNO | errno.EACCES)
    yield _return(RET_ALLOW)
    yield _return(RET_ERRNO | errno.EPERM)


def program(*, unlink: bool, in_lab: bool, child: int = 0) -> bytes:
    """Encode the program as an array of struct sock_filter."""
    rows = instructions(unlink=unlink, in_lab=in_lab, child=child)
    return b"".join(struct.pack("=HBBI", *each) for each in rows)
