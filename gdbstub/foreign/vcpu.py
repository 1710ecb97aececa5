"""One vCPU of another process: its registers, its guest debug state and its thread.

It decides nothing about breakpoints. All but ``Vcpu``'s own methods are for the tracer's thread.
"""

import logging
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Final

from gdbstub.aarch64.registers import (
    CPSR,
    PC,
    SCTLR_EL1,
    SP_EL0,
    SP_EL1,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
    X,
)
from gdbstub.aarch64.sysreg import EC, ESR
from gdbstub.architecture import Register
from gdbstub.errors import StubError
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.process import VmmProcess
from gdbstub.foreign.ptrace import Gone
from gdbstub.foreign.run_page import RunPage
from gdbstub.foreign.tracer import Tracer
from gdbstub.foreign.vcpu_thread import VcpuThread
from gdbstub.kvm import abi
from gdbstub.kvm.guest_debug import GuestDebug
from gdbstub.kvm.one_reg import Counts, VirtualClock
from gdbstub.kvm.vcpu_state import VcpuState
from gdbstub.kvm.watchdog import Watchdog
from gdbstub.machine import (
    DebugExit,
    DebugRegisters,
    Exit,
    RunFailure,
    RunMode,
    SystemEvent,
    SystemEventKind,
)

_log = logging.getLogger("gdbstub.foreign")

#: Registers that are read together, because a change to the tracer's thread takes longer.
_TOGETHER: Final = (
    (X[29], X[30], SP_EL0, SP_EL1, PC, CPSR),
    (SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1),
    X[:29],
)
_GROUPS: Final = {register: group for group in _TOGETHER for register in group}


class ForeignVcpu(VcpuState):
    """A ``machine.Vcpu`` whose thread is another process's."""

    def __init__(
        self,
        port: RemotePort,
        fd: int,
        index: int,
        thread: VcpuThread,
        page: RunPage,
        clock: VirtualClock,
        counts: Counts,
        tracer: Tracer,
        process: VmmProcess,
    ) -> None:
        super().__init__(port, fd, clock, counts)
        self._tracer = tracer
        self._process = process
        self.index = index
        self.thread = thread
        self._run = page.run
        self._guest_debug = GuestDebug(port, fd)
        self._armed = DebugRegisters()
        self._traced = False
        #: True while the watchdog knows a time for the end of its run.
        self.watched = False
        #: True to look at every exit, also while nothing is armed.
        self.always_traced = False
        #: True after a run that a kick ended: a step may have left its exception pending.
        self.cut_short = False
        # The time by ``executed`` at which its run is to end; None: never.
        self._deadline: float | None = None
        # When a step ends by ``monotonic``, if its vCPU sleeps: it may have been powered off.
        self._until = inf

    def get(self, register: Register) -> int:
        """Read a register, and others that are mostly asked for with it (``Vcpu.get``)."""
        group = _GROUPS.get(register)
        if group is None or register in self._known or self._tracer.is_current:
            return super().get(register)
        read = super().get
        return self._tracer.call(lambda: [read(each) for each in group][group.index(register)])

    def arm(self, mode: RunMode, debug: DebugRegisters) -> None:
        """Set the comparators for the next run, *debug* unless *mode* has others.

        Raises:
            MachineError: KVM_SET_GUEST_DEBUG failed.
        """
        self._armed = debug
        self.go_on(mode, cut_short=self.cut_short)

    def go_on(self, mode: RunMode, *, cut_short: bool = False) -> None:
        """Set the comparators for the next run after an exit."""
        comparators = mode.comparators(self._armed)
        self._guest_debug.set(mode.step, comparators, cut_short=cut_short)
        self._traced = mode.step or comparators != DebugRegisters()
        self._deadline = None if mode.limit is None else self.executed() + mode.limit
        self._until = inf if mode.limit is None or not mode.step else monotonic() + mode.limit
        self.cut_short = False

    def executed(self) -> float:
        """Return the seconds that its thread has executed, the guest's among them."""
        return self._process.executed(self.thread.tracee.tid)

    @property
    def sleeps(self) -> bool:
        """True while its thread waits in the host's kernel: for an interrupt, or powered off."""
        return self._process.sleeps(self.thread.tracee.tid)

    @property
    def remaining(self) -> float | None:
        """Seconds that its run may still take, however busy the host is; None: any time."""
        if (deadline := self._deadline) is None:  # another thread may change it
            return None
        if monotonic() >= self._until and self.sleeps:
            return 0.0
        return max(0.0, deadline - self.executed())

    def expect_brk(self) -> None:
        """Have a BRK exit to the debugger, or to the VMM if that is killed, but never to the guest.

        Nothing is done of one that is in the guest, or has ended.

        Raises:
            MachineError: KVM_SET_GUEST_DEBUG failed.
        """
        if not self._traced and self.thread.out_of_guest and not self.thread.ended:
            self._guest_debug.set(False, DebugRegisters(enabled=True))
            self._traced = True

    def disarm(self) -> None:
        """Leave no debug state in KVM."""
        self._guest_debug.set(False, DebugRegisters(), cut_short=self.cut_short)

    def resume(self) -> None:
        """Run it."""
        self.forget()
        self.counts.native.runs += 1
        self.thread.resume(traced=self._traced or self.always_traced)

    def exit(self) -> DebugExit:
        """Return the debug exit that its thread has stopped at."""
        self.forget()
        self.counts.exits[abi.EXIT_DEBUG] += 1
        esr = ESR(self._run.debug.hsr)
        # KVM fills FAR in for a watchpoint only; otherwise it holds the last MMIO's bytes.
        return DebugExit(
            self.index, esr, self._run.debug.far if esr.EC == EC.WATCHPOINT_LOWER else 0
        )

    def failure(self, error: Exception) -> Exit:
        """Return an exit that says why it cannot run, and log what is no fault of the guest's."""
        if isinstance(error, Gone):
            return SystemEvent(self.index, SystemEventKind.SHUTDOWN)
        if isinstance(error, StubError):
            _log.debug("vCPU %d", self.index, exc_info=error)
            return RunFailure(self.index, str(error))
        _log.error("vCPU %d", self.index, exc_info=error)
        return RunFailure(self.index, f"internal error: {error!r}")

    @property
    def system_event(self) -> int:
        """The type of the system event that its thread has stopped at."""
        kind: int = self._run.system_event.type
        return kind


