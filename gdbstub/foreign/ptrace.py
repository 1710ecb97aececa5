"""ptrace(2) and a few other Linux calls on threads of another process, on arm64.

All calls on a thread must come from the one thread that has seized it. Nothing is known of KVM.
Source: ptrace(2), linux/include/uapi/linux/ptrace.h, linux/arch/arm64/kernel/ptrace.c.
"""

import errno
import os
import platform
import signal
import struct
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, cast

from gdbstub.errors import InputError, MachineError
from gdbstub.foreign import cdef
from gdbstub.kvm.abi import CData
from gdbstub.kvm.abi import ffi as core_ffi
from gdbstub.kvm.native import core

ffi: Final[CData] = cdef.ffi


class _Libc(Protocol):
    def syscall(self, number: int, a: int, b: int, c: int, d: int, e: int, f: int, /) -> int:
        """Call a system call by its number; -1 means failure, with ``ffi.errno``."""
        ...


_libc: Final = cast("_Libc", ffi.dlopen(None))

# System calls of arm64 by number (linux/include/uapi/asm-generic/unistd.h).
IOCTL: Final = 29
MPROTECT: Final = 226
RESTART_SYSCALL: Final = 128
_PTRACE: Final = 117
_TKILL: Final = 130
_RT_TGSIGQUEUEINFO: Final = 240
_WAIT4: Final = 260
_PIDFD_GETFD: Final = 438
_PRCTL: Final = 167
_KCMP: Final = 272
_PR_SET_PDEATHSIG: Final = 1
_KCMP_FILE: Final = 0

# Requests of ptrace.
_CONT: Final = 7
_DETACH: Final = 17
_SYSCALL: Final = 24
_GETREGSET: Final = 0x4204
_SETREGSET: Final = 0x4205
_SETOPTIONS: Final = 0x4200
_GETSIGINFO: Final = 0x4202
_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_LISTEN: Final = 0x4208
_GETSIGMASK: Final = 0x420A
_SETSIGMASK: Final = 0x420B
_GET_SYSCALL_INFO: Final = 0x420E

_NT_PRSTATUS: Final = 1
_NT_PRFPREG: Final = 2
_NT_ARM_HW_BREAK: Final = 0x402
_NT_ARM_SVE: Final = 0x405

O_TRACESYSGOOD: Final = 1
O_TRACECLONE: Final = 1 << 3
O_TRACEEXEC: Final = 1 << 4
O_SUSPEND_SECCOMP: Final = 1 << 21

#: ``status >> 16`` of a stop by PTRACE_INTERRUPT, or of a group-stop.
EVENT_STOP: Final = 128
#: ``status >> 16`` of a stop after execve.
EVENT_EXEC: Final = 4
#: The signal of a system call's stop, with O_TRACESYSGOOD.
SYSCALL_STOP: Final = 5 | 0x80
SYSCALL_ENTRY: Final = 1
#: Result of a system call that goes on by restart_syscall(2): -ERESTART_RESTARTBLOCK.
RESTARTS: Final = -516

#: waitpid(2): children of any kind, of the calling thread alone.
_WAIT_OPTIONS: Final = 0x40000000 | 0x20000000
_WNOHANG: Final = 1

#: Signals by which a thread hears of its own instruction, before it goes on.
SYNCHRONOUS: Final = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS)
)
_GROUP_STOPS: Final = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))

#: ``siginfo_t``: its size, and its fields si_signo, si_errno and si_code.
_SIGINFO_SIZE: Final = 128
_SIGINFO: Final = struct.Struct("<iii")
#: si_code of tkill(2). No process but the sender may send a signal with it, or with one from 0 on.
_SI_TKILL: Final = -6

#: ``struct user_hwdebug_state`` with one breakpoint: address and control.
_BREAKPOINT: Final = struct.Struct("<8xQI4x")
#: DBGBCR_EL1: enabled, at EL0, all of an instruction's bytes.
_ENABLED: Final = 1 | 2 << 1 | 0xF << 5

