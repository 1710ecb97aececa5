"""Threads under ptrace as the kernel has them: signals sent once more, and vectors at a call."""

import signal
import struct
import subprocess
import sys

import pytest

from gdbstub.foreign import ptrace
from gdbstub.foreign.injection import Injection, ProcessMemory, wait_for
from gdbstub.foreign.process import VmmProcess
from gdbstub.foreign.ptrace import Tracee, ffi, signal_of, wait
from gdbstub.foreign.vcpu_thread import VcpuThread

pytestmark = pytest.mark.own_kvm

RT_SIGQUEUEINFO = 138
SI_QUEUE = -1
VALUE = 0x1234_5678_9ABC
GETPID, CLOCK_NANOSLEEP, RESTART_SYSCALL = 172, 115, 128
EVENT_STOP = ptrace.EVENT_STOP << 16 | signal.SIGTRAP << 8 | 0x7F

#: ``ptrue p0.b; mov z0.b, #5; b .`` in a process, or its last instruction alone.
VECTORS = """\
import ctypes, mmap, os
code = [0x2518E3E0, 0x2538C0A0] if open("/proc/cpuinfo").read().count(" sve ") else []
file = os.memfd_create("text")
os.write(file, b"".join(word.to_bytes(4, "little") for word in [*code, 0x14000000]))
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
text = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file, None)
print(len(code), flush=True)
ctypes.CFUNCTYPE(None)(text)()
"""
#: Sleeps for an hour, once it is given a byte.
SLEEPS = """\
import ctypes, sys
print(flush=True)
sys.stdin.buffer.read(1)
ctypes.CDLL(None).usleep(1 << 31)
"""
LOOP = bytes.fromhex("00000014")


def stop(tracee: Tracee) -> int:
    """The signal that a thread is about to get."""
    found = None
    while found is None:
        found = wait(tracee.tid)
    return signal_of(found[1])


def test_a_signal_that_is_sent_again_says_the_same() -> None:
    with subprocess.Popen(["sleep", "infinity"]) as process:
        tracee = Tracee(process.pid)
        tracee.seize(0)
        queued = struct.pack("<iii4xiiQ", signal.SIGRTMIN, 0, SI_QUEUE, 0, 0, VALUE).ljust(128)
        address = int(ffi.cast("uintptr_t", data := ffi.from_buffer(queued)))
        ptrace.call(RT_SIGQUEUEINFO, process.pid, signal.SIGRTMIN, address)
        del data
        assert stop(tracee) == signal.SIGRTMIN
        info = tracee.siginfo()
        assert struct.unpack_from("<Q", info, 24) == (VALUE,)
        tracee.resume()  # without it
        tracee.send(info, process.pid)
        assert stop(tracee) == signal.SIGRTMIN
        assert tracee.siginfo() == info
        process.kill()


def test_a_call_that_is_interrupted_for_one_of_ours_goes_on_where_it_was() -> None:
    """A sleep that is made again would take its whole time again, each time."""
    argv, pipe = [sys.executable, "-Sc", SLEEPS], subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline()
            vmm, memory = VmmProcess(process.pid), ProcessMemory(process.pid)
            tracee = Tracee(process.pid)
            tracee.seize(ptrace.O_TRACESYSGOOD)
            tracee.interrupt()
            assert stop(tracee) == 0
            thread = VcpuThread(tracee, memory, vmm.gadgets(memory))
            thread.kicked = True  # its system calls are traced
            assert thread.handle(EVENT_STOP) is None
            process.stdin.write(b"x")
            process.stdin.flush()
            called = 0
            while called != CLOCK_NANOSLEEP:
                status = wait_for(process.pid)
                called = tracee.syscall_stop().number
                assert thread.handle(status) is None
            for _ in range(2):
                thread.stop_anywhere()
                assert thread.call(GETPID) == process.pid
                thread.go_back()
            assert wait_for(process.pid) >> 8 == ptrace.SYSCALL_STOP
            stopped = tracee.syscall_stop()
            assert (stopped.entry, stopped.number) == (True, RESTART_SYSCALL)
            memory.close()
        finally:
            process.kill()


def test_a_call_leaves_the_vectors_of_a_thread_that_is_stopped_anywhere() -> None:
    """A VMM's copy of memory may be in the middle of them."""
    argv = [sys.executable, "-Sc", VECTORS]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        has_vectors = process.stdout.readline() != b"0\n"
        vmm, memory = VmmProcess(process.pid), ProcessMemory(process.pid)
        tracee = Tracee(process.pid)
        tracee.seize(ptrace.O_TRACESYSGOOD)
        tracee.interrupt()
        assert stop(tracee) == 0
        while memory.read(tracee.registers().pc, 4) != LOOP:
            tracee.resume()
            tracee.interrupt()  # not before: it would execute nothing
            assert stop(tracee) == 0
        context = ffi.new("struct user_pt_regs *", tracee.registers()[0])
        before = tracee.scalable_vectors(), bytes(ffi.buffer(tracee.vectors()))
        assert bool(before[0]) is has_vectors
        call = Injection(tracee, memory, vmm.gadgets(memory), context, anywhere=True)
        assert call.call(GETPID) == process.pid
        call.end(context)
        assert (tracee.scalable_vectors(), bytes(ffi.buffer(tracee.vectors()))) == before
        memory.close()
        process.kill()
