"""Packets that LLDB alone sends (lldb/docs/resources/lldbgdbremote.md).

Packets that GDB sends too are in the other files.
"""

import errno

from gdbstub.errors import MachineError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.stop import thread_stop_reply
from gdbstub.protocol.packets.thread_info import frames, reason, registers, stopped
from gdbstub.target import Thread


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
    """``qHostInfo``: describe the machine (LLDB extension).

    It includes a timeout of 20 seconds: LLDB's own is 1 second, too short for an emulated machine.
    """
    when = b"after" if client.architecture.watchpoints_stop_after else b"before"
    timeout = b"default_packet_timeout:20;"
    return b"%bwatchpoint_exceptions_received:%b;%b" % (_processor(client), when, timeout)


@packet("qProcessInfo")
def process_info(client: ClientState) -> bytes:
    """``qProcessInfo``: describe the guest (LLDB extension).

    No ``pid``: LLDB would look for a process of that number on its own machine.
    """
    return _processor(client)


def _processor(client: ClientState) -> bytes:
    triple = client.architecture.triple
    known = b"triple:%b;" % triple.encode().hex().encode() if triple else b""
    return b"%bptrsize:%d;endian:little;" % (known, client.architecture.pointer_size)


@packet("qThreadStopInfo", "thread-id")
def thread_stop(client: ClientState, thread_id: int) -> bytes:
    """``qThreadStopInfo thread-id``: say why a thread is at rest (LLDB extension)."""
    return thread_stop_reply(client, client.thread(thread_id))


@packet("jThreadsInfo")
def threads_info(client: ClientState) -> bytes:
    """``jThreadsInfo``: list threads with their stops and registers, as JSON (LLDB extension)."""
    import json  # imported here as only LLDB needs it: a start would pay for it

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
    """``qWatchpointSupportInfo:``: say how many watchpoints there can be (LLDB extension)."""
    return b"num:%d;" % client.target.watchpoint_slots


@packet("_M", "length,…")
def allocate(client: ClientState, length: int) -> bytes:
    """``_M length,permissions``: refuse memory for an expression (LLDB extension).

    The reply is an error, not "unsupported", after which LLDB would have a guest with some triples
    call ``mmap``.
    """
    raise MachineError("all memory is the guest's own; none can be given away", errno.ENOMEM)
