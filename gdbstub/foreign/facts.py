"""Description and counters of a foreign guest, for ``monitor info`` and ``monitor stats``."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gdbstub.aarch64.registers import SYSTEM_REGISTERS
from gdbstub.aarch64.sve import QUADWORD, VLS
from gdbstub.architecture import Register
from gdbstub.foreign.memory import ForeignRam
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.process import VmmProcess
from gdbstub.kvm import abi
from gdbstub.kvm.one_reg import Counts
from gdbstub.kvm.port import ioctl
from gdbstub.kvm.vcpu_state import VcpuState

_PAUTH: Final = "APIAKeyLo_EL1"


class Facts(NamedTuple):
    """Facts about a VM's vCPUs that do not change."""

    breakpoint_slots: int
    watchpoint_slots: int
    system_registers: Sequence[Register]
    pointer_authentication: bool
    #: Bytes of the longest vectors of SVE; 0 without SVE.
    vector_length: int


def read_facts(port: RemotePort, vm: int, first: VcpuState) -> Facts:
    """Ask KVM for the facts about the VM with the descriptor *vm*, whose first vCPU is *first*."""
    breakpoints, watchpoints = (
        max(0, ioctl(port, vm, abi.CHECK_EXTENSION, capability))
        for capability in (abi.CAP_GUEST_DEBUG_HW_BPS, abi.CAP_GUEST_DEBUG_HW_WPS)
    )
    listed = first.listed()
    system_registers = [row for row in SYSTEM_REGISTERS.values() if row.id in listed]
    vector_length = first.get(VLS).bit_length() * QUADWORD if VLS.id in listed else 0
    signs = any(row.name == _PAUTH for row in system_registers)
    return Facts(breakpoints, watchpoints, system_registers, signs, vector_length)


def description(process: VmmProcess, ram: ForeignRam, evidence: str) -> Mapping[str, str]:
    """Return a subject to one line (``Described.about``); *evidence* is that for the RAM."""
    places = ", ".join(
        f"{_size(slot.size)}{' of ROM' * slot.rom} at {slot.ipa:#x} to {slot.end - 1:#x}"
        for slot in ram.slots
    )
    return {
        "VMM": f"{process.name}, process {process.pid}",
        "RAM": f"{places or 'not found'} ({ram.read_only or evidence})",
        "devices": "the VMM's own; they go on, and write RAM, while the guest is halted",
        "host": f"KVM on Linux {platform.release()}",
    }


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def totals(port: RemotePort, counts: Sequence[Counts]) -> Mapping[str, Mapping[str, int]]:
    """Return a group to its events' numbers (``Counted.counts``)."""
    reasons, exits = abi.names("EXIT_"), Counter[str]()
    for each in counts:
        for reason, number in each.exits.items():
            exits[reasons.get(reason, str(reason))] += number
    requests = abi.names()
    calls = port.calls.items()
    ioctls = Counter({requests.get(request, hex(request)): n for request, n in calls})
    ioctls["KVM_GET_ONE_REG"] = sum(each.gets for each in counts)
    ioctls["KVM_SET_ONE_REG"] = sum(each.sets for each in counts)
    ioctls["(system calls made in the VMM)"] = port.injected
    return {"exits": exits, "ioctls": ioctls}
