"""KVM_SET_GUEST_DEBUG of one vCPU, called only where it changes something.

It decides nothing about breakpoints. Source: linux/Documentation/virt/kvm/api.rst, 4.87.
"""

from collections.abc import Sequence
from typing import TypeAlias

from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.port import IoctlPort, ioctl
from gdbstub.machine import DebugRegisters

#: Controls and values of comparators.
Slots: TypeAlias = Sequence[tuple[int, int]]


class GuestDebug:
    """The guest debug state that KVM has of one vCPU, for the thread that owns the vCPU."""

    def __init__(self, port: IoctlPort, fd: int) -> None:
        """Begin with nothing armed, as KVM does."""
        self._port = port
        self._fd = fd
        self._struct: CData = ffi.new("struct kvm_guest_debug *")
        self._step = False
        self._sure = True
        self._debug = self._filled = DebugRegisters()  # what KVM has, and what the structure has

    @property
    def armed(self) -> CData:
        """The ``struct kvm_guest_debug`` that KVM has, from the first ``set`` on."""
        return self._struct

    @property
    def steps(self) -> bool:
        """True while the vCPU steps."""
        return self._step

    def doubt(self) -> None:
        """Note that KVM may have another state, so that the next ``set`` tells it in any case."""
        self._sure = False

    def set(self, step: bool, debug: DebugRegisters, *, cut_short: bool = False) -> None:
        """Step or not, with these comparators.

        *cut_short* is whether a kick ended the last run.

        Raises:
            MachineError: KVM_SET_GUEST_DEBUG failed.
        """
        stale = cut_short and self._step
        same = debug is self._debug or debug == self._debug
        if same and step == self._step and not stale and self._sure:
            return
        self._sure = False  # if a call fails
        _fill(self._struct, debug, self._filled)
        self._filled = debug
        if stale:
            # Only switching debugging off makes newer kernels forget a pending step.
            self._tell(0)
        self._tell(_control(step, debug))
        self._step, self._debug, self._sure = step, debug, True

    def _tell(self, control: int) -> None:
        self._struct.control = control
        ioctl(self._port, self._fd, abi.SET_GUEST_DEBUG, self._struct)


def _control(step: bool, debug: DebugRegisters) -> int:
    control = 0
    if debug.enabled or step:
        control = abi.GUESTDBG_ENABLE | abi.GUESTDBG_USE_SW_BP
    if debug.breakpoints or debug.watchpoints:
        control |= abi.GUESTDBG_ENABLE | abi.GUESTDBG_USE_HW
    if step:
        control |= abi.GUESTDBG_SINGLESTEP
    return control


def stepping(debug: DebugRegisters) -> CData:
    """Return a ``struct kvm_guest_debug`` of a step with these comparators."""
    struct = ffi.new("struct kvm_guest_debug *")
    _fill(struct, debug, DebugRegisters())
    struct.control = _control(True, debug)
    return struct


def _fill(struct: CData, debug: DebugRegisters, before: DebugRegisters) -> None:
    """Write the slots that differ from those of *before*."""
    if debug.breakpoints != before.breakpoints:
        _fill_slots(struct.dbg_bcr, struct.dbg_bvr, debug.breakpoints, before.breakpoints)
    if debug.watchpoints != before.watchpoints:
        _fill_slots(struct.dbg_wcr, struct.dbg_wvr, debug.watchpoints, before.watchpoints)


def _fill_slots(controls: CData, values: CData, slots: Slots, before: Slots) -> None:
    """Write *slots*, and zero to those that *before* had besides: KVM arms all that it is given."""
    for number, (control, value) in enumerate(slots):
        controls[number], values[number] = control, value
    for number in range(len(slots), len(before)):
        controls[number] = values[number] = 0