#: The part of a register that an int is passed in; what is above it is the compiler's.
INT: Final = (1 << 32) - 1
#: ``struct user_sve_header``: the size with what follows it, and flags.
_SVE_HEADER: Final = struct.Struct("<I8xH2x")
_SVE_PT_REGS_SVE: Final = 1

_REGS_SIZE: Final[int] = ffi.sizeof("struct user_pt_regs")

#: A mask of all signals: arm64 has 64.
ALL_SIGNALS: Final = (1 << 64) - 1


class Gone(MachineError):
    """Thread or process that has ended."""

    def __init__(self, text: str) -> None:
        super().__init__(text, errno.ESRCH)


class SyscallStop(NamedTuple):
    """A stop at the entry to a system call, or at its exit."""

    entry: bool
    #: Number and first arguments, at the entry.
    number: int = 0
    arguments: tuple[int, ...] = ()
    #: Return value, at the exit.
    result: int = 0


class Broken(NamedTuple):
    """A system call that another stop of its thread has come before, or into."""

    #: True if it is still to be entered.
    before: bool
    #: Of waitpid.
    status: int


def call(number: int, *arguments: int) -> int:
    """Call a system call of this process.

    Raises:
        OSError: it failed.
    """
    a, b, c, d, e, f = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    result = _libc.syscall(number, a, b, c, d, e, f)
    if result == -1:
        code = ffi.errno
        raise OSError(code, os.strerror(code))
    return result


def pidfd_getfd(pid: int, fd: int) -> int:
    """Duplicate descriptor *fd* of process *pid* into this one.

    Raises:
        OSError: this process may not, or there is no such descriptor.
    """
    pidfd = os.pidfd_open(pid)
    try:
        return call(_PIDFD_GETFD, pidfd, fd)
    finally:
        os.close(pidfd)


def same_file(pid: int, fd: int, other: int) -> bool:
    """Return True if two descriptors of process *pid* are copies; False if that is not known."""
    if platform.machine() != "aarch64":  # the number is another call's
        return False
    try:
        return call(_KCMP, pid, pid, _KCMP_FILE, fd, other) == 0
    except OSError:
        return False


