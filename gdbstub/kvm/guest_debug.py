"""KVM_SET_GUEST_DEBUG of one vCPU, called only where it would change anything.

It decides nothing about breakpoints. Source: linux/Documentation/virt/kvm/api.rst, 4.87.
"""

from collections.abc import Sequence

from gdbstub.errors import MachineError
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.abi import CData, ffi
from gdbstub.machine import DebugRegisters


class GuestDebug:
    """What KVM was told last of one vCPU. Used by whoever owns the vCPU at the moment."""

    def __init__(self, fd: int) -> None:
        """Nothing is armed."""
        self._fd = fd
        self._struct: CData = ffi.new("struct kvm_guest_debug *")
        self._step = False
        self._debug = self._filled = DebugRegisters()  # what KVM has, and what the structure has

    @property
    def steps(self) -> bool:
        """Whether it steps."""
        return self._step

    def set(self, step: bool, debug: DebugRegisters, *, cut_short: bool = False) -> None:
        """Step or not, with these comparators; *cut_short*: the last run ended by a kick.

        Raises:
            MachineError: KVM refuses.
        """
        stale = cut_short and self._step
        same = debug is self._debug or debug == self._debug
        if same and step == self._step and not stale:
            return
        if debug.breakpoints != self._filled.breakpoints:
            _fill(self._struct.dbg_bcr, self._struct.dbg_bvr, debug.breakpoints)
        if debug.watchpoints != self._filled.watchpoints:
            _fill(self._struct.dbg_wcr, self._struct.dbg_wvr, debug.watchpoints)
        self._filled = debug
        if stale:
            # Only switching debugging off makes newer kernels forget a pending step.
            self._ioctl(0)
        self._ioctl(_control(step, debug))
        self._step, self._debug = step, debug

    def _ioctl(self, control: int) -> None:
        self._struct.control = control
        try:
            kvm_abi.ioctl(self._fd, kvm_abi.SET_GUEST_DEBUG, self._struct)
        except OSError as error:
            raise MachineError(
                f"KVM_SET_GUEST_DEBUG: {error.strerror}", error.errno or 0
            ) from error


def _control(step: bool, debug: DebugRegisters) -> int:
    control = 0
    if debug.enabled or step:
        control = kvm_abi.GUESTDBG_ENABLE | kvm_abi.GUESTDBG_USE_SW_BP
    if debug.breakpoints or debug.watchpoints:
        control |= kvm_abi.GUESTDBG_ENABLE | kvm_abi.GUESTDBG_USE_HW
    if step:
        control |= kvm_abi.GUESTDBG_SINGLESTEP
    return control


def _fill(controls: CData, values: CData, slots: Sequence[tuple[int, int]]) -> None:
    """Write every slot, unused ones as zero: KVM arms whatever it is given."""
    padding = [0] * (len(controls) - len(slots))
    controls[0 : len(controls)] = [control for control, _ in slots] + padding
    values[0 : len(values)] = [value for _, value in slots] + padding
