"""vCPUs that go round, each in lines of its own: what tests of several at once begin with."""

from typing import Final

from gdbstub.target import Action, BreakpointKind
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import LAP, LAP_LINES, LAP_VCPUS, LAPS, at

#: The register that counts laps.
LAP_COUNT: Final = 5


def first(thread: int) -> int:
    """The address of a thread's lap."""
    return at(LAP + LAP_LINES * (thread - 1))


def begin(start: Start) -> Client:
    """Put all vCPUs at the start of their first lap."""
    client = Client(start(LAPS, vcpus=LAP_VCPUS).machine)
    threads = set(client.threads)
    for thread in client.threads:
        client.target.insert(1, BreakpointKind.SOFTWARE, first(thread), 4)
    while threads:
        threads.remove(client.resume(dict.fromkeys(threads, Action.CONTINUE)).thread)
    for thread in client.threads:
        client.target.remove(1, BreakpointKind.SOFTWARE, first(thread), 4)
        assert client.pc(thread) == first(thread)
    return client
