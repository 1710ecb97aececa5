"""Packets that resume the guest, or ask why it is at rest.

No handler waits: it returns a ``Resume``, and the session sends the stop reply at the next stop.
Packets that detach from a guest, or start it again, are in ``lifecycle.py``.
"""

import re
from functools import cache
from typing import Final

from gdbstub.errors import NoSuchThread, PacketError
from gdbstub.protocol.packets.client_state import ALL, ANY, CacheableResume, ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.stop import refusal, stop_reply
from gdbstub.protocol.packets.template import HEX, number, thread_id
from gdbstub.target import Action, Exited, Range, Resume, program_counter

#: Actions of ``vCont``. Signals are ignored, since a guest has none of GDB's. ``t`` keeps a
#: thread at rest. ``r`` steps until the pc leaves a range.
ACTIONS: Final[dict[bytes, Action | None]] = {
    b"c": Action.CONTINUE,
    b"C": Action.CONTINUE,
    b"s": Action.STEP,
    b"S": Action.STEP,
    b"t": None,
    b"r": Action.STEP,
}

_ACTION: Final = re.compile(rb"[cst]|[CS][0-9a-fA-F]{2}|r%b,%b" % (HEX, HEX))


@packet("?", without_guest=True)
def why(client: ClientState) -> bytes:
    """``?``: why the target is at rest (GDB manual, E.2)."""
    # Without a guest the target is not asked: a guest that was detached runs.
    return stop_reply(client, client.target.report() if client.attached else Exited())


@packet("c", "[addr]", Action.CONTINUE)
@packet("s", "[addr]", Action.STEP)
@packet("C", "sig[;addr]", Action.CONTINUE)
@packet("S", "sig[;addr]", Action.STEP)
def resume(client: ClientState, action: Action, *arguments: int | None) -> Resume:
    """``c [addr]``, ``C sig[;addr]`` and so on: resume, from *addr* if given (GDB manual, E.2).

    *sig* is ignored: a guest has none of GDB's signals.
    """
    if (gva := arguments[-1]) is not None:
        thread = client.general_thread if client.cont_thread == ALL else client.cont_thread
        pc = program_counter(client.registers)
        client.target.write_register(thread, pc, gva.to_bytes(pc.size, "little"))
    return client.resume(action)


@packet("vCont;", "actions", feature="vContSupported+")
def resume_threads(
    client: ClientState, actions: bytes
) -> Resume | CacheableResume | tuple[bytes, ...]:
    """``vCont;action[:thread-id];…``: resume threads, each its own way (GDB manual, E.2).

    A thread's action is the leftmost one that names it. A thread without an action stays. LLDB
    continues all threads by name, those of the guest's own as well, which wait on. A resume of
    one of these alone, or a step of one, is refused.
    """
    chosen: dict[int, Action | Range | None] = {}
    waiting: dict[int, Action | Range | None] = {}
    cacheable, all_chosen = True, False
    # Listed once, and only for a packet that names others than vCPUs' threads.
    others = cache(lambda: frozenset(row.id for row in client.guest_threads))
    items = actions.split(b";")
    most = 2 * len(client.threads) + 16
    if len(items) > most and len(items) > (most := most + 2 * len(others())):
        raise PacketError(f"vCont with {len(items)} actions, where at most {most} are taken")
    for item in items:
        text, colon, where = item.partition(b":")
        if not (match := _ACTION.fullmatch(text)):
            raise PacketError("an action of vCont that is none of c, C, s, S, t and r")
        start, end = match.groups()
        action = Range(number(start), number(end)) if end is not None else ACTIONS[text[:1]]
        which = thread_id(where) if colon else ALL
        cacheable &= which != ANY  # another thread may be the current one next time
        thread = client.general_thread if which == ANY else which
        if thread != ALL and thread not in client.threads:
            if thread not in others():
                raise NoSuchThread(f"there is no thread {thread}")
            cacheable, first = False, waiting.setdefault(thread, action)
            if not all_chosen and first not in (Action.CONTINUE, None):
                return _refused(client, thread)
            continue
        all_chosen |= thread == ALL
        for each in client.threads if thread == ALL else (thread,):
            chosen.setdefault(each, action)
    moving = {thread: action for thread, action in chosen.items() if action}
    if waiting and not moving:
        return _refused(client, next(iter(waiting)))
    if not moving:
        raise PacketError("vCont resumes no thread")
    return CacheableResume(Resume(moving)) if cacheable else Resume(moving)


def _refused(client: ClientState, thread: int) -> tuple[bytes, ...]:
    return refusal(
        client,
        thread,
        f"No vCPU executes thread {thread}: it cannot be stepped or continued alone.",
    )


@packet("vCont?", without_guest=True)
def actions(client: ClientState) -> bytes:
    """``vCont?``: list the actions (GDB manual, E.2)."""
    return b";".join((b"vCont", *ACTIONS))
