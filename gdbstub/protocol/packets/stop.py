"""Stop replies: the reason of a stop, and values that a client would ask for next.

``session.py`` decides when a stop reply is due.
"""

from collections.abc import Iterator
from typing import Final

from gdbstub.capabilities import address_bits
from gdbstub.errors import StubError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.console import console
from gdbstub.protocol.packets.thread_info import expedited, frames, reason, registers, stopped
from gdbstub.target import Exited, Report, Signal, Stopped, StopReason

_WATCHES: Final = frozenset((StopReason.WATCH, StopReason.RWATCH, StopReason.AWATCH))
_BREAKS: Final = frozenset((StopReason.SWBREAK, StopReason.HWBREAK))
_KEYS: Final = {stop: stop.value.encode() for stop in StopReason}
_PLAIN: Final = StopReason.PLAIN  # a name of its own: before Python 3.12 ``Enum.MEMBER`` is slow


def stop_reply(client: ClientState, report: Report) -> bytes:
    """Encode *report* (GDB manual, E.3 "Stop Reply Packets"); its thread becomes the current one.

    ``swbreak`` and ``hwbreak`` go only to a client that announced them, and LLDB's keys only to
    a client that asked for them.
    """
    if isinstance(report, Exited):
        client.exit()
        status = b"W%02x" % (report.status & 0xFF)
        return status + b";process:%x" % client.process if client.process else status
    # A client takes the thread of a stop reply for selected.
    client.general_thread = report.thread
    return _encode(client, report, _threads(client) if client.lldb else b"")


def thread_stop_reply(client: ClientState, thread: int) -> bytes:
    """Encode the stop reply of one thread; its signal is 0 if another thread stopped."""
    return _encode(client, stopped(thread, client.target.report()))


def refusal(client: ClientState, thread: int, line: str) -> tuple[bytes, ...]:
    """Encode what a client gets whose resume of the guest's own *thread* is refused: a stop.

    GDB shows a line. LLDB shows a reason; without one it would step again, and after an error it
    would leave. It keeps the step for the next resume, unless the user drops it.
    """
    if not client.lldb:
        return *console(f"{line}\n".encode(), client.packet_size), thread_stop_reply(client, thread)
    said = f"{line} Drop the step: thread plan discard 1".encode().hex().encode()
    return (
        b"T%02xthread:%b;%breason:exception;description:%b;"
        % (Signal.TRAP, client.encode_thread(thread), _threads(client), said),
    )


def _encode(client: ClientState, report: Stopped, threads: bytes = b"") -> bytes:
    why = b"" if report.stop is _PLAIN else _why(client, report)
    more = b"".join(_lldb_keys(client, report)) if client.lldb else b""
    chosen = expedited(client, report.thread)
    values = chosen.encode(registers(client, report.thread, chosen))
    return b"T%02xthread:%b;%b%b%b%b" % (
        *(report.signal, client.encode_thread(report.thread)),
        *(why, threads, more, values),
    )


def _why(client: ClientState, report: Stopped) -> bytes:
    key = _KEYS[report.stop]
    if report.stop in _WATCHES:
        also = report.also if b"multi-wp-addr" in client.features else ()
        return b"".join(
            b"%b:%x;" % pair for pair in ((key, report.gva), *((_KEYS[r], gva) for r, gva in also))
        )
    if report.stop is StopReason.LIBRARY:
        return key + b":;"
    return key + b":;" if report.stop in _BREAKS and key in client.features else b""


def stop_replies(client: ClientState, report: Report) -> tuple[bytes, ...]:
    """Encode what a client gets at a stop: *report*'s text, if any, and the stop reply."""
    reply = stop_reply(client, report)
    if isinstance(report, Stopped) and report.text:
        line = f"{report.text}\n".encode("ascii", "backslashreplace")
        return *console(line, client.packet_size), reply
    return (reply,)


def _threads(client: ClientState) -> bytes:
    """Encode all thread ids and their PCs (LLDB extension, "Stop reply packet extensions")."""
    threads = (*client.threads, *(row.id for row in client.guest_threads))
    listed = b"threads:%b;" % b",".join(b"%x" % thread for thread in threads)
    if not client.pc:
        return listed
    try:
        pcs = [client.target.read_registers(thread, client.pc) for thread in threads]
    except StubError:
        return listed  # LLDB asks for the PCs
    words = (b"%x" % int.from_bytes(pc, "little") for pc in pcs)
    return listed + b"thread-pcs:%b;" % b",".join(words)


def _lldb_keys(client: ClientState, report: Stopped) -> Iterator[bytes]:
    """Yield reason, description and frames (LLDB extension, "Stop reply packet extensions")."""
    said = reason(client, report)
    if text := said.get("reason"):
        yield b"reason:%b;" % text.encode()
    if text := said.get("description"):
        yield b"description:%b;" % text.encode().hex().encode()
    # LLDB drops the other bits of return addresses, which may be signed (21 and newer).
    sized = address_bits(client.target)
    if sized is not None and (bits := sized.address_bits(report.thread)) is not None:
        yield b"low_mem_addressing_bits:%d;high_mem_addressing_bits:%d;" % bits
    for gva, record in frames(client, report.thread):
        yield b"memory:0x%x=%b;" % (gva, record.hex().encode())
