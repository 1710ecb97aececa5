"""One KVM vCPU of this process, and the thread that runs it.

It decides nothing about breakpoints: a debug exit goes to the listener, whose answer says
whether the vCPU parks. Source: linux/Documentation/virt/kvm/api.rst, 4.10 (KVM_RUN) and 5.
"""

import errno
import logging
import mmap
import os
import signal
import threading
from collections.abc import Callable
from time import clock_gettime, monotonic, pthread_getcpuclockid
from typing import Final

from gdbstub.aarch64.registers import CPSR, PC, SP_EL0, SP_EL1, X
from gdbstub.aarch64.sysreg import EC, ESR, PSTATE
from gdbstub.errors import StubError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi, libc
from gdbstub.kvm.board import Mmio
from gdbstub.kvm.exclusive import ExclusiveSection
from gdbstub.kvm.false_hits import NativeFalseHits
from gdbstub.kvm.guest_debug import GuestDebug
from gdbstub.kvm.native import core
from gdbstub.kvm.one_reg import Counts, VirtualClock
from gdbstub.kvm.port import IoctlPort
from gdbstub.kvm.vcpu_state import SYSTEM_EVENTS, VcpuState
from gdbstub.kvm.watchdog import Watchdog
from gdbstub.machine import (
    TIMED_OUT,
    DebugExit,
    DebugRegisters,
    Exit,
    Power,
    RunFailure,
    RunMode,
    SystemEvent,
)

_log = logging.getLogger("gdbstub.kvm")

KICK: Final = signal.SIGUSR1

# Looked up once: a module's attribute is looked up at each use.
_RUN: Final = abi.RUN
_EXIT_DEBUG: Final = abi.EXIT_DEBUG
_X29, _X30 = X[29], X[30]
_SP: Final = int(PSTATE.of(SP=1))
#: ``struct vcpu.known`` if all registers of a stop reply were read.
_ALL: Final = 5


