"""System calls in a stopped thread of another process, made by that thread.

At no moment does the thread's way depend on its tracer: if that ends, the thread returns by a
signal frame to the context that it was stopped in. Its signals are blocked meanwhile.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from gdbstub.errors import MachineError
from gdbstub.foreign import ptrace, sigframe
from gdbstub.foreign.memory import VmmMemory
from gdbstub.foreign.ptrace import Tracee, ffi
from gdbstub.kvm.abi import CData

#: Bytes below the stack pointer for the arguments of calls, and below that for the frame.
SCRATCH_SIZE: Final = 16384
_FRAME_SPACE: Final = 8192
#: PSTATE.BTYPE, which a thread has that was stopped between an indirect branch and its target.
_BTYPE: Final = 3 << 10


class Gadgets(NamedTuple):
    """Addresses of instructions in the VMM's own text."""

    #: ``svc #0; ret``.
    syscall: int
    #: ``mov x8, #139; svc #0``.
    sigreturn: int


class ProcessMemory:
    """Memory of another process, by its virtual addresses (/proc/PID/mem)."""

    def __init__(self, pid: int) -> None:
        """Open it.

        Raises:
            OSError: this process may not.
        """
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def read(self, address: int, length: int) -> bytes:
        """Read; short where the memory ends.

        Raises:
            OSError: nothing can be read at *address*.
        """
        with _any_address():
            return os.pread(self._fd, length, address)

    def write(self, address: int, data: bytes) -> int:
        """Write; return how much was written.

        Raises:
            OSError: nothing can be written at *address*.
        """
        with _any_address():
            return os.pwrite(self._fd, data, address)

    def close(self) -> None:
        """Close it. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextlib.contextmanager
def _any_address() -> Iterator[None]:
    """Have an address that is no offset in a file fail as one at which nothing is."""
    try:
        yield
    except OverflowError:
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from None


class Injection:
    """One stopped thread, from the first system call to ``end``."""

    def __init__(
        self,
        tracee: Tracee,
        memory: VmmMemory,
        gadgets: Gadgets,
        context: CData,
        *,
        anywhere: bool = False,
    ) -> None:
        """Put the thread's *context* (``struct user_pt_regs``) into a frame, and block signals.

        One that is stopped *anywhere*, not at a system call, may have vectors of SVE.
        """
        self._tracee = tracee
        self._memory = memory
        self._scalable = tracee.scalable_vectors() if anywhere else b""
        self._gadgets = gadgets
        #: True from ``begin`` to ``end``: the thread's context is the frame's, not its own.
        self.active = False
        #: The thread's own mask of blocked signals.
        self.mask: int = tracee.signal_mask()
        self._regs: CData = ffi.new("struct user_pt_regs *", context[0])
        # The frame is the lowest: its write has the kernel make a stack grow that is too short.
        frame = (context.sp - SCRATCH_SIZE - _FRAME_SPACE) & -16
        self.scratch: int = frame + _FRAME_SPACE
        try:
            memory.write(frame, sigframe.encode(context, tracee.vectors(), self.mask))
        except OSError as error:
            raise MachineError(
                f"the stack of thread {tracee.tid} has no room for a signal frame at {frame:#x}, "
                f"which calls in the VMM need: {error.strerror}"
            ) from None
        self._regs.sp = frame
        self._regs.pstate &= ~_BTYPE  # else the calls' instruction may be no target for a branch
        self._regs.regs[30] = gadgets.sigreturn
        self.begin()

    def begin(self) -> None:
        """Make the thread ready for calls: its context is the frame's."""
        # In this order: from here on, an end of the tracer leads to the frame's mask.
        self._regs.pc = self._gadgets.sigreturn
        self._tracee.set_registers(self._regs)
        self._tracee.set_signal_mask(ptrace.ALL_SIGNALS)
        self.active = True

    def end(self, context: CData) -> None:
        """Give the thread its mask and *context* back. ``begin`` may follow, if it has not run."""
        self._tracee.set_signal_mask(self.mask)
        self._tracee.set_registers(context)
        if self._scalable:
            self._tracee.set_scalable_vectors(self._scalable)
        self.active = False

    def call(self, number: int, *arguments: int, data: bytearray | None = None) -> int:
        """Make a system call; a result from -4095 to -1 is a negated error number.

        *data* is at ``scratch`` meanwhile, and has then what the call has made of it.

        Raises:
            Gone: the thread has ended.
            MachineError: it has no memory there.
        """
        regs = self._regs
        for index, argument in enumerate(arguments):
            regs.regs[index] = argument
        regs.regs[8] = number
        regs.pc = self._gadgets.syscall
        data = bytearray() if data is None else data
        made = self._tracee.make_call(regs, self.scratch, data)
        if isinstance(made, int):
            return made
        result = self._to_syscall_stop(made.status, entry=made.before)
        if made.before:
            result = self._to_syscall_stop(entry=False)
        data[:] = self._memory.read(self.scratch, len(data))
        return result

    def _to_syscall_stop(self, status: int | None = None, *, entry: bool) -> int:
        """Resume to the next entry, or to the exit and its result; *status* has come before that.

        Not by PTRACE_SINGLESTEP, which would take one stop instead of two: its SIGTRAP would end
        the VMM if the tracer were killed before it took the stop. That of a system call's stop is
        no signal that there is.
        """
        signum = 0
        while True:
            if status is None:
                self._tracee.resume(signum, to_syscall=True)
                status = wait_for(self._tracee.tid)
            check_stopped(self._tracee.tid, status)
            if status >> 8 == ptrace.SYSCALL_STOP:
                stop = self._tracee.syscall_stop()
                if stop.entry is not entry:
                    raise MachineError(f"thread {self._tracee.tid} made a system call of its own")
                return stop.result
            # Else an interrupt that was asked for before, or a SIGSTOP, which no mask blocks. The
            # stop of all threads that follows it waits until this one goes on by itself.
            signum = ptrace.signal_of(status)
            self._tracee.in_group_stop |= ptrace.is_group_stop(status)
            status = None


def wait_for(tid: int) -> int:
    """Wait for a stop of one thread; return its status.

    Raises:
        Gone: the thread has ended.
    """
    while (found := ptrace.wait(tid)) is None:
        pass
    check_stopped(tid, found[1])
    return found[1]


def check_stopped(tid: int, status: int) -> None:
    """Check that *status* of waitpid is not the thread's end.

    Raises:
        Gone: it is.
    """
    if os.WIFEXITED(status) or os.WIFSIGNALED(status):
        raise ptrace.Gone(f"thread {tid} has ended")
