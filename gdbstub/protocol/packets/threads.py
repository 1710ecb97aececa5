"""Packets about threads.

The threads of vCPUs never change, and others are the target's to list: no list is kept here.
"""

from gdbstub.protocol.packets.client_state import ALL, ANY, ClientState, Reply
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.xml import escape
from gdbstub.target import Thread


@packet("Hg", "thread-id", without_guest=True)
def select_general(client: ClientState, thread_id: int) -> bytes:
    """``Hg thread-id``: select the thread to read and write (GDB manual, E.2)."""
    if thread_id not in (ALL, ANY):  # else any will do, as the current one
        client.general_thread = client.thread(thread_id)
    return b"OK"


@packet("Hc", "thread-id", without_guest=True)
def select_resumed(client: ClientState, thread_id: int) -> bytes:
    """``Hc thread-id``: select the thread that ``c`` and ``s`` resume (GDB manual, E.2)."""
    client.cont_thread = ALL if thread_id in (ALL, ANY) else client.vcpu_thread(thread_id)
    return b"OK"


@packet("T", "thread-id")
def alive(client: ClientState, thread_id: int) -> bytes:
    """``T thread-id``: confirm that there is such a thread (GDB manual, E.2)."""
    client.thread(thread_id)
    return b"OK"


@packet("qC")
def current(client: ClientState) -> bytes:
    """``qC``: name the current thread (GDB manual, E.4)."""
    return b"QC" + client.encode_thread(client.thread(ANY))


@packet("qfThreadInfo", without_guest=True)
def first_threads(client: ClientState) -> Reply:
    """``qfThreadInfo``: list every thread's id (GDB manual, E.4)."""
    return client.list_threads(
        lambda: b"m" + b",".join(client.encode_thread(row.id) for row in client.known_threads)
    )


@packet("qsThreadInfo", without_guest=True)
def further_threads(client: ClientState) -> bytes:
    """``qsThreadInfo``: end the list; there are no more threads (GDB manual, E.4)."""
    return b"l"


@packet("qThreadExtraInfo", ",thread-id")
def extra_info(client: ClientState, thread_id: int) -> bytes:
    """``qThreadExtraInfo,thread-id``: describe a thread in a few words (GDB manual, E.4)."""
    wanted = client.thread(thread_id)
    row = next(thread for thread in client.known_threads if thread.id == wanted)
    return f"{row.name} {row.state}".encode().hex().encode()


def threads_xml(client: ClientState) -> bytes:
    """Make the thread list as a document (GDB manual, "Thread List Format")."""
    rows = (_thread_xml(client, row) for row in client.known_threads)
    return "\n".join(("<threads>", *rows, "</threads>", "")).encode()


def _thread_xml(client: ClientState, row: Thread) -> str:
    core = "" if row.core is None else f' core="{row.core}"'
    name, state = escape(row.name), escape(row.state)
    return (
        f'<thread id="{client.encode_thread(row.id).decode()}"{core} name="{name}">{state}</thread>'
    )