class KvmVcpu(VcpuState):
    """A ``Vcpu`` with a thread, the only one that ever calls KVM_RUN on it.

    KVM_RUN is a direct call of libc, whatever the port: this process has the vCPU.
    """

    def __init__(
        self,
        port: IoctlPort,
        fd: int,
        run_size: int,
        index: int,
        mmio: Mmio,
        clock: VirtualClock,
        counts: Counts,
        exclusive: ExclusiveSection,
        watchdog: Watchdog,
        ram: CData,
        alone: bool,
    ) -> None:
        """Make vCPU *index* with *ram* (``struct ram *``); *alone*: the VM has no other."""
        self.index = index
        self._watchdog = watchdog
        # The time by ``_cpu_time`` at which a run is to end, and whether the watchdog knows one.
        self._deadline: float | None = None
        self._watched = False
        super().__init__(port, fd, clock, counts)
        self._exclusive = exclusive
        self._mmio = mmio
        self._mapping = mmap.mmap(fd, run_size)
        self._buffer: CData = ffi.from_buffer(self._mapping)
        self._run: CData = ffi.cast("struct kvm_run *", self._buffer)
        self._guest_debug = GuestDebug(port, fd)
        self._native: CData = ffi.new("struct vcpu *")
        self._native.fd, self._native.run, self._native.ram = fd, self._run, ram
        self._native.alone, self._native.counts = alone, counts.native
        self._native.armed = self._guest_debug.armed
        #: Hits that are passed over, where the debugger lets the vCPU run so.
        self.false_hits = NativeFalseHits(self._native)
        self._armed = DebugRegisters()
        self._debug_exit: Callable[[DebugExit], RunMode | None] = lambda _: None
        self._parked: Callable[[Exit | None], None] = lambda _: None
        # True after a run that a kick ended: a step may have left its exception pending.
        self._cut_short = False
        self._go = threading.Lock()  # held while the vCPU is parked; a resume releases it
        self._go.acquire()
        self._syndrome, self._exit = 0, DebugExit(index, ESR(0))  # the last, but for watchpoints
        #: True in KVM_RUN, and on the way there past the check for an exclusive section.
        self.in_guest = False
        #: True from ``stop`` to the next ``ready``.
        self.stopping = False
        self._closing = False
        self._thread = threading.Thread(target=self._life, name=f"vCPU {index}", daemon=True)

    @property
    def powered_off(self) -> bool:
        """True while PSCI has it off: it then sleeps in KVM_RUN (``ExclusiveVcpu``)."""
        return self.power is Power.OFF

    @property
    def is_this_thread(self) -> bool:
        """True on its own thread."""
        return threading.get_ident() == self._thread.ident

    # Running.

    def start(
        self,
        debug_exit: Callable[[DebugExit], RunMode | None],
        parked: Callable[[Exit | None], None],
    ) -> None:
        """Start the thread, which calls *parked* each time the vCPU has come to rest."""
        self._debug_exit, self._parked = debug_exit, parked
        self._thread.start()

    def arm(self, mode: RunMode, debug: DebugRegisters) -> None:
        """Set the comparators for the next run, *debug* unless *mode* has others; parked.

        Raises:
            MachineError: KVM_SET_GUEST_DEBUG failed.
        """
        self._guest_debug.set(mode.step, mode.comparators(debug), cut_short=self._cut_short)
        self._armed = debug
        self._limit(mode.limit)
        self.false_hits.clear()
        self._native.stops = True  # the first exit is likely to be a stop

    def ready(self) -> None:
        """Forget earlier kicks; call it for all that will run, before any does (``stop``)."""
        self.stopping = False
        self._run.immediate_exit = 0

    def resume(self) -> None:
        """Run a parked vCPU that is ready."""
        self._go.release()

    def stop(self) -> None:
        """Make a running vCPU park soon. Safe against every race with KVM_RUN.

        A KVM_RUN that is under way is ended by the signal; one that has not begun yet ends
        at once by ``immediate_exit``; one that is ready and not resumed yet, likewise.
        """
        self.stopping = True
        self.kick()

    def kick(self) -> None:
        """Make a running vCPU leave the guest.

        It goes back in, unless it is to stop or another vCPU is in an exclusive section.
        """
        self._run.immediate_exit = 1
        if self._thread.ident is not None and self._thread.is_alive():
            signal.pthread_kill(self._thread.ident, KICK)

    def close(self) -> None:
        """End the thread of a parked vCPU, and close its mapping and its descriptor."""
        self._closing = True
        if self._go.locked():  # else it was resumed just now, and looks at this first
            self._go.release()
        if self._thread.ident is not None:
            self._thread.join()
        self._run = self._native.run = ffi.NULL
        ffi.release(self._buffer)
        self._mapping.close()
        os.close(self.fd)
        self.fd = -1

    def _life(self) -> None:
        while True:
            self._go.acquire()
            if self._closing:
                return
            try:
                exit = self._run_until_stop()
            except StubError as error:
                _log.debug("vCPU %d", self.index, exc_info=True)
                exit = RunFailure(self.index, str(error))
            except BaseException as error:  # whatever it is, the siblings must be parked too
                _log.exception("vCPU %d", self.index)
                exit = RunFailure(self.index, f"internal error: {error!r}")
            self._cut_short = exit is None
            try:
                self._limit(None)
                if self._exclusive.holder is self or self._exclusive.owed:
                    self._exclusive.parks(self)
            except BaseException as error:
                _log.exception("vCPU %d", self.index)
                exit = RunFailure(self.index, f"internal error: {error!r}")
            try:
                self._parked(exit)
            except BaseException:  # without its thread the vCPU could not be run again
                _log.exception("vCPU %d: its stop cannot be told", self.index)

    def _run_until_stop(self) -> Exit | None:
        """Run to the next exit that is a stop; None where a kick ended the run."""
        run, native, exclusive, known = self._run, self._native, self._exclusive, self._known
        vcpu_run, debug, exits = core().vcpu_run, run.debug, self.counts.exits
        logging_all = _log.isEnabledFor(logging.DEBUG)
        while True:
            known.clear()
            self.in_guest = True
            if exclusive.holder is not None and exclusive.holder is not self:
                self._wait_for_exclusive()
            code = vcpu_run(native)
            self.in_guest = False
            if exclusive.holder is not None or exclusive.owed:
                exclusive.left_guest(self)
            if code:
                if code == abi.EHWPOISON:
                    _log.error("vCPU %d: the guest has met a memory error of the host", self.index)
                    self.abort()
                    if self._guest_debug.steps and not self._ask(self._take_abort()):
                        return self._exit
                elif code not in (errno.EINTR, errno.EAGAIN):
                    self._guest_debug.doubt()  # the core may have changed it
                    return RunFailure(self.index, f"KVM_RUN: {os.strerror(code)}")
                # KVM has completed what the last exit left to do, MMIO above all.
                run.immediate_exit = 0  # first: a kick says that it was one, and then sets this
                if self.stopping:
                    if native.known:
                        self._know(native)
                    return None
                # One that PSCI has turned off meanwhile executes nothing any more.
                if self._deadline is not None and (
                    self._cpu_time() >= self._deadline or self.powered_off
                ):
                    exit = DebugExit(self.index, TIMED_OUT)
                    if not self._ask(exit):
                        return exit
                continue
            reason = run.exit_reason
            exits[reason] += 1
            if logging_all:
                _log.debug("vCPU %d: %s", self.index, _describe(run))
            if reason == _EXIT_DEBUG:
                if native.known:
                    self._know(native)
                exit = self._debug(debug)
                if not self._ask(exit):
                    return exit
            elif reason == abi.EXIT_MMIO:
                self._emulate(run.mmio)
            elif reason == abi.EXIT_SYSTEM_EVENT:
                kind = SYSTEM_EVENTS.get(run.system_event.type)
                if kind is None:
                    return RunFailure(self.index, f"system event {run.system_event.type}")
                return SystemEvent(self.index, kind)
            elif reason == abi.EXIT_ARM_NISV:
                # KVM does not decode these (LDP, writeback), so no device can answer.
                _log.warning(
                    "vCPU %d: access to %#x by an instruction without syndrome",
                    self.index,
                    run.arm_nisv.fault_ipa,
                )
                self.abort()
            else:
                return RunFailure(self.index, _failure(run))

    def _know(self, native: CData) -> None:
        """Take over the registers that were read together with the exit."""
        known = self._known
        known[PC], known[CPSR] = native.pc, native.pstate
        if native.known == _ALL:
            known[_X29], known[_X30] = native.x29, native.x30
            known[SP_EL1 if native.pstate & _SP else SP_EL0] = native.sp

    def _wait_for_exclusive(self) -> None:
        """Wait outside the guest while another vCPU is in an exclusive section."""
        while self._exclusive.holder not in (None, self) and not self.stopping:
            self.in_guest = False
            self._exclusive.wait(self)
            # In this order: the next one to start an exclusive section and to see this vCPU in
            # the guest sets it again.
            self._run.immediate_exit = 0
            self.in_guest = True
        if self.stopping:
            self._run.immediate_exit = 1  # KVM_RUN must still complete what the last exit left

    def _ask(self, exit: DebugExit) -> bool:
        """Return True if the vCPU goes on from *exit*; KVM has been told how."""
        if (mode := self._debug_exit(exit)) is None:
            return False
        cut_short = exit.esr == TIMED_OUT
        self._guest_debug.set(mode.step, mode.comparators(self._armed), cut_short=cut_short)
        self._limit(mode.limit)
        self.false_hits.enable(mode.passes)
        self._native.stops = False
        return True

    def _cpu_time(self) -> float:
        """Return the seconds that its thread has executed, the guest's among them."""
        assert self._thread.ident is not None
        return clock_gettime(pthread_getcpuclockid(self._thread.ident))

    def _limit(self, seconds: float | None) -> None:
        """Have the next run ended after so many *seconds*, if it has no exit before."""
        if seconds is None:
            self._deadline = None
            if self._watched:
                self._watched = False
                self._watchdog.watch(self, None)
        else:
            # The time that it executes counts, however busy the host is.
            self._deadline = self._cpu_time() + seconds
            self._watched = True
            self._watchdog.watch(self, monotonic() + seconds)

    def _take_abort(self) -> DebugExit:
        """End a step by the injected abort: newer kernels would go on into its handler."""
        self._known.clear()
        self._run.immediate_exit = 1  # nothing is executed, but what is pending is taken
        libc.ioctl(self.fd, _RUN, ffi.NULL)
        self._syndrome, self._exit = 0, DebugExit(self.index, ESR.of(EC=EC.STEP_LOWER, IL=1))
        return self._exit

    def _debug(self, debug: CData) -> DebugExit:
        if (syndrome := debug.hsr) == self._syndrome:
            return self._exit
        esr = ESR(syndrome)
        # KVM fills FAR in for a watchpoint only; otherwise it holds the last MMIO's bytes.
        if esr.EC == EC.WATCHPOINT_LOWER:
            return DebugExit(self.index, esr, debug.far)
        self._syndrome, self._exit = syndrome, DebugExit(self.index, esr)
        return self._exit

    def _emulate(self, mmio: CData) -> None:
        """Do an MMIO access; the next KVM_RUN moves the data and the PC."""
        ipa, size = mmio.phys_addr, mmio.len
        if mmio.is_write:
            value = int.from_bytes(ffi.buffer(mmio.data, size), "little")
            self._mmio.write(ipa, size, value)
        else:
            value = self._mmio.read(ipa, size) & (1 << 8 * size) - 1
            ffi.buffer(mmio.data, size)[:] = value.to_bytes(size, "little")


def _describe(run: CData) -> str:
    """Describe an exit, for -vv."""
    match run.exit_reason:
        case abi.EXIT_MMIO:
            way = "to" if run.mmio.is_write else "from"
            return f"MMIO, {run.mmio.len} bytes {way} {run.mmio.phys_addr:#x}"
        case abi.EXIT_DEBUG:
            return f"debug exit, ESR {run.debug.hsr:#x}"
        case abi.EXIT_SYSTEM_EVENT:
            return f"system event {run.system_event.type}"
        case reason:
            return f"exit {reason}"


def _failure(run: CData) -> str:
    """Describe an exit after which the vCPU cannot run."""
    if run.exit_reason == abi.EXIT_FAIL_ENTRY:
        return f"KVM cannot enter the guest: {run.fail_entry.hardware_entry_failure_reason:#x}"
    if run.exit_reason == abi.EXIT_INTERNAL_ERROR:
        return f"KVM internal error {run.internal.suberror}"
    return f"KVM exit {run.exit_reason}, which is not handled"
