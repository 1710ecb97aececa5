"""Registers of a halted guest: a client reads the vCPUs' values, also repeatedly."""

from collections.abc import Sequence

import pytest

from gdbstub.aarch64.registers import CPSR, GENERAL, PC, SP, SP_EL0, SP_EL1, TPIDR, X
from gdbstub.architecture import Register
from gdbstub.target import Action
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import COUNTS_IN_FRAME, SPIN, STACK_POINTER, at

EL1T = 0x3C4
ONE_PC = (PC,)
ONE_SP = (SP,)
ONE_TPIDR = (TPIDR,)


def _value(client: Client, rows: Sequence[Register]) -> int:
    return int.from_bytes(client.target.read_registers(1, rows), "little")


def test_a_register_that_is_written_is_read_anew(start: Start) -> None:
    client = Client(start(SPIN).machine)
    for value in (1, 2):
        client.target.read_registers(1, GENERAL)
        client.target.write_register(1, X[5], value.to_bytes(8, "little"))
        assert client.target.read_registers(1, GENERAL)[40:48] == value.to_bytes(8, "little")


def test_the_stack_pointer_follows_the_mode(start: Start) -> None:
    client = Client(start(SPIN).machine)
    client.machine.vcpus[0].set(SP_EL0, 0x1110)
    client.machine.vcpus[0].set(SP_EL1, 0x2220)
    assert _value(client, ONE_SP) == 0x2220
    client.target.write_register(1, CPSR, EL1T.to_bytes(4, "little"))
    assert _value(client, ONE_SP) == 0x1110


def test_after_a_step_all_is_read_anew(start: Start) -> None:
    client = Client(start(STACK_POINTER).machine)
    before = _value(client, ONE_PC)
    assert _value(client, ONE_PC) == before
    client.resume({1: Action.STEP})
    assert _value(client, ONE_PC) == client.pc(1) == before + 4


def test_each_thread_has_its_own(start: Start) -> None:
    client = Client(start(SPIN, vcpus=2).machine)
    client.target.write_register(2, X[0], bytes(7) + b"\x77")
    assert client.target.read_registers(1, GENERAL) != client.target.read_registers(2, GENERAL)
    assert client.target.read_registers(2, GENERAL)[7] == 0x77


@pytest.mark.needs("reset")
def test_a_new_guest_has_new_registers(start: Start) -> None:
    client = Client(start(SPIN).machine)
    first = client.target.read_registers(1, GENERAL)
    client.machine.vcpus[0].set(X[9], 9)
    client.target.reset()
    assert client.target.read_registers(1, GENERAL) == first


def test_one_that_may_change_by_itself_is_read_each_time(start: Start) -> None:
    client = Client(start(SPIN).machine)
    for value in (1, 2):
        client.machine.vcpus[0].set(TPIDR, value)  # as a counter does, even at rest
        assert _value(client, ONE_TPIDR) == value


@pytest.mark.parametrize("vcpus", [1, 2])
def test_a_guest_that_is_interrupted_shows_one_moment(start: Start, vcpus: int) -> None:
    """Some of them may be read together with the exit, the others later."""
    client = Client(start(COUNTS_IN_FRAME, vcpus=vcpus).machine)
    for thread in client.threads:  # those that are off begin there as well
        client.target.write_register(thread, PC, at(0).to_bytes(8, "little"))
    client.interrupt_at_once()
    for _ in range(20):
        client.go()
        for thread in client.threads:
            ahead, mine, after = (client.x(thread, number) for number in (28, 29, 30))
            pc = client.pc(thread)
            assert at(0) <= pc <= at(3)
            assert (mine, after) == (ahead - (pc == at(1)), ahead - (pc in (at(1), at(2))))
