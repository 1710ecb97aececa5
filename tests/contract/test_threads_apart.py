"""Threads that are told different things: those without an action stay where they are."""

from gdbstub.target import Action, BreakpointKind
from tests.contract.conftest import Start
from tests.contract.laps import LAP_COUNT, begin, first


def test_a_thread_without_an_action_stays(start: Start) -> None:
    """``vCont;t:2;c``, and what scheduler-locking makes of it."""
    client = begin(start)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(3), 4)
    client.step_over(3, BreakpointKind.SOFTWARE, first(3), 4)
    for actions in (
        dict.fromkeys((1, 3, 4), Action.CONTINUE),
        {3: Action.CONTINUE},
        {1: Action.CONTINUE, 3: Action.CONTINUE},
    ):
        before = {t: (client.pc(t), client.x(t, LAP_COUNT)) for t in client.threads}
        assert client.resume(actions).thread == 3
        for thread in client.threads:
            if thread not in actions:
                assert (client.pc(thread), client.x(thread, LAP_COUNT)) == before[thread]
        client.step_over(3, BreakpointKind.SOFTWARE, first(3), 4)
