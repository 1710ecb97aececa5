"""Threads of a VMM whose ptrace requests are recorded; no thread is traced."""

import signal
import struct
from collections.abc import Callable

from gdbstub.foreign import injection, ptrace
from gdbstub.foreign.injection import Gadgets
from gdbstub.foreign.ptrace import Broken, Gone, Tracee
from gdbstub.foreign.vcpu_thread import VcpuThread
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData

SI_TKILL, SI_TIMER = -6, -2  # signal.h
TKILL, RT_TGSIGQUEUEINFO = 130, 240
CONT, DETACH, SYSCALL, INTERRUPT, LISTEN = 7, 17, 24, 0x4207, 0x4208
#: Requests that read or write something of a stopped thread.
QUIET = frozenset((0x4204, 0x4205, 0x420A, 0x420B, 0x420E))
PC, FD = 0x1000, 9
GADGETS = Gadgets(0x2000, 0x3000)

INTERRUPTED = ptrace.EVENT_STOP << 16 | signal.SIGTRAP << 8 | 0x7F
GROUP_STOP = ptrace.EVENT_STOP << 16 | signal.SIGSTOP << 8 | 0x7F
EXECUTED = ptrace.EVENT_EXEC << 16 | signal.SIGTRAP << 8 | 0x7F
AT_SYSTEM_CALL = ptrace.SYSCALL_STOP << 8 | 0x7F


def delivery(signum: int) -> int:
    """The status of a stop before a signal is delivered."""
    return signum << 8 | 0x7F


def siginfo(signum: int, code: int = SI_TKILL, value: int = 0) -> bytes:
    """``siginfo_t`` of a signal."""
    return struct.pack("<iii4xiiQ", signum, 0, code, 0, 0, value).ljust(128, b"\0")


class RecordedTracee(Tracee):
    """A thread that has just left KVM_RUN; the requests are recorded."""

    def __init__(self, tid: int) -> None:
        super().__init__(tid)
        self.asked: list[tuple[int, int]] = []
        self.info = siginfo(signal.SIGUSR1)
        self.sent: list[tuple[bytes, int]] = []
        self.gone = False
        self._regs.regs[0] = -4 & (1 << 64) - 1
        self._regs.regs[1], self._regs.regs[8] = abi.RUN, ptrace.IOCTL
        self._regs.pc = PC + 4
        self._regs.sp = 1 << 20

    def _ptrace(self, request: int, address: int = 0, data: int = 0) -> int:
        if self.gone:
            raise Gone(f"thread {self.tid} has ended, or runs")
        if request not in QUIET:
            self.asked.append((request, data))
        return 0

    def make_call(self, regs: CData, address: int, data: bytearray) -> Broken:
        """The first stop comes before its entry, as ``wait_for`` says."""
        self.set_registers(regs)
        self.resume(to_syscall=True)
        return Broken(True, injection.wait_for(self.tid))

    def siginfo(self) -> bytes:
        return self.info

    def send(self, info: bytes, process: int) -> None:
        self.sent.append((info, process))


class Text:
    """The VMM's memory: an svc everywhere."""

    def read(self, address: int, length: int) -> bytes:
        return (bytes.fromhex("010000d4") * length)[:length]

    def write(self, address: int, data: bytes) -> int:
        return len(data)


def vcpu_thread(tid: int = 7) -> tuple[VcpuThread, RecordedTracee]:
    tracee = RecordedTracee(tid)
    return VcpuThread(tracee, Text(), GADGETS, FD), tracee


def raising(error: Exception) -> Callable[[int, int], None]:
    def handler(_tid: int, _status: int) -> None:
        raise error

    return handler


class Stops:
    """A tracer of a launch, of whose other thread each look finds a group-stop."""

    def __init__(self, stopped: Callable[[int, int], None], _anything_runs: object) -> None:
        self._stopped = stopped
        self._looks = 0

    def call(self, _function: object) -> None:
        pass

    def take_all(self) -> None:
        self._looks += 1
        assert self._looks < 5
        self._stopped(8, GROUP_STOP)
