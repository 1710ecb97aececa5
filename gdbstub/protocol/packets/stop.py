"""Stop replies: why the target is at rest, and what a client would ask for next.

It decides nothing about when one is due; ``session.py`` does.
"""

from collections.abc import Iterator
from typing import Final

from gdbstub.errors import StubError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.console import console
from gdbstub.protocol.packets.thread_info import frames, reason, registers, stopped
from gdbstub.target import Exited, Report, Stopped, StopReason

_WATCHES: Final = frozenset((StopReason.WATCH, StopReason.RWATCH, StopReason.AWATCH))
_BREAKS: Final = frozenset((StopReason.SWBREAK, StopReason.HWBREAK))
_KEYS: Final = {stop: stop.value.encode() for stop in StopReason}


def stop_reply(client: ClientState, report: Report) -> bytes:
    """Say *report* (GDB manual, E.3 "Stop Reply Packets"); the thread becomes the current one.

    ``swbreak`` and ``hwbreak`` go only to a client that offered to understand them, LLDB's
    keys only to one that asked for them.
    """
    if isinstance(report, Exited):
        client.leave(guest_gone=client.attached)
        return b"W%02x" % (report.status & 0xFF)
    # The client takes the thread that it reads of here to be selected.
    client.general = report.thread
    return _spell(client, report, _threads(client) if client.lldb else b"")


def thread_stop_reply(client: ClientState, thread: int) -> bytes:
    """The stop reply of one thread, with signal 0 for one that has nothing to say."""
    return _spell(client, stopped(thread, client.target.report()))


def _spell(client: ClientState, report: Stopped, threads: bytes = b"") -> bytes:
    why = b"" if report.stop is StopReason.PLAIN else _why(client, report)
    more = b"".join(_lldb_keys(client, report)) if client.lldb else b""
    values = client.expedited.spell(registers(client, report.thread))
    return b"T%02xthread:%x;%b%b%b%b" % (
        *(report.signal, report.thread),
        *(why, threads, more, values),
    )


def _why(client: ClientState, report: Stopped) -> bytes:
    key = _KEYS[report.stop]
    if report.stop in _WATCHES:
        return b"%b:%x;" % (key, report.gva)
    return key + b":;" if report.stop in _BREAKS and key in client.features else b""


def stop_replies(client: ClientState, report: Report) -> tuple[bytes, ...]:
    """What is sent of its own accord when the target has stopped: perhaps a line to read first."""
    reply = stop_reply(client, report)
    if isinstance(report, Stopped) and report.text:
        line = f"{report.text}\n".encode("ascii", "backslashreplace")
        return *console(line, client.packet_size), reply
    return (reply,)


def _threads(client: ClientState) -> bytes:
    """Every thread, and every thread's PC (LLDB extension, "Stop reply packet extensions")."""
    listed = b"threads:%b;" % b",".join(b"%x" % thread for thread in client.threads)
    if not client.pc:
        return listed
    try:
        pcs = [client.target.read_registers(thread, client.pc) for thread in client.threads]
    except StubError:
        return listed  # LLDB asks
    words = (b"%x" % int.from_bytes(pc, "little") for pc in pcs)
    return listed + b"thread-pcs:%b;" % b",".join(words)


def _lldb_keys(client: ClientState, report: Stopped) -> Iterator[bytes]:
    """Why it stopped and where its frames lie (LLDB extension, the same place)."""
    said = reason(client, report)
    if text := said.get("reason"):
        yield b"reason:%b;" % text.encode()
    if text := said.get("description"):
        yield b"description:%b;" % text.encode().hex().encode()
    for gva, record in frames(client, report.thread):
        yield b"memory:0x%x=%b;" % (gva, record.hex().encode())
