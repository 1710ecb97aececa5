"""Description and counters of a foreign guest, for ``monitor info`` and ``monitor stats``."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence

from gdbstub.foreign.memory import ForeignRam
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.process import VmmProcess
from gdbstub.kvm import abi
from gdbstub.kvm.one_reg import Counts


def description(process: VmmProcess, ram: ForeignRam, evidence: str) -> Mapping[str, str]:
    """Return a subject to one line (``Described.about``); *evidence* is that for the RAM."""
    places = ", ".join(f"{_size(s.size)} at {s.ipa:#x} to {s.end - 1:#x}" for s in ram.slots)
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
