"""Attachment to a VMM: its vCPU threads found, seized and parked, and let go again.

It runs no guest and knows no breakpoint. ``machine.py`` makes a machine of it.
"""

import logging
import mmap
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

from gdbstub.errors import InputError, MachineError, StubError
from gdbstub.foreign import ptrace
from gdbstub.foreign.injection import ProcessMemory
from gdbstub.foreign.launch import Launch
from gdbstub.foreign.memory import ForeignRam, MemorySlot, RamArea, pages
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.process import VmmProcess, check_vms
from gdbstub.foreign.ptrace import Tracee
from gdbstub.foreign.run_page import RunPage
from gdbstub.foreign.seized import PARK_TIMEOUT, POLL_INTERVAL, SeizedThreads
from gdbstub.foreign.tracer import Tracer
from gdbstub.foreign.vcpu_thread import ThreadStop, VcpuThread
from gdbstub.kvm import abi
from gdbstub.kvm.port import ioctl

_log = logging.getLogger("gdbstub.foreign")

_PROTECTIONS: Final = {"r": mmap.PROT_READ, "w": mmap.PROT_WRITE, "x": mmap.PROT_EXEC}


def in_any_case(steps: Iterable[Callable[[], None]]) -> None:
    """Take all *steps*, whichever of them fails; one that fails is tried again.

    Raises:
        Gone: the VMM has ended.
        StubError: that of the first that has failed twice; the others are taken.
    """
    errors: list[StubError] = []
    for step in steps:
        for last in (False, True):
            try:
                step()
                break
            except ptrace.Gone:
                raise
            except StubError as error:
                if last:
                    errors.append(error)
    if errors:
        raise errors[0]


def _protection(flags: str) -> int:
    return sum(bit for flag, bit in _PROTECTIONS.items() if flag in flags)