def end_with_parent(parent: int) -> None:
    """Get SIGTERM when the process *parent* ends, of which this one is a child."""
    call(_PRCTL, _PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before the call
        os.kill(os.getpid(), signal.SIGTERM)


def signal_of(status: int) -> int:
    """Return the signal that a stopped thread is about to get, by its *status*; 0: none."""
    signum = status >> 8 & 0xFF
    return 0 if status >> 16 or signum == SYSCALL_STOP else signum


def is_group_stop(status: int) -> bool:
    """Return True if a thread has stopped because all threads of its process have."""
    return status >> 16 == EVENT_STOP and (status >> 8 & 0xFF) in _GROUP_STOPS


def wait(tid: int = -1, *, block: bool = True) -> tuple[int, int] | None:
    """Wait for a stop or the end of a thread that the calling thread traces; its id and status.

    None: a signal has interrupted the wait, or there is nothing without *block*.

    Raises:
        Gone: the calling thread traces no such thread.
    """
    status = ffi.new("int *")
    address = int(ffi.cast("uintptr_t", status))
    options = _WAIT_OPTIONS | (0 if block else _WNOHANG)
    try:
        found = call(_WAIT4, tid, address, options, 0)
    except OSError as error:
        if error.errno == errno.EINTR:
            return None
        raise Gone("no thread is traced") from None
    return (found, status[0]) if found else None


class Tracee:
    """One thread that the calling thread traces. Stopped, but for ``interrupt``."""

    def __init__(self, tid: int) -> None:
        self.tid = tid
        #: True if its last stop was one of all threads of its process, by a signal.
        self.in_group_stop = False
        self._regs: CData = ffi.new("struct user_pt_regs *")
        self._regs_iovec: CData = _iovec(self._regs, _REGS_SIZE)
        self._info: CData = ffi.new("struct ptrace_syscall_info *")
        self._info_address = int(ffi.cast("uintptr_t", self._info))
        self._call: CData = core_ffi.new("struct tracee *", {"tid": tid, "size": _REGS_SIZE})
        self._mask: CData = ffi.new("uint64_t *")
        self._mask_address = int(ffi.cast("uintptr_t", self._mask))

    def _ptrace(self, request: int, address: int = 0, data: int = 0) -> int:
        try:
            return call(_PTRACE, request, self.tid, address, data)
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise Gone(f"thread {self.tid} has ended, or runs") from None
            what = f"ptrace request {request:#x} of thread {self.tid}: {error.strerror}"
            raise MachineError(what, error.errno or errno.EIO) from None

    def seize(self, options: int) -> None:
        """Begin to trace; the thread goes on.

        Raises:
            InputError: the kernel forbids it.
        """
        try:
            self._ptrace(_SEIZE, 0, options)
        except MachineError as error:
            if error.errno != errno.EPERM:
                raise
            raise InputError(
                f"thread {self.tid} may not be traced: another tracer has it, gdbstub is in "
                "a container, or a security module (SELinux, AppArmor) forbids it"
            ) from None

    def set_options(self, options: int) -> None:
        """Change the options that it was seized with."""
        self._ptrace(_SETOPTIONS, 0, options)

    def interrupt(self) -> None:
        """Make the thread stop with ``EVENT_STOP``, at once or when it is resumed next."""
        self._ptrace(_INTERRUPT)

    def resume(self, signum: int = 0, *, to_syscall: bool = False) -> None:
        """Resume, with *signum* delivered; stop at the next system call's entry or exit or not."""
        self._ptrace(_SYSCALL if to_syscall else _CONT, 0, signum)

    def siginfo(self) -> bytes:
        """Read the ``siginfo_t`` of the signal that it is about to get."""
        info = ffi.new("char[]", _SIGINFO_SIZE)
        self._ptrace(_GETSIGINFO, 0, int(ffi.cast("uintptr_t", info)))
        return bytes(ffi.buffer(info))

    def send(self, info: bytes, process: int) -> None:
        """Send it the signal of *info* (``siginfo_t``), unless it has ended; *process* has it.

        It says the same again where the kernel lets us say that: a timer's value, and a queued one.
        """
        signum, _, code = _SIGINFO.unpack_from(info)
        with suppress(ProcessLookupError):
            if code < 0 and code != _SI_TKILL:
                data = ffi.from_buffer(info)
                with suppress(PermissionError, BlockingIOError):
                    address = int(ffi.cast("uintptr_t", data))
                    call(_RT_TGSIGQUEUEINFO, process, self.tid, signum, address)
                    return
            call(_TKILL, self.tid, signum)

    def listen(self) -> None:
        """Let a thread in a group-stop stay in it."""
        self._ptrace(_LISTEN)

    def detach(self, signum: int = 0) -> None:
        """End tracing; the thread goes on, with *signum* delivered."""
        self._ptrace(_DETACH, 0, signum)

    def registers(self) -> CData:
        """Read ``struct user_pt_regs`` into a buffer that the next call overwrites."""
        self._ptrace(_GETREGSET, _NT_PRSTATUS, self._regs_iovec[1])
        return self._regs

    def set_registers(self, regs: CData) -> None:
        """Write ``struct user_pt_regs``."""
        if regs != self._regs:
            self._regs[0] = regs[0]
        self._ptrace(_SETREGSET, _NT_PRSTATUS, self._regs_iovec[1])

    def make_call(self, regs: CData, address: int, data: bytearray) -> int | Broken:
        """Have it make the system call that *regs* (``struct user_pt_regs``) lead to at once.

        *data* is at *address* in its memory during the call, and has then what that has made of it.
        Returns the result as the kernel gives it, or what has come instead.

        Raises:
            Gone: it has ended, or runs.
            MachineError: it made another call, or has no memory there.
        """
        made, pointer = self._call, core_ffi.from_buffer("char[]", data)
        made.registers = core_ffi.cast("uint64_t *", int(ffi.cast("uintptr_t", regs)))
        made.address, made.data, made.length = address, pointer, len(data)
        error = core().tracee_call(made)
        if not error:
            return int(made.result)
        if error in (core().TRACEE_BEFORE, core().TRACEE_WITHIN):
            return Broken(error == core().TRACEE_BEFORE, made.status)
        if error == core().TRACEE_OTHER:
            raise MachineError(f"thread {self.tid} made a system call of its own")
        if error in (errno.ESRCH, errno.ECHILD):
            raise Gone(f"thread {self.tid} has ended, or runs")
        raise MachineError(f"a call in thread {self.tid}: {os.strerror(error)}", error)

    def break_at(self, address: int | None) -> None:
        """Stop with SIGTRAP before the instruction at *address*, by a comparator; None: no more.

        Raises:
            MachineError: the host has no comparator to spare.
        """
        place = (0, 0) if address is None else (address, _ENABLED)
        state = ffi.from_buffer(_BREAKPOINT.pack(*place))
        iovec = _iovec(state, _BREAKPOINT.size)
        self._ptrace(_SETREGSET, _NT_ARM_HW_BREAK, iovec[1])

    def vectors(self) -> CData:
        """Read ``struct user_fpsimd_state``."""
        state = ffi.new("struct user_fpsimd_state *")
        iovec = _iovec(state, ffi.sizeof("struct user_fpsimd_state"))
        self._ptrace(_GETREGSET, _NT_PRFPREG, iovec[1])
        return state

    def scalable_vectors(self) -> bytes:
        """Read the vectors of SVE, which a system call discards; empty if they are not in use."""
        try:
            size, flags = _SVE_HEADER.unpack(self._regset(_NT_ARM_SVE, _SVE_HEADER.size))
        except MachineError as error:
            if error.errno != errno.EINVAL:
                raise
            return b""  # the host has none
        return self._regset(_NT_ARM_SVE, size) if flags & _SVE_PT_REGS_SVE else b""

    def set_scalable_vectors(self, vectors: bytes) -> None:
        """Write the vectors of SVE, as ``scalable_vectors`` has read them."""
        iovec = _iovec(ffi.from_buffer(vectors), len(vectors))
        self._ptrace(_SETREGSET, _NT_ARM_SVE, iovec[1])

    def _regset(self, kind: int, size: int) -> bytes:
        state = ffi.new("char[]", size)
        iovec = _iovec(state, size)
        self._ptrace(_GETREGSET, kind, iovec[1])
        return bytes(ffi.buffer(state))

    def signal_mask(self) -> int:
        """Read the mask of blocked signals."""
        self._ptrace(_GETSIGMASK, 8, self._mask_address)
        mask: int = self._mask[0]
        return mask

    def set_signal_mask(self, mask: int) -> None:
        """Write the mask of blocked signals."""
        self._mask[0] = mask
        self._ptrace(_SETSIGMASK, 8, self._mask_address)

    def syscall_stop(self) -> SyscallStop:
        """Read what a stop at a system call is about."""
        info = self._info
        self._ptrace(
            _GET_SYSCALL_INFO, ffi.sizeof("struct ptrace_syscall_info"), self._info_address
        )
        if info.op == SYSCALL_ENTRY:
            number, args = info.entry.nr, info.entry.args
            if number == IOCTL:  # two ints: the kernel takes no more of these registers
                return SyscallStop(True, number, (args[0] & INT, args[1] & INT, args[2]))
            return SyscallStop(True, number, (args[0], args[1], args[2]))
        return SyscallStop(False, result=info.exit.rval)


def _iovec(buffer: CData, length: int) -> tuple[CData, int]:
    """Return a ``struct iovec`` over *buffer* and its address."""
    iovec = ffi.new("struct iovec *", [int(ffi.cast("uintptr_t", buffer)), length])
    return iovec, int(ffi.cast("uintptr_t", iovec))