class LateHalt:
    """A guest that is to halt, as the watchdog sees it: a person is told of one that is late."""

    def __init__(self, vcpus: Sequence[ForeignVcpu], watchdog: Watchdog) -> None:
        self._vcpus = vcpus
        self._watchdog = watchdog

    def kick(self) -> None:
        """Say how many vCPUs it waits for, once."""
        self._watchdog.watch(self, None)
        late = sum(not vcpu.thread.stopped for vcpu in self._vcpus)
        if late:
            _log.warning(
                "the guest does not halt: %d of %d vCPUs did not come to KVM_RUN; is the VM "
                "paused in its VMM? Continue it there",
                late,
                len(self._vcpus),
            )


class HaltedVcpus:
    """vCPUs that are halted while others run, as the watchdog sees them: they may have signals."""

    def __init__(
        self, look: Callable[[], None], call: Callable[[Callable[[], None]], None]
    ) -> None:
        self._look = look
        self._call = call

    def kick(self) -> None:
        """Have them looked at."""
        self._call(self._look)


class Kicker:
    """A vCPU as the watchdog's thread kicks it; equal for one vCPU."""

    def __init__(self, vcpu: ForeignVcpu, call: Callable[[Callable[[], None]], None]) -> None:
        self._vcpu = vcpu
        self._call = call

    def kick(self) -> None:
        """Make it leave the guest, if it has executed for its time: else it is left alone."""
        if self._vcpu.remaining == 0 and not self._vcpu.thread.kicked:
            self._call(self._vcpu.thread.kick)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kicker) and other._vcpu is self._vcpu

    def __hash__(self) -> int:
        return hash(self._vcpu)
