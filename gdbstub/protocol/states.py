"""States of a session, and the events that lead from one to the next.

``ClientState.enter`` follows the table, and ``docs/states.md`` shows it.
"""

from typing import Final

from gdbstub.states import IdentityEnum, Transitions


class SessionState(IdentityEnum):
    """State of one client's session."""

    #: The target is at rest; the client's next packet is obeyed at once.
    IDLE = "idle"
    #: A packet is worked on slice by slice. Packets wait; 0x03 cancels the work.
    WORKING = "working"
    #: The client has resumed the target and is owed one stop reply. Packets wait.
    RUNNING = "running"
    #: The target is being halted, and no stop reply is owed. Packets wait.
    HALTING = "halting"
    #: Extended mode: the client has detached, and the guest runs.
    DETACHED = "detached"
    #: Extended mode: the guest that was detached is being halted for a packet that waits.
    ATTACHING = "attaching"
    #: Extended mode: the guest was killed and is not at rest yet. Packets wait.
    KILLING = "killing"
    #: The guest has ended. In extended mode it can be started again.
    GONE = "gone"
    #: The session is over; the guest has not ended.
    CLOSED = "closed"
    #: The session is over, and the guest has ended.
    ENDED = "ended"


class SessionEvent(IdentityEnum):
    """Event in a session."""

    #: A packet's work has begun.
    WORK = "work"
    #: The work is done, has failed, or was cancelled.
    DONE = "done"
    #: The target was resumed for the client.
    RESUME = "resume"
    #: The target is being halted although the client has not resumed it.
    HALT = "halt"
    #: The target has come to rest.
    STOP = "stop"
    #: The target reports that the guest has ended.
    EXIT = "exit"
    #: The client has killed the guest.
    KILL = "kill"
    #: The client has let the guest run without it.
    DETACH = "detach"
    #: The client has a guest at rest: attached to, or started again.
    ATTACH = "attach"
    #: The session ends.
    CLOSE = "close"


_S = SessionState
_E = SessionEvent

#: Transitions of a session.
SESSION: Final = Transitions(
    "session",
    {
        (_S.IDLE, _E.WORK): _S.WORKING,
        (_S.IDLE, _E.RESUME): _S.RUNNING,
        (_S.IDLE, _E.HALT): _S.HALTING,
        (_S.IDLE, _E.ATTACH): _S.IDLE,
        (_S.IDLE, _E.DETACH): _S.DETACHED,
        (_S.IDLE, _E.KILL): _S.GONE,
        (_S.IDLE, _E.EXIT): _S.GONE,
        (_S.IDLE, _E.CLOSE): _S.CLOSED,
        # What else ends work cancels it first.
        (_S.WORKING, _E.DONE): _S.IDLE,
        (_S.RUNNING, _E.STOP): _S.IDLE,
        (_S.RUNNING, _E.EXIT): _S.GONE,
        (_S.RUNNING, _E.DETACH): _S.DETACHED,
        (_S.RUNNING, _E.KILL): _S.KILLING,
        (_S.RUNNING, _E.CLOSE): _S.CLOSED,
        (_S.HALTING, _E.STOP): _S.IDLE,
        (_S.HALTING, _E.EXIT): _S.GONE,
        (_S.HALTING, _E.DETACH): _S.DETACHED,
        (_S.HALTING, _E.KILL): _S.KILLING,
        (_S.HALTING, _E.CLOSE): _S.CLOSED,
        (_S.DETACHED, _E.HALT): _S.ATTACHING,
        (_S.DETACHED, _E.ATTACH): _S.IDLE,
        (_S.DETACHED, _E.KILL): _S.GONE,
        (_S.DETACHED, _E.EXIT): _S.GONE,
        (_S.DETACHED, _E.CLOSE): _S.CLOSED,
        (_S.ATTACHING, _E.STOP): _S.DETACHED,
        (_S.ATTACHING, _E.EXIT): _S.GONE,
        (_S.ATTACHING, _E.KILL): _S.KILLING,
        (_S.ATTACHING, _E.CLOSE): _S.CLOSED,
        (_S.KILLING, _E.STOP): _S.GONE,
        (_S.KILLING, _E.EXIT): _S.GONE,
        (_S.KILLING, _E.KILL): _S.KILLING,
        (_S.KILLING, _E.CLOSE): _S.ENDED,
        # Killed while it ran detached, it may still have to be halted before it starts again.
        (_S.GONE, _E.HALT): _S.KILLING,
        (_S.GONE, _E.ATTACH): _S.IDLE,
        (_S.GONE, _E.KILL): _S.GONE,
        (_S.GONE, _E.EXIT): _S.GONE,
        (_S.GONE, _E.CLOSE): _S.ENDED,
        # A guest may end between its client's last packet and the end of the connection.
        (_S.CLOSED, _E.EXIT): _S.ENDED,
        (_S.ENDED, _E.EXIT): _S.ENDED,
    },
)

#: States in which there is a guest for the client.
ATTACHED: Final = frozenset((_S.IDLE, _S.WORKING, _S.RUNNING, _S.HALTING))
#: States in which the session waits for the target to come to rest.
MOVING: Final = frozenset((_S.RUNNING, _S.HALTING, _S.ATTACHING, _S.KILLING))
#: States in which nothing happens before the client sends something.
AWAITING_PACKET: Final = frozenset((_S.IDLE, _S.DETACHED, _S.GONE))
#: States in which the guest has ended, or is ending.
GUEST_GONE: Final = frozenset((_S.KILLING, _S.GONE, _S.ENDED))
#: States in which nothing more is read from the client or sent to it.
OVER: Final = frozenset((_S.CLOSED, _S.ENDED))
