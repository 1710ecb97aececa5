"""Packets that LLDB alone sends (lldb/docs/resources/lldbgdbremote.md).

What GDB sends too is not here, and what a client has not asked for is not said.
"""

import errno
from typing import Final

from gdbstub.errors import MachineError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.stop import thread_stop_reply
from gdbstub.protocol.packets.thread_info import frames, reason, registers, stopped
from gdbstub.target import Thread

_TRIPLE: Final = b"triple:%b;ptrsize:8;endian:little;" % b"aarch64-unknown-none".hex().encode()


@packet("QThreadSuffixSupported")
def thread_suffix(client: ClientState) -> bytes:
    """``QThreadSuffixSupported``: ``g``, ``G``, ``p``, ``P`` may name a thread (LLDB extension)."""
    return b"OK"


@packet("QListThreadsInStopReply")
def list_threads(client: ClientState) -> bytes:
    """``QListThreadsInStopReply``: stop replies say more from now on (LLDB extension)."""
    client.lldb = True
    return b"OK"


@packet("qHostInfo")
def host_info(client: ClientState) -> bytes:
    """``qHostInfo``: what kind of machine this is (LLDB extension).

    A watchpoint stops before its instruction; LLDB waits for a lab longer than its 1 second.
    """
    return _TRIPLE + b"watchpoint_exceptions_received:before;default_packet_timeout:20;"


@packet("qProcessInfo")
def process_info(client: ClientState) -> bytes:
    """``qProcessInfo``: the same of the guest (LLDB extension).

    No ``pid``: LLDB would look for a process of that number on its own machine.
    """
    return _TRIPLE


@packet("qThreadStopInfo", "thread-id")
def thread_stop(client: ClientState, thread_id: int) -> bytes:
    """``qThreadStopInfo thread-id``: why this one is at rest (LLDB extension)."""
    return thread_stop_reply(client, client.thread(thread_id))


@packet("jThreadsInfo")
def threads_info(client: ClientState) -> bytes:
    """``jThreadsInfo``: every thread's name, stop and registers, as JSON (LLDB extension)."""
    import json  # not at the top: a start would wait for what GDB never needs

    described = [_described(client, thread) for thread in client.target.threads()]
    return json.dumps(described, separators=(",", ":")).encode()


def _described(client: ClientState, thread: Thread) -> dict[str, object]:
    report = stopped(thread.id, client.target.report())
    return {
        "tid": thread.id,
        "name": f"{thread.name} ({thread.state})",
        "signal": report.signal,
        **reason(client, report),
        "registers": client.expedited.by_number(registers(client, thread.id)),
        "memory": [
            {"address": gva, "bytes": record.hex()} for gva, record in frames(client, thread.id)
        ],
    }


@packet("qWatchpointSupportInfo", "[:]")
def watchpoints(client: ClientState) -> bytes:
    """``qWatchpointSupportInfo:``: how many watchpoints there can be (LLDB extension)."""
    return b"num:%d;" % client.target.watchpoint_slots


@packet("_M", "length,…")
def allocate(client: ClientState, length: int) -> bytes:
    """``_M length,permissions``: give memory for an expression (LLDB extension).

    Not answered with "unsupported": with some triples LLDB would have the guest call ``mmap``.
    """
    raise MachineError("all memory is the guest's own; none can be given away", errno.ENOMEM)
