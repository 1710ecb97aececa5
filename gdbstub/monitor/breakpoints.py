"""Breakpoint command: lists breakpoints and watchpoints, and what of them is in the guest now."""

from collections.abc import Sequence
from typing import Final

from gdbstub.aarch64.bits import Word
from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR
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
_HEAD: Final = ("kind", "address", "bytes", "hits", "false", "state", "physical")


@command("break list")
def break_list(context: CommandContext) -> str:
    """List breakpoints and watchpoints, where they are, and how often each was hit.

    hits: stops that the client was told of. false: hits whose condition did not hold.
    state: armed is in the guest, though GDB removes its breakpoints at each stop; asked will be
    when the guest goes on; out is neither.
    physical: address of a BRK in RAM now. An armed break without one is served by a comparator.
    Below: the comparators of every vCPU, as they are armed now.
    """
    entries = context.history.entries.values()
    rows = [_row(context, entry) for entry in entries if _shown(context, entry)]
    lines = table(rows, _HEAD) if rows else "No breakpoint, no watchpoint.\n"
    armed = context.breakpoints.armed
    pairs = _pairs("DBGBCR", "DBGBVR", DBGBCR, armed.breakpoints)
    pairs += _pairs("DBGWCR", "DBGWVR", DBGWCR, armed.watchpoints)
    return f"{lines}\n{table(pairs)}" if pairs else lines


def _shown(context: CommandContext, entry: Entry) -> bool:
    return entry.requested or bool(entry.hits) or context.history.armed(entry)


def _places(context: CommandContext, entry: Entry) -> list[int]:
    """Return the physical addresses of its BRKs that are in RAM now."""
    if entry.kind is not BreakpointKind.SOFTWARE:
        return []
    places = context.breakpoints.places(entry.gva) or entry.places
    return sorted(ipa for ipa in places if context.breakpoints.patched(ipa))


def _row(context: CommandContext, entry: Entry) -> tuple[str, ...]:
    places = " ".join(f"{ipa:#x}" for ipa in _places(context, entry))
    state = "armed" if context.history.armed(entry) else "asked" if entry.requested else "out"
    return (
        *(_KINDS[entry.kind], f"{entry.gva:#x}", f"{entry.length:5}", f"{entry.hits:4}"),
        f"{context.breakpoints.conditions.false_hits[entry.kind, entry.gva]:5}",
        *(state, places),
    )


def _pairs(
    control: str, value: str, word: type[Word], slots: Sequence[tuple[int, int]]
) -> list[tuple[str, str, str]]:
    return [
        (f"{control}{n}_EL1 {bits:#x}", f"{value}{n}_EL1 {gva:#x}", repr(word(bits)))
        for n, (bits, gva) in enumerate(slots)
    ]