class Attachment:
    """The traced vCPU threads of one VMM. ``close`` lets them go."""

    def __init__(self, process: VmmProcess, options: int = 0, launch: Launch | None = None) -> None:
        """Seize and park the vCPUs of *process*; *options* are ptrace's.

        Those of a *launch* are seized already.

        Raises:
            InputError: the process has no VM or several, or cannot be attached to.
            MachineError: a vCPU does not come to rest.
        """
        found = process.descriptors()
        check_vms(process, found)
        self.process = process
        self.vm = found.vms[0]
        self.evidence = ""
        #: The vCPUs' threads, by descriptor, in the order of the vCPUs' numbers.
        self.threads: dict[int, VcpuThread] = {}
        self.pages: dict[int, RunPage] = {}
        self._options = ptrace.O_TRACESYSGOOD | ptrace.O_TRACEEXEC | options
        self._fds, self._copies = tuple(found.vcpus.values()), found.copies
        self.seized = SeizedThreads(self._first_stops)
        self._synchronisable = True
        #: The VMM's mappings that have RAM.
        self.areas: tuple[RamArea, ...] = ()
        self._closed = False
        self._launch = launch
        try:
            self.memory = launch.memory if launch else ProcessMemory(process.pid)
        except OSError as error:
            raise InputError(
                f"the memory of process {process.pid} cannot be opened: {error.strerror}"
            ) from None
        self.ram = ForeignRam(self.memory, (), "its place is not known yet", self._synchronise)
        if launch:
            self.tracer = launch.tracer
            self.tracer.stopped = self.seized.stop
            self.tracer.anything_runs = self.seized.any_in_guest
        else:
            self.tracer = Tracer(self.seized.stop, self.seized.any_in_guest)
        self.port = RemotePort(self.tracer, self.threads)
        try:
            self._gadgets = process.gadgets(self.memory)
            self._map_pages()
            self.tracer.call(self._take_over)
            self.tracer.idle = self.give_way
            self.tracer.lost = self.seized.lost
        except BaseException:
            self.close()
            raise

    def _map_pages(self) -> None:
        for fd in self._fds:
            try:
                self.pages[fd] = RunPage(self.process.pid, fd)
            except OSError as error:
                raise InputError(
                    f"descriptor {fd} of process {self.process.pid} cannot be copied: "
                    f"{error.strerror}; use root, outside of a container"
                ) from None

    def use(self, slots: Sequence[MemorySlot], evidence: str, read_only: str = "") -> None:
        """Take *slots* for the guest's RAM, by the *evidence* for them."""
        self.ram = ForeignRam(self.memory, slots, read_only, self._synchronise)
        self.evidence = evidence
        self.areas = self._areas(slots)

    def _areas(self, slots: Sequence[MemorySlot]) -> tuple[RamArea, ...]:
        return tuple(
            RamArea(area.start, area.end, _protection(area.flags))
            for area in self.process.mappings()
            if any(area.start < slot.hva + slot.size and slot.hva < area.end for slot in slots)
        )

    # Beginning.

    def _take_over(self) -> None:
        """Seize the threads of all vCPUs, and park them."""
        until = monotonic() + PARK_TIMEOUT
        if self._launch:
            self._take_launched(self._launch)
        while len(self.threads) < len(self._fds) or self.seized.any_runs():
            began = monotonic()
            for tid in self.process.threads() if self._any_unknown() else ():
                if tid not in self.seized.by_tid:
                    self._consider(tid)
            looked = monotonic() - began
            # All of them: a thread that waits for another's lock may make hundreds of calls.
            self.tracer.take_all()
            if self.process.ended:
                raise InputError(f"process {self.process.pid} has ended")
            if monotonic() > until:
                raise MachineError(self._missing())
            # This thread is the first to get time, and the VMM needs some to come there.
            time.sleep(max(POLL_INTERVAL, looked))
        in_order = {fd: self.threads[fd] for fd in self._fds}
        self.threads.clear()
        self.threads.update(in_order)

    def _any_unknown(self) -> bool:
        """Return True while the thread of a vCPU is not known."""
        known = {self._vcpu(each.fd) for each in self.seized.by_tid.values()}
        return not (self._launch or known.issuperset(self._fds))

    def _take_launched(self, launch: Launch) -> None:
        for fd, tracee in launch.held.items():
            thread = VcpuThread(tracee, self.memory, self._gadgets, fd)
            tracee.set_options(self._options)
            self.seized.by_tid[tracee.tid] = thread
            thread.park_at_entry()

    def _missing(self) -> str:
        number = sum(fd not in self.threads or not self.threads[fd].stopped for fd in self._fds)
        return (
            f"{number} of {len(self._fds)} vCPUs of process {self.process.pid} did not come to "
            f"KVM_RUN within {PARK_TIMEOUT:.0f} s: is the VM paused in its VMM? Continue it there"
        )

    def _consider(self, tid: int) -> None:
        """Seize a thread that is in KVM_RUN, or may be."""
        call = self.process.system_call(tid)
        fd = None
        if call is not None:
            fd = call[1] & ptrace.INT
            is_run = call[0] == ptrace.IOCTL and call[2] & ptrace.INT == abi.RUN
            if not (is_run and self._vcpu(fd) in self._fds):
                return
        elif tid not in self.process.threads():
            return
        thread = VcpuThread(Tracee(tid), self.memory, self._gadgets, fd)
        try:
            thread.tracee.seize(self._options)
        except ptrace.Gone:
            return
        self.seized.by_tid[tid] = thread
        thread.kick()

    def _vcpu(self, fd: int | None) -> int:
        """Return the descriptor in ``_fds`` of the vCPU that *fd* is of; -1 without one."""
        return -1 if fd is None else self._copies.get(fd, fd)

    def _first_stops(self, tid: int, status: int) -> None:
        """Take a stop of a thread that is not known to run a vCPU, or is on its way to rest."""
        thread = self.seized.by_tid[tid]
        if thread.fd is None and status >> 16 == ptrace.EVENT_STOP and not thread.is_in_run:
            # Not in KVM_RUN: it may be a vCPU's thread all the same. It is looked at again.
            thread.tracee.detach()
            del self.seized.by_tid[tid]
            return
        outcome, fd = thread.handle(status), self._vcpu(thread.fd)
        if outcome is ThreadStop.ENDED:
            del self.seized.by_tid[tid]
            self.threads.pop(fd, None)
        elif outcome is not None and fd in self.pages:
            thread.page = self.pages[fd]
            self.threads[fd] = thread
        elif outcome is not None:
            thread.detach()  # its vCPU was made only now
            del self.seized.by_tid[tid]

    def _last_stops(self, tid: int, status: int) -> None:
        self.seized.by_tid[tid].handle(status)

    # What others use.

    def _synchronise(self, hva: int, length: int) -> None:
        """Have KVM map pages anew, with the maintenance of caches that goes with it.

        A change of the VMM's own mapping unmaps the pages from the guest. The VMM may do
        meanwhile whatever it may do otherwise: it gets a right more, and loses it again.
        """
        if not self._synchronisable:
            return
        start, size = pages(hva, length)
        protection = self._protection_at(hva)
        for value in (protection ^ mmap.PROT_EXEC, protection):
            result = self.port.syscall(ptrace.MPROTECT, start, size, value)
            if result < 0:  # ``_let_go`` gives back what the first call has changed
                self._synchronisable = False
                _log.warning(
                    "the VMM's memory cannot be mapped anew (mprotect: error %d): on a host whose "
                    "instruction caches are not coherent, use hardware breakpoints",
                    -result,
                )
                return

    def _protection_at(self, hva: int) -> int:
        for last in (False, True):
            for start, end, protection in self.areas:
                if start <= hva < end:
                    return protection
            if not last:  # the VMM has mapped it since
                self.areas = self._areas(self.ram.slots)
        raise MachineError(f"the VMM has no memory at {hva:#x} any more")

    def protect(self, areas: Sequence[RamArea]) -> None:
        """Give pages of *areas* their protection back that a killed debugger has left with another.

        On the tracer's thread, all parked.
        """
        for found in self.process.mappings():
            for area in areas:
                start, end = max(found.start, area.start), min(found.end, area.end)
                if start < end and _protection(found.flags) == area.protection ^ mmap.PROT_EXEC:
                    self.port.syscall(ptrace.MPROTECT, start, end - start, area.protection)

    def give_way(self, tids: Iterable[int] | None = None) -> None:
        """Let the parked threads of *tids*, or all, take their signals; on the tracer's thread."""
        self.seized.give_way(self.process.pending_signals, tids)

    def disarm(self) -> None:
        """Leave no debug state of the vCPUs in KVM; on the tracer's thread, all parked.

        Raises:
            MachineError: KVM_SET_GUEST_DEBUG failed.
        """
        off = abi.ffi.new("struct kvm_guest_debug *")
        for fd in self.threads:
            ioctl(self.port, fd, abi.SET_GUEST_DEBUG, off)

    # The end.

    def close(self) -> None:
        """Let the threads go, the guest running, and close all. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self.tracer.call(self._let_go)
        finally:
            self.tracer.close()
            for page in self.pages.values():
                page.close()
            self.memory.close()

    def _let_go(self) -> None:
        self.stop_all()
        if not self._synchronisable:
            with suppress(StubError):  # no thread is stopped, or the VMM has ended
                self.protect(self.areas)
        self.seized.detach_all()

    def stop_all(self) -> None:
        """Stop every thread; on the tracer's thread (``SeizedThreads.stop_all``)."""
        self.tracer.idle = lambda: None
        self.seized.handler = self._last_stops
        self.seized.stop_all(self.tracer.take_all)
