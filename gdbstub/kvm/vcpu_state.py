"""The state of one parked vCPU through the ioctl port: registers, power, pending events.

It runs no vCPU, and needs no mapping of its ``kvm_run``.
Source: linux/Documentation/virt/kvm/api.rst, 4.31 (events) and 4.38 (MP state).
"""

from typing import Final

from gdbstub.aarch64.registers import SCTLR_EL1
from gdbstub.aarch64.sysreg import SCTLR
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.one_reg import Counts, OneReg, VirtualClock
from gdbstub.kvm.port import IoctlPort, ioctl
from gdbstub.machine import Power, SystemEventKind

#: Kinds of a guest's requests to the machine, by ``kvm_run.system_event.type`` (api.rst, 5).
SYSTEM_EVENTS: Final = {
    abi.SYSTEM_EVENT_SHUTDOWN: SystemEventKind.SHUTDOWN,
    abi.SYSTEM_EVENT_RESET: SystemEventKind.RESET,
    abi.SYSTEM_EVENT_CRASH: SystemEventKind.CRASH,
}
_CACHED: Final = int(SCTLR.of(M=1, C=1, I=1))


class VcpuState(OneReg):
    """A ``machine.Vcpu``: what a debugger reads and writes of a vCPU that is parked."""

    def __init__(self, port: IoctlPort, fd: int, clock: VirtualClock, counts: Counts) -> None:
        super().__init__(port, fd, clock, counts)
        self._mp_state: CData = ffi.new("struct kvm_mp_state *")

    @property
    def power(self) -> Power:
        """PSCI's power state.

        Raises:
            MachineError: KVM_GET_MP_STATE failed.
        """
        ioctl(self.port, self.fd, abi.GET_MP_STATE, self._mp_state)
        stopped = self._mp_state.mp_state == abi.MP_STATE_STOPPED
        return Power.OFF if stopped else Power.ON

    @property
    def uncached(self) -> bool:
        """True while its accesses or fetches pass the caches by; true of a powered-off vCPU."""
        return self.get(SCTLR_EL1) & _CACHED != _CACHED

    def abort(self) -> None:
        """Have the guest take a synchronous external data abort for its last access.

        KVM still knows that access's address, which becomes FAR_EL1.

        Raises:
            MachineError: KVM_GET_VCPU_EVENTS or KVM_SET_VCPU_EVENTS failed.
        """
        events = ffi.new("struct kvm_vcpu_events *")
        # All of it is set at once: an SError that pends must go on pending, as it was.
        ioctl(self.port, self.fd, abi.GET_VCPU_EVENTS, events)
        events.ext_dabt_pending = 1
        ioctl(self.port, self.fd, abi.SET_VCPU_EVENTS, events)
