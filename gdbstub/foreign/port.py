"""The ioctl port of another process: its threads make the calls.

Structures are copied there and back by the size in the request's number.
Source: linux/include/uapi/asm-generic/ioctl.h.
"""

import contextlib
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from gdbstub.errors import MachineError
from gdbstub.foreign import ptrace
from gdbstub.foreign.injection import SCRATCH_SIZE
from gdbstub.foreign.tracer import Tracer
from gdbstub.foreign.vcpu_thread import VcpuThread
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi

_WORD: Final = 8
_ERRORS: Final = 4096
_ONE_REG: Final = frozenset((abi.GET_ONE_REG, abi.SET_ONE_REG))
#: ``struct kvm_one_reg``: id and addr.
_ONE_REG_STRUCTURE: Final = struct.Struct("<QQ")


class RemotePort:
    """Implements ``IoctlPort`` for the descriptors of a VMM.

    A vCPU's ioctls are made by its own thread, all others by the first that is stopped.
    """

    def __init__(self, tracer: Tracer, threads: Mapping[int, VcpuThread]) -> None:
        """*threads* are by the descriptors of their vCPUs."""
        self._tracer = tracer
        self._threads = threads
        self.calls: dict[int, int] = {}
        self.errno = 0
        # Thread that its VMM has kept, while it makes a call.
        self._borrowed: VcpuThread | None = None
        #: Number of system calls made in the VMM.
        self.injected = 0

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        """Call ioctl(2) in the VMM (``IoctlPort.ioctl``)."""
        if self._tracer.is_current:
            return self._ioctl(fd, request, argument)
        return self._tracer.call(lambda: self._ioctl(fd, request, argument))

    def syscall(self, number: int, *arguments: int) -> int:
        """Make a system call in the VMM by any stopped thread; on the tracer's thread.

        Returns a negated error number if it failed.

        Raises:
            MachineError: no thread is stopped.
        """
        try:
            return self._call(self._stopped(), number, *arguments)
        finally:
            self._give_back()

    def _call(
        self, thread: VcpuThread, number: int, *arguments: int, data: bytearray | None = None
    ) -> int:
        self.injected += 1
        with self._told(thread):
            return thread.call(number, *arguments, data=data)

    @contextlib.contextmanager
    def _told(self, thread: VcpuThread) -> Iterator[None]:
        """Tell of the end of a *thread* that a call of ours has waited for: nobody else does."""
        try:
            yield
        except ptrace.Gone:
            thread.end()
            self._tracer.tell_of_end(thread.tracee.tid)
            raise

    def _stopped(self) -> VcpuThread:
        for thread in self._threads.values():
            if thread.stopped and not thread.ended:
                return thread
        for thread in self._threads.values():
            if thread.out_of_guest and not thread.ended:
                with self._told(thread):
                    thread.stop_anywhere()
                self._borrowed = thread
                return thread
        raise MachineError("no vCPU of the VMM is stopped, or the VMM has ended")

    def _give_back(self) -> None:
        """Let a thread go on that its VMM has kept, and that was stopped for a call."""
        thread, self._borrowed = self._borrowed, None
        if thread is not None and not thread.ended:
            thread.go_back()

    def _ioctl(self, fd: int, request: int, argument: CData) -> int:
        try:
            return self._ioctl_of(fd, request, argument)
        finally:
            self._give_back()

    def _ioctl_of(self, fd: int, request: int, argument: CData) -> int:
        thread = self._threads.get(fd)
        if thread is None or not thread.stopped or thread.ended:
            thread = self._stopped()
        size = request >> 16 & 0x3FFF
        if not size:
            number = int(ffi.cast("uintptr_t", argument))
            return self._result(self._call(thread, ptrace.IOCTL, fd, request, number))
        if request in _ONE_REG:
            result = self._one_reg(thread, fd, request, argument)
        else:
            if request == abi.GET_REG_LIST:
                size += _WORD * argument.n
            if size > SCRATCH_SIZE:
                raise MachineError(f"ioctl {request:#x}: {size} bytes are too many")
            result = self._with_structure(thread, fd, request, argument, size)
        return self._result(result)

    def _one_reg(self, thread: VcpuThread, fd: int, request: int, argument: CData) -> int:
        """Copy ``struct kvm_one_reg`` and the value that its ``addr`` points to."""
        size = 1 << (argument.id >> 52 & 0xF)
        value = ffi.buffer(ffi.cast("char *", argument.addr), size)
        scratch = thread.scratch
        data = bytearray(_ONE_REG_STRUCTURE.pack(argument.id, scratch + _ONE_REG_STRUCTURE.size))
        data += value[:]
        result = self._call(thread, ptrace.IOCTL, fd, request, scratch, data=data)
        if request == abi.GET_ONE_REG and not -_ERRORS < result < 0:
            value[:] = data[_ONE_REG_STRUCTURE.size :]
        return result

    def _with_structure(
        self, thread: VcpuThread, fd: int, request: int, argument: CData, size: int
    ) -> int:
        structure = ffi.buffer(ffi.cast("char *", argument), size)
        data = bytearray(structure)
        result = self._call(thread, ptrace.IOCTL, fd, request, thread.scratch, data=data)
        # Whatever the direction says: some calls write what they only claim to read.
        structure[:] = data
        return result

    def _result(self, result: int) -> int:
        if -_ERRORS < result < 0:
            self.errno = -result
            return -1
        return result
