"""Packets that LLDB alone sends (lldb/docs/resources/lldbgdbremote.md).

Packets that GDB sends too are in the other files.
"""

import errno
import re
from typing import Final

from gdbstub import __version__
from gdbstub.capabilities import MemoryMapping, memory_mapping
from gdbstub.errors import MachineError, MemoryFault, PacketError, StubError, reply_for
from gdbstub.protocol.packets.client_state import ClientState, Reply, Work
from gdbstub.protocol.packets.registry import find, packet
from gdbstub.protocol.packets.stop import thread_stop_reply
from gdbstub.protocol.packets.thread_info import expedited, frames, reason, registers, stopped
from gdbstub.target import Thread

#: Ranges that are read in a slice of the event loop's time.
_RANGES: Final = 256
#: Numbers of 64 bits with commas between, and perhaps one behind. Compiled at the first use.
_NUMBERS: Final = rb"(?:(?!,|\Z)0*+[0-9a-fA-F]{0,16}+(?:,|\Z))++"
#: Length of the breakpoints that are requested in a slice, where each costs as so many characters.
_SLICE, _REQUEST = 8192, 64
#: The reply around their results, and the length of one that has no text, with a comma.
_RESULTS: Final = '{"results":[%s]}'
_RESULT: Final = len('"E16",')


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


@packet("qGDBServerVersion", without_guest=True)
def server_version(client: ClientState) -> bytes:
    """``qGDBServerVersion``: name the server and its version (LLDB extension)."""
    return b"name:kvm-gdbstub;version:%b;" % __version__.encode()


@packet("qThreadStopInfo", "thread-id")
def thread_stop(client: ClientState, thread_id: int) -> bytes:
    """``qThreadStopInfo thread-id``: say why a thread is at rest (LLDB extension)."""
    return thread_stop_reply(client, client.thread(thread_id))


@packet("jThreadsInfo")
def threads_info(client: ClientState) -> Reply:
    """``jThreadsInfo``: list threads with their stops and registers, as JSON (LLDB extension)."""
    return client.list_threads(lambda: _threads_json(client))


def _threads_json(client: ClientState) -> bytes:
    import json  # imported here as only LLDB needs it: a start would pay for it

    described = [_described(client, thread) for thread in client.known_threads]
    return json.dumps(described, separators=(",", ":")).encode()


def _described(client: ClientState, thread: Thread) -> dict[str, object]:
    report, chosen = stopped(thread.id, client.target.report()), expedited(client, thread.id)
    return {
        "tid": thread.id,
        "name": f"{thread.name} ({thread.state})",
        "signal": report.signal,
        **reason(client, report),
        "registers": chosen.by_number(registers(client, thread.id, chosen)),
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


@packet("QEnableErrorStrings")
def error_strings(client: ClientState) -> bytes:
    """``QEnableErrorStrings``: errors carry their text from now on (LLDB extension)."""
    client.error_strings = True
    return b"OK"


@packet("qMemoryRegionInfo", "[:addr]", needs=memory_mapping)
def region(client: ClientState, mapping: MemoryMapping, address: int | None) -> bytes:
    """``qMemoryRegionInfo[:addr]``: a mapped range or a hole, and its permissions (LLDB extension).

    Without an address it asks whether the packet is known.
    """
    if address is None:
        return b"OK"
    found = mapping.region(client.general_thread, address)
    mapped = b"permissions:%b;" % found.permissions.encode() if found.permissions else b""
    return b"start:%x;size:%x;%b" % (found.start, found.size, mapped)


@packet("MultiMemRead:ranges:", "words", feature="MultiMemRead+")
def read_ranges(client: ClientState, words: bytes) -> Work:
    """``MultiMemRead:ranges:addr,length,…;``: read several ranges at once (LLDB extension).

    The reply has the number of bytes of each that could be read, and behind ``;`` the bytes.
    """
    listed, end, more = words.partition(b";")
    if not re.fullmatch(_NUMBERS, listed):  # ``int`` takes signs, blanks, underscores and 0x, too
        raise PacketError("a range is an address and a length, in hex")
    numbers = [int(word, 16) for word in listed.removesuffix(b",").split(b",")]
    if not end or more not in (b"", b"options:;") or len(numbers) % 2:
        raise PacketError("expected pairs of addresses and lengths up to a ;")
    # What does not fit is not read: LLDB asks again for what is short.
    left = (client.packet_size - len(words)) // 2
    parts: list[bytes] = []
    for address, length in zip(numbers[::2], numbers[1::2], strict=True):
        if len(parts) % _RANGES == _RANGES - 1:
            yield None
        parts.append(_read_range(client, address, min(length, left)))
        left -= len(parts[-1])
    return b",".join(b"%x" % len(part) for part in parts) + b";" + b"".join(parts)


def _read_range(client: ClientState, address: int, length: int) -> bytes:
    length = min(length, (1 << 64) - address)
    if length <= 0:
        return b""
    try:
        return client.read_memory(address, length)
    except MemoryFault:
        return b""


@packet("jMultiBreakpoint:", "words", feature="jMultiBreakpoint+")
def breakpoints(client: ClientState, words: bytes) -> Work:
    """``jMultiBreakpoint:{JSON}``: obey ``Z`` and ``z`` packets, each (LLDB extension)."""
    import json

    try:
        requests = json.loads(words)["breakpoint_requests"]
    except (ValueError, KeyError, TypeError, RecursionError):
        requests = None
    if not isinstance(requests, list) or not all(isinstance(each, str) for each in requests):
        raise PacketError("expected a JSON object with a list of strings, breakpoint_requests")
    if len(requests) > (most := client.packet_size // (2 * _RESULT)):
        raise PacketError(
            f"{len(requests)} breakpoint requests, where at most {most} are taken at once"
        )
    # Errors have their texts as far as the reply has room: the other half, at least.
    room = client.packet_size // 2 - len(_RESULTS)
    results: list[str] = []
    size = 0
    for each in requests:
        if (size := size + len(each) + _REQUEST) > _SLICE:
            yield None
            size = 0
        results.append(_breakpoint(client, each.encode("ascii", "replace"), room))
        room -= max(0, len(results[-1]) + 1 - _RESULT)
    return (_RESULTS % ",".join(results)).encode()


def _breakpoint(client: ClientState, request: bytes, room: int) -> str:
    """Obey one request; return its reply as JSON, and a text of an error only if there is room."""
    import json

    try:
        row = find(request) if request[:1] in (b"Z", b"z") else None
        if row is None:
            raise PacketError("expected Z and z packets")
        reply = row.handler(client, *row.constants, *row.template.parse(request, len(row.name)))
    except StubError as error:
        told = json.dumps(client.error_reply(error).decode())
        return told if len(told) < room else json.dumps(reply_for(error, textual=False).decode())
    return json.dumps(reply.decode() if isinstance(reply, bytes) else "")
