"""States of a debugger: whether the guest runs, for whom, and what happens when it has stopped.

The table is for the server's thread alone. vCPU threads hand their exits over and change no state.
"""

from typing import Final

from gdbstub.states import IdentityEnum, Transitions


class RunState(IdentityEnum):
    """State of the guest as its debugger sees it."""

    HALTED = "every vCPU is parked, and a client may look at the guest"
    RUNNING = "the guest runs for a client"
    DETACHING = "the client left while it ran: it is parked, stripped of breakpoints and run again"
    REATTACHING = "as DETACHING, but the next client wants it halted then"
    DETACHED = "the guest runs for no client"
    ENDING = "the guest was killed while it ran, and is being parked"
    EXITED = "the guest has ended"


class RunEvent(IdentityEnum):
    """Event that changes a ``RunState``: a call of ``Target``, or what became of a run."""

    RESUME = "resume: a client continues or steps"
    INTERRUPT = "interrupt"
    DETACH = "detach: the client leaves the guest running"
    RELEASE = "release: the client has vanished"
    KILL = "kill"
    RESET = "reset"
    FAILED = "the machine could not be resumed"
    STOPPED = "every vCPU is parked, with a stop to report"
    REBOOTED = "every vCPU is parked, because the guest has reset itself"
    ENDED = "every vCPU is parked, because the guest has powered off"


_S, _E = RunState, RunEvent

TRANSITIONS: Final = Transitions(
    "debugger",
    {
        (_S.HALTED, _E.RESUME): _S.RUNNING,
        (_S.HALTED, _E.INTERRUPT): _S.HALTED,
        (_S.HALTED, _E.DETACH): _S.DETACHED,
        (_S.HALTED, _E.RELEASE): _S.HALTED,
        (_S.HALTED, _E.KILL): _S.EXITED,
        (_S.HALTED, _E.RESET): _S.HALTED,
        #
        (_S.RUNNING, _E.INTERRUPT): _S.RUNNING,
        (_S.RUNNING, _E.DETACH): _S.DETACHING,
        (_S.RUNNING, _E.RELEASE): _S.DETACHING,
        (_S.RUNNING, _E.KILL): _S.ENDING,
        (_S.RUNNING, _E.FAILED): _S.HALTED,
        (_S.RUNNING, _E.STOPPED): _S.HALTED,
        (_S.RUNNING, _E.REBOOTED): _S.HALTED,
        (_S.RUNNING, _E.ENDED): _S.EXITED,
        #
        (_S.DETACHING, _E.INTERRUPT): _S.REATTACHING,
        (_S.DETACHING, _E.DETACH): _S.DETACHING,
        (_S.DETACHING, _E.RELEASE): _S.DETACHING,
        (_S.DETACHING, _E.KILL): _S.ENDING,
        (_S.DETACHING, _E.STOPPED): _S.DETACHED,
        (_S.DETACHING, _E.REBOOTED): _S.DETACHED,
        (_S.DETACHING, _E.ENDED): _S.EXITED,
        #
        (_S.REATTACHING, _E.INTERRUPT): _S.REATTACHING,
        (_S.REATTACHING, _E.DETACH): _S.DETACHING,
        (_S.REATTACHING, _E.RELEASE): _S.DETACHING,
        (_S.REATTACHING, _E.KILL): _S.ENDING,
        (_S.REATTACHING, _E.STOPPED): _S.HALTED,
        (_S.REATTACHING, _E.REBOOTED): _S.HALTED,
        (_S.REATTACHING, _E.ENDED): _S.EXITED,
        #
        (_S.DETACHED, _E.INTERRUPT): _S.RUNNING,
        (_S.DETACHED, _E.DETACH): _S.DETACHING,
        (_S.DETACHED, _E.RELEASE): _S.DETACHING,
        (_S.DETACHED, _E.KILL): _S.ENDING,
        (_S.DETACHED, _E.FAILED): _S.HALTED,
        (_S.DETACHED, _E.STOPPED): _S.HALTED,
        (_S.DETACHED, _E.REBOOTED): _S.DETACHED,
        (_S.DETACHED, _E.ENDED): _S.EXITED,
        #
        (_S.ENDING, _E.INTERRUPT): _S.ENDING,
        (_S.ENDING, _E.DETACH): _S.ENDING,
        (_S.ENDING, _E.RELEASE): _S.ENDING,
        (_S.ENDING, _E.KILL): _S.ENDING,
        (_S.ENDING, _E.STOPPED): _S.EXITED,
        #
        (_S.EXITED, _E.INTERRUPT): _S.EXITED,
        (_S.EXITED, _E.DETACH): _S.EXITED,
        (_S.EXITED, _E.RELEASE): _S.EXITED,
        (_S.EXITED, _E.KILL): _S.EXITED,
        (_S.EXITED, _E.RESET): _S.HALTED,
    },
)
