"""Packets about threads, each of which is a vCPU.

Which ones there are never changes, so no list is kept between packets.
"""

from gdbstub.protocol.packets.client_state import ALL, ANY, ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.xml import escape


@packet("Hg", "thread-id", idle=True)
def select_general(client: ClientState, thread_id: int) -> bytes:
    """``Hg thread-id``: whose registers and memory are meant (GDB manual, E.2)."""
    client.general = client.thread(ANY if thread_id == ALL else thread_id)
    return b"OK"


@packet("Hc", "thread-id", idle=True)
def select_resumed(client: ClientState, thread_id: int) -> bytes:
    """``Hc thread-id``: what ``c`` and ``s`` resume (GDB manual, E.2)."""
    client.resumed = ALL if thread_id in (ALL, ANY) else client.thread(thread_id)
    return b"OK"


@packet("T", "thread-id")
def alive(client: ClientState, thread_id: int) -> bytes:
    """``T thread-id``: whether there is such a thread (GDB manual, E.2)."""
    client.thread(thread_id)
    return b"OK"


@packet("qC")
def current(client: ClientState) -> bytes:
    """``qC``: the current thread (GDB manual, E.4)."""
    return b"QC%x" % client.general


@packet("qfThreadInfo", idle=True)
def first_threads(client: ClientState) -> bytes:
    """``qfThreadInfo``: every thread's id (GDB manual, E.4)."""
    return b"m" + b",".join(b"%x" % thread for thread in client.known_threads)


@packet("qsThreadInfo", idle=True)
def further_threads(client: ClientState) -> bytes:
    """``qsThreadInfo``: there are no more (GDB manual, E.4)."""
    return b"l"


@packet("qThreadExtraInfo", ",thread-id")
def extra_info(client: ClientState, thread_id: int) -> bytes:
    """``qThreadExtraInfo,thread-id``: a few words for a person (GDB manual, E.4)."""
    wanted = client.thread(thread_id)
    row = next(thread for thread in client.target.threads() if thread.id == wanted)
    return f"{row.name} {row.state}".encode().hex().encode()


def threads_xml(client: ClientState) -> bytes:
    """The thread list as a document (GDB manual, "Thread List Format")."""
    rows = (
        f'<thread id="{row.id:x}" core="{row.core}" name="{escape(row.name)}">'
        f"{escape(row.state)}</thread>"
        for row in client.target.threads()
        if row.id in client.known_threads
    )
    return "\n".join(("<threads>", *rows, "</threads>", "")).encode()
