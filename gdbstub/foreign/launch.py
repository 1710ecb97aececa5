"""Launch: a VMM traced from its first instruction, until every vCPU is about to run.

All its threads are traced until then, so the slots of RAM are learnt as the VMM makes them. Its
dynamic loader, most of whose work is system calls, is not: it runs to the program's entry.
Source: ptrace(2), "PTRACE_O_TRACECLONE"; linux/Documentation/virt/kvm/api.rst, 4.35.
"""

import contextlib
import logging
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Final, Self

from gdbstub.errors import InputError, MachineError, StubError
from gdbstub.foreign import ptrace
from gdbstub.foreign.injection import ProcessMemory
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.foreign.ptrace import SyscallStop, Tracee
from gdbstub.foreign.tracer import Tracer
from gdbstub.kvm import abi

_log: Final = logging.getLogger("gdbstub.foreign")

#: KVM_SET_USER_MEMORY_REGION2 (linux/include/uapi/linux/kvm.h), whose structure begins alike.
_SET_REGION2: Final = 0x40A0_AE49
_REGIONS: Final = frozenset((abi.SET_USER_MEMORY_REGION, _SET_REGION2))
_REGION: Final = struct.Struct("<IIQQQ")
_OPTIONS: Final = ptrace.O_TRACESYSGOOD | ptrace.O_TRACECLONE | ptrace.O_TRACEEXEC
#: Time in which all vCPUs must be about to run, after the first is, in seconds.
_TIMEOUT: Final = 30.0
_POLL_INTERVAL: Final = 0.002
#: Time after which a person is told what is waited for, in seconds.
LATE: Final = 10.0
_READONLY: Final = 2
#: Time that a VMM has to end after SIGTERM, in seconds: it may have disks to write.
_ENDING_SECONDS: Final = 10.0


