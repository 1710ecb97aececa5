"""One vCPU of another process: its registers, its guest debug state and its thread.

It decides nothing about breakpoints. All but ``Vcpu``'s own methods are for the tracer's thread.
"""

from time import monotonic

from gdbstub.aarch64.sysreg import EC, ESR
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.vcpu_thread import RunPage, VcpuThread
from gdbstub.kvm.guest_debug import GuestDebug
from gdbstub.kvm.one_reg import Counts, VirtualClock
from gdbstub.kvm.vcpu_state import VcpuState
from gdbstub.machine import DebugExit, DebugRegisters, RunMode


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
    ) -> None:
        super().__init__(port, fd, clock, counts)
        self.index = index
        self.thread = thread
        self._run = page.run
        self._guest_debug = GuestDebug(port, fd)
        self._armed = DebugRegisters()
        self._traced = False
        #: True to look at every exit, also while nothing is armed.
        self.always_traced = False
        #: True after a run that a kick ended: a step may have left its exception pending.
        self.cut_short = False
        #: The time at which its run is to end, by ``monotonic``; None: never.
        self.deadline: float | None = None

    def arm(self, go: RunMode, debug: DebugRegisters) -> None:
        """Set the comparators for the next run, *debug* unless *go* has others.

        Raises:
            MachineError: KVM_SET_GUEST_DEBUG failed.
        """
        self._armed = debug
        self.go_on(go, cut_short=self.cut_short)

    def go_on(self, go: RunMode, *, cut_short: bool = False) -> None:
        """Set the comparators for the next run after an exit."""
        comparators = go.comparators(self._armed)
        self._guest_debug.set(go.step, comparators, cut_short=cut_short)
        self._traced = go.step or comparators != DebugRegisters()
        self.deadline = None if go.limit is None else monotonic() + go.limit
        self.cut_short = False

    @property
    def deadline_passed(self) -> bool:
        """True if its run is to end by the time that it was given."""
        return self.deadline is not None and monotonic() >= self.deadline

    def disarm(self) -> None:
        """Leave no debug state in KVM."""
        self._guest_debug.set(False, DebugRegisters(), cut_short=self.cut_short)

    def resume(self) -> None:
        """Run it."""
        self.forget()
        self.counts.runs += 1
        self.thread.resume(traced=self._traced or self.always_traced)

    def exit(self) -> DebugExit:
        """Return the debug exit that its thread has stopped at."""
        self.forget()
        self.counts.exits[self._run.exit_reason] += 1
        esr = ESR(self._run.debug.hsr)
        # KVM fills FAR in for a watchpoint only; otherwise it holds the last MMIO's bytes.
        return DebugExit(
            self.index, esr, self._run.debug.far if esr.EC == EC.WATCHPOINT_LOWER else 0
        )

    @property
    def system_event(self) -> int:
        """The type of the system event that its thread has stopped at."""
        kind: int = self._run.system_event.type
        return kind
