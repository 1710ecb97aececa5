"""Packets that set the guest going, or ask why it is at rest.

None waits: a ``Resume`` is returned, and the stop reply comes when there is a stop. How a client
leaves a guest, and gets one again, is in ``coming_and_going.py``.
"""

import re
from typing import Final

from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ALL, ANY, REMEMBERED, ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.stop import stop_reply
from gdbstub.protocol.packets.template import number, thread_id
from gdbstub.target import Action, Exited, Range, Resume, program_counter

#: What vCont may ask of a thread; a signal has nowhere to go, and ``t`` keeps it at rest.
#: ``r`` is a step for as long as its range says.
ACTIONS: Final[dict[bytes, Action | None]] = {
    b"c": Action.CONTINUE,
    b"C": Action.CONTINUE,
    b"s": Action.STEP,
    b"S": Action.STEP,
    b"t": None,
    b"r": Action.STEP,
}

#: Longer lists of actions are not remembered.
_SHORT: Final = 64

_ACTION: Final = re.compile(
    rb"[cst]|[CS][0-9a-fA-F]{2}|r0*([0-9a-fA-F]{1,16}),0*([0-9a-fA-F]{1,16})"
)


@packet("?", idle=True)
def why(client: ClientState) -> bytes:
    """``?``: why the target is at rest (GDB manual, E.2)."""
    # Without a guest none may be looked at: one that was left alone runs.
    return stop_reply(client, client.target.report() if client.attached else Exited())


@packet("c", "[addr]", Action.CONTINUE)
@packet("s", "[addr]", Action.STEP)
@packet("C", "sig[;addr]", Action.CONTINUE)
@packet("S", "sig[;addr]", Action.STEP)
def resume(client: ClientState, action: Action, *arguments: int | None) -> Resume:
    """``c [addr]``, ``C sig[;addr]`` and so on: resume, from *addr* if given (GDB manual, E.2).

    A guest has no signals of GDB's: *sig* is passed over.
    """
    if (gva := arguments[-1]) is not None:
        thread = client.general if client.resumed == ALL else client.resumed
        pc = program_counter(client.registers)
        client.target.write_register(thread, pc, gva.to_bytes(pc.size, "little"))
    return client.resume(action)


@packet("vCont;", "actions", feature="vContSupported+")
def resume_threads(client: ClientState, actions: bytes) -> Resume:
    """``vCont;action[:thread-id];…``: resume threads, each its own way (GDB manual, E.2).

    The leftmost action that names a thread is its action; a thread without one stays.
    """
    if (known := client.resumes.get(actions)) is not None:
        return known
    chosen: dict[int, Action | Range | None] = {}
    lasting = len(actions) <= _SHORT
    for item in actions.split(b";"):
        text, colon, where = item.partition(b":")
        if not (match := _ACTION.fullmatch(text)):
            raise PacketError("an action that vCont? does not name")
        start, end = match.groups()
        action = Range(number(start), number(end)) if start else ACTIONS[text[:1]]
        which = thread_id(where) if colon else ALL
        lasting &= which != ANY
        for thread in client.threads if which == ALL else (client.thread(which),):
            chosen.setdefault(thread, action)
    if not (moving := {thread: action for thread, action in chosen.items() if action}):
        raise PacketError("vCont resumes no thread")
    resume = Resume(moving)
    if lasting:
        if len(client.resumes) == REMEMBERED:
            client.resumes.clear()
        client.resumes[actions] = resume
    return resume


@packet("vCont?", idle=True)
def actions(client: ClientState) -> bytes:
    """``vCont?``: which actions there are (GDB manual, E.2)."""
    return b";".join((b"vCont", *ACTIONS))