class Launch:
    """A VMM from exec to the first KVM_RUN of each of its vCPUs, which is not made yet."""

    def __init__(self, argv: Sequence[str], wanted: Callable[[], bool] = lambda: True) -> None:
        """Start *argv*, and follow it until its guest is at its first instruction.

        Raises:
            InputError: the program cannot be started, or has ended before it ran a vCPU.
            MachineError: not every vCPU came to KVM_RUN, or it is not *wanted* any more.
        """
        self._wanted = wanted
        self._regions: dict[int, MemorySlot] = {}
        self._pending: dict[int, tuple[int, MemorySlot]] = {}  # by thread: a region being made
        self._tracees: dict[int, Tracee] = {}
        self._stopped: set[int] = set()
        self._loading = False  # on the way to the program's entry
        self._inside: set[int] = set()  # threads between the entry and the exit of a system call
        self._ended: int | None = None
        self._releasing = self._any_stop = False
        #: vCPUs' threads that are stopped at the entry of KVM_RUN, by descriptor.
        self.held: dict[int, Tracee] = {}
        pid, start = _child(argv)
        self.process = VmmProcess(pid)
        # Opened once the VMM is executed: before, it would be another program's.
        self._memory: ProcessMemory | None = None
        self.tracer = Tracer(self._handle, lambda: bool(self._tracees.keys() - self._stopped))
        try:
            self.tracer.call(lambda: self._follow(pid, start))
        except BaseException:
            self.tracer.close()
            if self._memory:
                self._memory.close()
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the VMM after an error: nobody else would."""
        if kind is not None:
            self.tracer.close()  # first: a thread that it holds would not take the signal
            self._end()

    def _end(self) -> None:
        if self._ended is None:  # else its number may be another's by now
            end_child(self.process)

    @property
    def memory(self) -> ProcessMemory:
        """The VMM's memory, for use from its first ioctl of KVM on."""
        if self._memory is None:
            self._memory = ProcessMemory(self.process.pid)
        return self._memory

    @property
    def slots(self) -> tuple[MemorySlot, ...]:
        """The slots of RAM that the VMM has made."""
        return tuple(sorted(slot for slot in self._regions.values() if slot.size))

    def _follow(self, pid: int, start: int) -> None:
        self._tracees[pid] = Tracee(pid)
        self._tracees[pid].seize(_OPTIONS)
        self._tracees[pid].interrupt()
        os.close(start)
        until: float | None = None
        late = monotonic() + LATE
        while not self._all_held():
            # The first thread to run a vCPU is waited for, however long that takes. Whoever waits
            # for this call wakes us now and then.
            self.tracer.pump(block=not self.held)
            if not self._wanted():
                raise MachineError("the VMM was given up before it ran a vCPU")
            if self._ended is not None:
                raise InputError(f"the VMM has ended before it ran a vCPU: {_fate(self._ended)}")
            if not self.held and monotonic() > late:
                late = inf
                _log.warning(
                    "the VMM has run no vCPU yet; if it has forked one that does, attach to that"
                )
            if self.held and until is None:
                until = monotonic() + _TIMEOUT
            if until is not None and monotonic() > until:
                raise MachineError(f"only {len(self.held)} vCPUs came to run within 30 s")
            if self.held and not self._any_stop:
                time.sleep(_POLL_INTERVAL)
            self._any_stop = False
        self._let_others_go()

    def _all_held(self) -> bool:
        if not self.held:
            return False
        found = self.process.descriptors()
        return set(found.vcpus.values()) <= {found.copies.get(fd, fd) for fd in self.held}

    def _let_others_go(self) -> None:
        """End tracing of all threads that run no vCPU."""
        vcpus = {tracee.tid for tracee in self.held.values()}
        for tid in self._tracees.keys() - vcpus - self._stopped:
            self._tracees[tid].interrupt()
        while others := self._tracees.keys() - vcpus:
            for tid in others & self._stopped:
                with contextlib.suppress(ptrace.Gone):  # it may be killed at any time
                    self._tracees.pop(tid).detach()
                self._stopped.discard(tid)
            if self._tracees.keys() - vcpus:
                self._releasing = True
                self.tracer.take_all()
                time.sleep(_POLL_INTERVAL)

    def _handle(self, tid: int, status: int) -> None:
        self._any_stop = True
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            self._tracees.pop(tid, None)
            if tid == self.process.pid:
                self._ended = status
            return
        tracee = self._tracees.setdefault(tid, Tracee(tid))  # a new thread's first stop
        signum, event = status >> 8 & 0xFF, status >> 16
        if ptrace.is_group_stop(status) and not self._releasing:
            tracee.listen()
        elif event == ptrace.EVENT_EXEC:
            self._executed(tracee)
        elif self._loading and signum == signal.SIGTRAP and not event:
            self._loading = False
            tracee.break_at(None)
            tracee.resume(to_syscall=True)
        elif self._releasing and (event == ptrace.EVENT_STOP or signum == ptrace.SYSCALL_STOP):
            self._stopped.add(tid)
        elif signum == ptrace.SYSCALL_STOP:
            self._at_syscall_stop(tracee)
        else:
            tracee.resume(0 if event else signum, to_syscall=True)

    def _at_syscall_stop(self, tracee: Tracee) -> None:
        """Let a thread go on from the entry or exit of a call; hold it at the entry of KVM_RUN."""
        tid = tracee.tid
        if tid in self._inside and tid not in self._pending:
            self._inside.discard(tid)  # the exit of a call that does not matter
            tracee.resume(to_syscall=True)
            return
        stop = tracee.syscall_stop()
        if stop.entry:
            self._inside.add(tid)
        else:
            self._inside.discard(tid)
        if self._enters_guest(tid, stop):
            self._stopped.add(tid)
            self.held[stop.arguments[0]] = tracee
        else:
            tracee.resume(to_syscall=True)

    def _executed(self, tracee: Tracee) -> None:
        """Let a program's loader run untraced, where a comparator can stop it at the entry.

        Any thread may have executed it: that has the process's number now, and is its only one.
        """
        self._tracees = {tracee.tid: tracee}
        for before in self._stopped, self._inside, self._pending, self._regions, self.held:
            before.clear()
        if self._memory:
            self._memory.close()
            self._memory = None
        try:
            tracee.break_at(self.process.entry)
        except StubError:
            tracee.resume(to_syscall=True)
        else:
            self._loading = True
            tracee.resume()  # the exit of its execve is not seen

    def _enters_guest(self, tid: int, stop: SyscallStop) -> bool:
        """Return True at the entry of KVM_RUN; learn a slot of RAM from the call that makes it."""
        if not stop.entry:
            slot_number, slot = self._pending.pop(tid, (0, None))
            if slot is not None and stop.result == 0:
                self._regions[slot_number] = slot
            return False
        if stop.number != ptrace.IOCTL:
            return False
        if stop.arguments[1] in _REGIONS:
            number, flags, ipa, size, hva = _REGION.unpack(
                self.memory.read(stop.arguments[2], _REGION.size)
            )
            self._pending[tid] = number, MemorySlot(ipa, size, hva, bool(flags & _READONLY))
        return stop.arguments[1] == abi.RUN


def _child(argv: Sequence[str]) -> tuple[int, int]:
    """Fork a process that executes *argv* once the returned descriptor is closed."""
    wait, start = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(start)
        os.read(wait, 1)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, signal.SIG_DFL)
        try:
            os.execvp(argv[0], list(argv))
        except OSError as error:
            os.write(2, f"gdbstub: {argv[0]}: {error.strerror}\n".encode(errors="backslashreplace"))
            os._exit(127)
    os.close(wait)
    return pid, start


def end_child(process: VmmProcess) -> None:
    """Ask a child of ours to end by SIGTERM; kill it if it does not, or is stopped, for long."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it has ended
        # Once its end was waited for, which the tracer may do, its number may be another's.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        name = process.name
        os.kill(process.pid, signal.SIGTERM)
        if not _has_ended(process.pid, _ENDING_SECONDS):
            os.kill(process.pid, signal.SIGKILL)
            _log.warning(
                "the VMM, process %d (%s), did not end in %g s after SIGTERM: killed",
                process.pid, name, _ENDING_SECONDS,
            )  # fmt: skip
        os.waitpid(process.pid, 0)


def _has_ended(pid: int, seconds: float) -> bool:
    """Wait for the end of a child, *seconds* at most; return True if it has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _fate(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    forked = "; one that goes on as another process (-daemonize) is to be attached to"
    return f"exit status {(code := os.WEXITSTATUS(status))}{forked * (not code)}"
