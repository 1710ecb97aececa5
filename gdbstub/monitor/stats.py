"""Statistics command: packets, stops, exits, system calls and caches.

Counting goes on all the time. This shows the counts.
"""

from collections.abc import Mapping
from typing import Final

from gdbstub.capabilities import Timing
from gdbstub.machine import counted
from gdbstub.monitor.context import CommandContext, command
from gdbstub.monitor.text import table

_UNKNOWN: Final = "(not known)"


@command("stats")
def stats(context: CommandContext) -> str:
    """Show how many packets, exits, system calls and cache hits there were, and packets' times.

    Packets are this client's; their microseconds are from a packet's arrival to its reply or,
    for one that sets the guest going, to when the vCPUs may run. A stop's are from when the
    server learns of it to its reply. Exits and system calls are those of all vCPUs since the
    start. Caches hold what was read of the guest; a miss is a look-up that had to read it.
    """
    packets = {name.decode() or _UNKNOWN: timing for name, timing in context.asked.packets.items()}
    rows = [_took(name, timing) for name, timing in sorted(packets.items())]
    rows.append(_took("(stops)", context.asked.stops))
    rows.append(("(from the cache)", f"{context.asked.cache_hits:8}", ""))
    parts = [table(rows, ("packet", "  number", "us each"))]
    if (machine := counted(context.machine)) is None:
        return "\n".join([*parts, "This machine offers no counts of exits and system calls.\n"])
    for group, numbers in machine.counts.items():
        parts.append(table(_counted(numbers), (group, "  number")))
    caches = context.debugger.caches.counts
    looked_up = [(name, f"{n.hits:8}", f"{n.misses:8}") for name, n in caches.items() if any(n)]
    parts.append(table(looked_up, ("caches", "    hits", "  misses")))
    return "\n".join(parts)


def _took(name: str, timing: Timing) -> tuple[str, str, str]:
    each = f"{timing.nanoseconds / timing.count / 1e3:7.1f}" if timing.count else ""
    return name, f"{timing.count:8}", each


def _counted(numbers: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, f"{number:8}") for name, number in sorted(numbers.items()) if number]
