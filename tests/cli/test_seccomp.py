"""The filter of system calls, run by an interpreter of the few BPF instructions that it has."""

import errno
import struct

import pytest

from gdbstub.cli.serving import seccomp
from gdbstub.cli.serving.seccomp import (
    ALLOWED,
    AUDIT_ARCH_AARCH64,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
)

#: Numbers of include/uapi/asm-generic/unistd.h that a stub has no use for.
REFUSED = {
    **{"execve": 221, "execveat": 281, "ptrace": 117, "socket": 198, "connect": 203, "bind": 200},
    **{"listen": 201, "kill": 129, "mount": 40, "unshare": 97, "setns": 268, "bpf": 280},
    **{"process_vm_writev": 271, "init_module": 105, "kexec_load": 104, "keyctl": 219},
    **{"mkdirat": 34, "renameat2": 276, "symlinkat": 36, "fchmodat": 53, "truncate": 45},
    **{"openat2": 437, "io_uring_setup": 425, "userfaultfd": 282, "perf_event_open": 241},
    **{"setuid": 146, "chroot": 51, "reboot": 142, "open_by_handle_at": 265, "pidfd_getfd": 438},
}


def run(
    number: int,
    *arguments: int,
    arch: int = AUDIT_ARCH_AARCH64,
    unlink: bool = False,
    in_lab: bool = False,
    child: int = 0,
) -> int:
    """Return the filter's verdict on one call."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(*arguments, *(0,) * 6)[:6])
    code = seccomp.program(unlink=unlink, in_lab=in_lab, child=child)
    at, word = 0, 0
    for _ in range(len(code) // 8):
        operation, if_true, if_false, value = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if operation == 0x20:
            (word,) = struct.unpack_from("=I", data, value)
        elif operation == 0x15:
            at += if_true if word == value else if_false
        elif operation == 0x45:
            at += if_true if word & value else if_false
        else:
            assert operation == 0x06
            return int(value)
    raise AssertionError("the program does not return")


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_stub_needs_is_allowed(name: str) -> None:
    assert run(ALLOWED[name]) == RET_ALLOW


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_need_is_refused(name: str) -> None:
    assert run(REFUSED[name], 2**64 - 1, 2**64 - 1) == RET_ERRNO | errno.EPERM


def test_files_that_exist_are_opened_to_read_only() -> None:
    assert run(seccomp.OPENAT, 0, 0, 0o2000000) == RET_ALLOW  # O_CLOEXEC
    for flags in (0o1, 0o2, 0o101, 0o1000, 0o2001, 0o2000102, 0o201):
        assert run(seccomp.OPENAT, 0, 0, flags) == RET_ERRNO | errno.EACCES
        assert run(seccomp.OPENAT, 0, 0, flags, in_lab=True) == RET_ALLOW


def test_new_files_are_made_and_in_the_lab_fifos() -> None:
    assert run(seccomp.OPENAT, 0, 0, 0o2000301) == RET_ALLOW  # O_WRONLY, O_CREAT, O_EXCL
    for number in seccomp.IN_LAB:
        assert run(number) == RET_ERRNO | errno.EPERM
        assert run(number, in_lab=True) == RET_ALLOW


def test_threads_are_made_and_no_processes() -> None:
    assert run(seccomp.CLONE, 0x3D0F00) == RET_ALLOW  # pthread_create's
    assert run(seccomp.CLONE, 0x11) == RET_ERRNO | errno.EPERM  # fork's: SIGCHLD
    assert run(seccomp.CLONE3) == RET_ERRNO | errno.ENOSYS


def test_only_a_stub_with_a_socket_in_the_file_system_removes_files() -> None:
    assert run(seccomp.UNLINKAT) == RET_ERRNO | errno.EPERM
    assert run(seccomp.UNLINKAT, unlink=True) == RET_ALLOW


def test_a_stub_with_a_script_awaits_and_kills_that_and_nothing_else() -> None:
    for number in seccomp.WITH_CHILD:
        assert run(number) == RET_ERRNO | errno.EPERM
        assert run(number, child=1234) == RET_ALLOW
    for target in (1234, 2**64 - 1234, 2**32 - 1234):
        assert run(seccomp.KILL, target, 9, child=1234) == RET_ALLOW
        assert run(seccomp.KILL, target, 9) == RET_ERRNO | errno.EPERM
    for target in (1, 1235, 2**64 - 1, 0, 2**64 - 1235):
        assert run(seccomp.KILL, target, 9, child=1234) == RET_ERRNO | errno.EPERM
    assert run(seccomp.CLONE, 0x11, child=1234) == RET_ERRNO | errno.EPERM
    assert run(REFUSED["execve"], child=1234) == RET_ERRNO | errno.EPERM


def test_another_architectures_calls_end_the_process() -> None:
    assert run(ALLOWED["read"], arch=0x40000028) == RET_KILL_PROCESS


def test_no_number_stands_twice() -> None:
    special = {seccomp.CLONE, seccomp.CLONE3, seccomp.OPENAT, seccomp.UNLINKAT, seccomp.KILL}
    special |= {*seccomp.WITH_CHILD}
    assert len({*ALLOWED.values()}) == len(ALLOWED)
    assert not special & {*ALLOWED.values()}
    assert not {*REFUSED.values()} & {*ALLOWED.values()}
