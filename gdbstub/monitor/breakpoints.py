"""Breakpoint command: lists breakpoints and watchpoints, and what of them is in the guest now."""

from collections.abc import Sequence
from typing import Final

from gdbstub.aarch64.bits import Word
from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR
from gdbstub.debug.placement import Preference
from gdbstub.monitor.breakpoint_history import Entry
from gdbstub.monitor.context import CommandContext, command
from gdbstub.monitor.text import table
from gdbstub.target import BreakpointKind

_KINDS: Final = {
    BreakpointKind.SOFTWARE: "break",
    BreakpointKind.HARDWARE: "hbreak",
    BreakpointKind.WRITE: "watch",
    BreakpointKind.READ: "rwatch",
    BreakpointKind.ACCESS: "awatch",
}
_HEAD: Final = ("kind", "address", "bytes", "hits", "false", "state", "served by")
_PREFERENCES: Final = {
    Preference.AUTO: "A comparator serves what a BRK would disturb, while one is free "
    "(break prefer auto).\n",
    Preference.SOFTWARE: "A BRK serves a software breakpoint wherever one may be "
    "(break prefer software).\n",
    Preference.HARDWARE: "A comparator serves a software breakpoint while one is free "
    "(break prefer hardware).\n",
}


@command("break list")
def break_list(context: CommandContext) -> str:
    """List breakpoints and watchpoints, where they are, and how often each was hit.

    hits: stops that the client was told of. false: hits whose condition did not hold.
    state: armed is in the guest, though GDB removes its breakpoints at each stop; asked will be
    when the guest goes on; out is neither.
    served by: a BRK at physical addresses, a comparator, or nothing, and why not by the other.
    Below: the comparators of every vCPU, as they are armed now.
    """
    entries = context.history.entries.values()
    rows = [_row(context, entry) for entry in entries if _shown(context, entry)]
    lines = table(rows, _HEAD) if rows else "No breakpoint, no watchpoint.\n"
    armed = context.breakpoints.armed
    pairs = _pairs("DBGBCR", "DBGBVR", DBGBCR, armed.breakpoints)
    pairs += _pairs("DBGWCR", "DBGWVR", DBGWCR, armed.watchpoints)
    return f"{lines}\n{table(pairs)}" if pairs else lines


@command("break prefer", "[auto|software|hardware]")
def break_prefer(context: CommandContext, wanted: str | None) -> str:
    """Choose what serves software breakpoints (auto at first); alone: say which.

    auto: a comparator, while one is free, where the kernel may check or rewrite its text, in a
    process, and in memory that may be written; a BRK elsewhere.
    software: a BRK wherever one may be. hardware: a comparator while one is free.
    Hardware breakpoints, and software ones that no BRK can serve, get theirs first in any case.
    """
    if wanted:
        context.breakpoints.preference = Preference(wanted)
    return _PREFERENCES[context.breakpoints.preference]


def _shown(context: CommandContext, entry: Entry) -> bool:
    return entry.requested or bool(entry.hits) or context.history.armed(entry)


def _row(context: CommandContext, entry: Entry) -> tuple[str, ...]:
    armed = context.history.armed(entry)
    state = "armed" if armed else "asked" if entry.requested else "out"
    return (
        *(_KINDS[entry.kind], f"{entry.gva:#x}", f"{entry.length:5}", f"{entry.hits:4}"),
        f"{context.breakpoints.conditions.false_hits[entry.kind, entry.gva]:5}",
        *(state, _service(context, entry) if armed else ""),
    )


def _service(context: CommandContext, entry: Entry) -> str:
    """Say what serves an armed breakpoint, and the reason if there is one."""
    if entry.kind is not BreakpointKind.SOFTWARE:
        return "comparator"
    served = context.breakpoints.served(entry.gva)
    how = served.service.value
    if ipas := sorted(ipa for ipa in served.ipas if context.breakpoints.patched(ipa)):
        how = f"BRK at {', '.join(map(hex, ipas))}"
    return f"{how}: {served.why}" if served.why else how


def _pairs(
    control: str, value: str, word: type[Word], slots: Sequence[tuple[int, int]]
) -> list[tuple[str, str, str]]:
    return [
        (f"{control}{n}_EL1 {bits:#x}", f"{value}{n}_EL1 {gva:#x}", repr(word(bits)))
        for n, (bits, gva) in enumerate(slots)
    ]
