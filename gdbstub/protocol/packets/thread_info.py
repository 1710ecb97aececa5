"""Details of a thread for stop replies: registers, and for LLDB the stop's reason and frames.

It encodes no reply: ``stop.py`` has the keys of a stop reply, ``lldb.py`` the JSON.
"""

import logging
from collections.abc import Iterator
from typing import Final

from gdbstub.aarch64.registers import X
from gdbstub.errors import StubError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.target import Report, Signal, Stopped, StopReason

_log = logging.getLogger(__name__)

_REASONS: Final = {
    StopReason.SWBREAK: "breakpoint",
    StopReason.HWBREAK: "breakpoint",
    StopReason.WATCH: "watchpoint",
    StopReason.RWATCH: "watchpoint",
    StopReason.AWATCH: "watchpoint",
}
#: Number of frame records in a stop reply. LLDB shows so many callers without reading the stack.
_FRAMES: Final = 4
_RECORD: Final = 16  # bytes: the caller's x29, and x30


def stopped(thread: int, report: Report) -> Stopped:
    """Return *report* if it is about *thread*, else a stop without signal and reason."""
    if isinstance(report, Stopped) and report.thread == thread:
        return report
    return Stopped(thread, Signal.NONE)


def reason(client: ClientState, report: Stopped) -> dict[str, str]:
    """Return LLDB's ``reason`` and ``description`` of a stop, as far as there are any.

    A watchpoint's description is the watched address, in decimal.
    """
    if report.stop in _REASONS:
        said = {"reason": _REASONS[report.stop]}
        return said | {"description": str(report.gva)} if said["reason"] == "watchpoint" else said
    if report.signal is Signal.TRAP and report.thread in client.stepped:
        return {"reason": "trace"}
    return {"reason": "signal"} if report.signal else {}


def registers(client: ClientState, thread: int) -> bytes:
    """Read the bytes of ``client.expedited.rows``; empty if the target cannot read them."""
    try:
        return client.target.read_registers(thread, client.expedited.rows)
    except StubError as error:
        # The stop reply is due even so. The client will read the registers that it needs.
        _log.warning("the stop reply has no registers: they cannot be read: %s", error)
        return b""


def frames(client: ClientState, thread: int) -> Iterator[tuple[int, bytes]]:
    """Yield the innermost frame records, each as its address and 16 bytes (AAPCS64, 6.4.6).

    A target without x29 has none. The chain ends at a record that is misaligned or unreadable,
    and where the next address is not higher, as on another stack.
    """
    if X[29] not in client.registers:
        return
    try:
        gva = int.from_bytes(client.target.read_registers(thread, (X[29],)), "little")
        for _ in range(_FRAMES):
            record = client.target.read_memory(thread, gva, _RECORD) if gva else b""
            if gva % 8 or len(record) < _RECORD:
                return
            yield gva, record
            gva, below = int.from_bytes(record[:8], "little"), gva
            if gva <= below:
                return
    except StubError:
        return
