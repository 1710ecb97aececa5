"""Optional capabilities of a machine, and clients of a machine that has none of them."""

import pytest

from gdbstub import machine as seam
from gdbstub import rsp
from gdbstub.capabilities import Command, Timing, memory_tags, restartable
from gdbstub.errors import MachineError
from gdbstub.kvm_backend import KvmMachine
from gdbstub.machine import Capabilities, Machine
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from gdbstub.target import Exited
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, SPIN, SYSTEM_RESET


@pytest.mark.parametrize("name", Capabilities._fields)
def test_a_machine_offers_what_its_backend_says(start: Start, backend: Backend, name: str) -> None:
    machine = start(SPIN).machine
    offered = getattr(machine.capabilities, name) is not None
    if name == "tags" and isinstance(machine, KvmMachine):
        assert offered == machine.features.mte
    else:
        assert offered == (name in backend.offers)


@pytest.mark.needs("about")
def test_a_machine_describes_its_ram(start: Start) -> None:
    about = seam.described(start(SPIN).machine)
    assert about is not None
    assert about.about["RAM"].startswith("2 MiB at 0x40000000")


def ask(machine: Machine, line: str) -> str:
    """Return the answer to a monitor command."""
    command = Command(1, line, frozenset(), {}, Timing())
    return monitored_debugger(machine).monitor(command)


@pytest.mark.lacks("reset")
def test_a_machine_without_reset_is_not_started_over(start: Start) -> None:
    machine = start(SPIN).machine
    client = Client(machine)
    assert seam.resettable(machine) is None
    assert restartable(client.target) is None
    with pytest.raises(MachineError, match=r"^this machine offers no reset: "):
        client.target.reset()
    with pytest.raises(MachineError, match=r"^this machine offers no reset: "):
        ask(machine, "reset")


@pytest.mark.lacks("reset")
@pytest.mark.parametrize("packet", [b"vRun;", b"R00"])
def test_a_client_is_not_offered_to_start_it_over(start: Start, packet: bytes) -> None:
    session = Session(Client(start(SPIN).machine).target)
    session.receive(rsp.encode(b"QStartNoAckMode") + b"+")
    session.receive(rsp.encode(b"!"))
    assert session.receive(rsp.encode(packet)) == b"$#00"


@pytest.mark.lacks("reset")
def test_a_guest_that_resets_a_machine_without_reset_has_ended(start: Start) -> None:
    client = Client(start(SYSTEM_RESET).machine)
    ended: list[bool] = []
    client.target.at_end = lambda: ended.append(True)
    assert client.run_to_report() == Exited()
    assert ended == [True]


@pytest.mark.needs("reset")
def test_a_guest_that_may_not_reboot_has_ended_where_it_resets(start: Start) -> None:
    client = Client(start(SYSTEM_RESET).machine)
    client.target.reboots = False
    assert client.run_to_report() == Exited()
    client.target.reset()  # a client may still start it over
    assert client.pc(1) == BASE


@pytest.mark.lacks("tags")
def test_a_client_is_not_told_of_tags(start: Start) -> None:
    machine = start(SPIN).machine
    target = Client(machine).target
    assert seam.ram_tags(machine) is None
    assert memory_tags(target) is None
    session = Session(target)
    said = session.receive(rsp.encode(b"qSupported:memory-tagging+"))
    assert b"memory-tagging" not in said


@pytest.mark.lacks("time")
def test_a_clock_that_cannot_be_stopped_runs_free(start: Start) -> None:
    machine = start(SPIN).machine
    assert seam.virtual_time(machine) is None
    assert ask(machine, "time").endswith("(time free).\n")
    assert ask(machine, "time free").endswith("(time free).\n")
    with pytest.raises(MachineError, match=r"^this machine offers no clock that stands still"):
        ask(machine, "time still")


@pytest.mark.lacks("counts")
def test_stats_of_a_machine_that_counts_nothing(start: Start) -> None:
    machine = start(SPIN).machine
    assert seam.counted(machine) is None
    said = ask(machine, "stats")
    assert "(stops)" in said
    assert said.endswith("\nThis machine offers no counts of exits and system calls.\n")


@pytest.mark.lacks("about", "time")
def test_info_of_a_machine_that_describes_nothing(start: Start) -> None:
    machine = start(SPIN).machine
    assert seam.described(machine) is None
    said = ask(machine, "info")
    assert "offers no description" in said
    assert "time free" in said
    assert "vCPU 0" in said
