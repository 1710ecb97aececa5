"""Ends of a guest: nothing of ours is in it afterwards, for its memory may outlive it."""

import pytest

from gdbstub.errors import MachineError
from gdbstub.machine import DebugRegisters
from gdbstub.target import Action, BreakpointKind, Exited, Resume
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, SPIN, SYSTEM_OFF, Program, at

#: Bytes from the program's first on that are compared.
LENGTH = 64


def _begin(start: Start, program: Program, line: int) -> Client:
    """Start *program* with breakpoints of both kinds behind its last *line*."""
    client = Client(start(program).machine)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(line), 4)
    client.target.insert(1, BreakpointKind.HARDWARE, at(line + 1), 4)
    return client


def _ram(client: Client) -> bytes:
    return client.machine.read_memory(BASE, LENGTH)


def test_a_guest_that_powers_off_holds_nothing_of_ours(start: Start) -> None:
    client = _begin(start, SYSTEM_OFF, 3)
    before = _ram(client)
    assert client.run_to_report() == Exited()
    assert _ram(client) == before
    assert client.target.breakpoints.armed == DebugRegisters()


@pytest.mark.parametrize("running", [False, True], ids=["halted", "running"])
def test_a_guest_that_was_killed_holds_nothing_of_ours(start: Start, running: bool) -> None:
    client = _begin(start, SPIN, 1)
    before = _ram(client)
    client.resume({1: Action.STEP})
    if running:
        client.target.resume(Resume({1: Action.CONTINUE}))
    client.target.kill()
    if running:
        assert client.wait() == Exited()
    assert client.target.report() == Exited()
    assert _ram(client) == before
    assert client.target.breakpoints.armed == DebugRegisters()


def test_no_comparator_stays_armed_where_ram_cannot_be_written(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _begin(start, SPIN, 1)
    client.resume({1: Action.STEP})
    armed: list[DebugRegisters] = []
    arm = client.machine.arm

    def fail(ipa: int, data: bytes) -> None:
        raise MachineError(f"{ipa:#x} cannot be written: the VMM is gone")

    def note(debug: DebugRegisters) -> None:
        armed.append(debug)
        arm(debug)

    monkeypatch.setattr(client.machine, "write_memory", fail)
    monkeypatch.setattr(client.machine, "arm", note)
    client.target.kill()
    assert armed[-1:] == [DebugRegisters()]
