"""Facts about a thread at rest that replies carry: registers, and for LLDB the reason and frames.

It encodes no reply: ``stop.py`` has the keys of a stop reply, ``lldb.py`` the JSON.
"""

import logging
from collections.abc import Iterator
from typing import Final

from gdbstub.architecture import Register
from gdbstub.errors import StubError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.expedited import Expedited
from gdbstub.target import Report, Signal, Stopped, StopReason

_log = logging.getLogger(__name__)

_REASONS: Final = {
    StopReason.SWBREAK: "breakpoint",
    StopReason.HWBREAK: "breakpoint",
    StopReason.WATCH: "watchpoint",
    StopReason.RWATCH: "watchpoint",
    StopReason.AWATCH: "watchpoint",
}
#: Number of frame records that are sent: LLDB shows so many callers without reading the stack.
_FRAMES: Final = 4


def stopped(thread: int, report: Report) -> Stopped:
    """Return *report* if it is *thread*'s, or else a report with signal 0."""
    if isinstance(report, Stopped) and report.thread == thread:
        return report
    return Stopped(thread, Signal.NONE)


def reason(client: ClientState, report: Stopped) -> dict[str, str]:
    """Make LLDB's keys ``reason`` and ``description`` of a stop, if it has any.

    A watchpoint's description is the watched address, in decimal.
    """
    if report.stop in _REASONS:
        said = {"reason": _REASONS[report.stop]}
        return said | {"description": str(report.gva)} if said["reason"] == "watchpoint" else said
    if report.signal is Signal.TRAP and report.thread in client.stepped:
        return {"reason": "trace"}
    return {"reason": "signal"} if report.signal else {}


def expedited(client: ClientState, thread: int) -> Expedited:
    """Return the registers that are sent of a thread: of the guest's own those that are known."""
    if thread in client.threads:
        return client.expedited
    return Expedited(row for row in client.expedited.rows if _is_known(client, thread, row))


def _is_known(client: ClientState, thread: int, row: Register) -> bool:
    try:
        client.target.read_registers(thread, (row,))
    except StubError:
        return False
    return True


def registers(client: ClientState, thread: int, chosen: Expedited) -> bytes:
    """Read the rows of *chosen*; the result is empty if the target refuses."""
    try:
        return client.target.read_registers(thread, chosen.rows)
    except StubError as error:
        # The stop is reported even so; the client will ask for the registers that it needs.
        _log.warning("the stop reply has no registers, as they cannot be read: %s", error)
        return b""


def frames(client: ClientState, thread: int) -> Iterator[tuple[int, bytes]]:
    """Follow the chain of frame records from the innermost one: the address and bytes of each.

    It is empty for a target without a frame pointer. It ends where a record cannot be read, and
    where it leads to a lower address, as onto another stack.
    """
    row, size = client.architecture.frame_pointer, client.architecture.pointer_size
    if row is None or row not in client.registers:
        return
    try:
        gva = int.from_bytes(client.target.read_registers(thread, (row,)), "little")
        for _ in range(_FRAMES):
            record = client.target.read_memory(thread, gva, 2 * size) if gva else b""
            if gva % size or len(record) < 2 * size:
                return
            yield gva, record
            gva, below = int.from_bytes(record[:size], "little"), gva
            if gva <= below:
                return
    except StubError:
        return
