"""Packets about threads.

A target's threads never change, so no list is kept between packets.
"""

from gdbstub.protocol.packets.client_state import ALL, ANY, ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.xml import escape


@packet("Hg", "thread-id", idle=True)
def select_general(client: ClientState, thread_id: int) -> bytes:
    """``Hg thread-id``: select the thread to read and write (GDB manual, E.2)."""
    client.general = client.thread(ANY if thread_id == ALL else thread_id)
    return b"OK"


@packet("Hc", "thread-id", idle=True)
def select_resumed(client: ClientState, thread_id: int) -> bytes:
    """``Hc thread-id``: select the thread that ``c`` and ``s`` resume (GDB manual, E.2)."""
    client.resumed = ALL if thread_id in (ALL, ANY) else client.thread(thread_id)
    return b"OK"


@packet("T", "thread-id")
def alive(client: ClientState, thread_id: int) -> bytes:
    """``T thread-id``: confirm that there is such a thread (GDB manual, E.2)."""
    client.thread(thread_id)
    return b"OK"


@packet("qC")
def current(client: ClientState) -> bytes:
    """``qC``: name the current thread (GDB manual, E.4)."""
    return b"QC" + client.spell(client.general)


@packet("qfThreadInfo", idle=True)
def first_threads(client: ClientState) -> bytes:
    """``qfThreadInfo``: list every thread's id (GDB manual, E.4)."""
    return b"m" + b",".join(map(client.spell, client.known_threads))


@packet("qsThreadInfo", idle=True)
def further_threads(client: ClientState) -> bytes:
    """``qsThreadInfo``: end the list; there are no more threads (GDB manual, E.4)."""
    return b"l"


@packet("qThreadExtraInfo", ",thread-id")
def extra_info(client: ClientState, thread_id: int) -> bytes:
    """``qThreadExtraInfo,thread-id``: describe a thread in a few words (GDB manual, E.4)."""
    wanted = client.thread(thread_id)
    row = next(thread for thread in client.target.threads() if thread.id == wanted)
    return f"{row.name} {row.state}".encode().hex().encode()


def threads_xml(client: ClientState) -> bytes:
    """Make the thread list as a document (GDB manual, "Thread List Format")."""
    rows = (
        f'<thread id="{client.spell(row.id).decode()}" core="{row.core}" name="{escape(row.name)}">'
        f"{escape(row.state)}</thread>"
        for row in client.target.threads()
        if row.id in client.known_threads
    )
    return "\n".join(("<threads>", *rows, "</threads>", "")).encode()
