"""A VMM without a stub: attached to, let go, killed, and its debugger killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.errors import InputError
from gdbstub.foreign.attach import attached, choose, recover
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.memory import Slot
from gdbstub.foreign.process import VmmProcess
from gdbstub.machine import RunMode, SystemEvent, SystemEventKind
from gdbstub.target import Action, BreakpointKind, Resume
from tests.contract.client import Client
from tests.contract.foreign_machine import foreign_machine, start_vmm
from tests.contract.programs import BASE, COUNT, at
from tests.contract.recorder import StopRecorder

pytestmark = pytest.mark.own_kvm

SIZE = 2 << 20


class Vmm:
    """A ``plain_vmm`` whose guest counts in x0, at the program's two instructions."""

    def __init__(self) -> None:
        self.pid, hva = start_vmm(COUNT.image, memory=SIZE)
        self.process = VmmProcess(self.pid)
        self.slot = Slot(BASE, SIZE, hva)
        with attached(self.process, [self.slot]) as machine:
            machine.vcpus[0].set(PC, at(0))

    @property
    def text(self) -> bytes:
        with open(f"/proc/{self.pid}/mem", "rb") as memory:
            memory.seek(self.slot.hva)
            return memory.read(4096)

    def counts_on(self) -> bool:
        """Return True if the guest is alive."""
        before = self.count()
        time.sleep(0.05)  # the guest's, not a wait for it
        return self.count() > before

    def count(self) -> int:
        with attached(self.process, [self.slot]) as machine:
            assert machine.vcpus[0].get(PC) in (at(0), at(1))
            return machine.vcpus[0].get(X[0])

    def traces(self) -> tuple[object, ...]:
        """The parts of the process that a debugger might change."""
        status = [VmmProcess(tid).status() for tid in self.process.threads()]
        masks = [(each["SigBlk"], each["TracerPid"], each["Name"]) for each in status]
        return masks, self.process.mappings(), self.process.descriptors()


@pytest.fixture
def vmm() -> Iterator[Vmm]:
    made = Vmm()
    yield made
    with suppress(ProcessLookupError):
        os.kill(made.pid, signal.SIGKILL)


def test_attaching_leaves_no_trace(vmm: Vmm, long: bool) -> None:
    before, text = vmm.traces(), vmm.text
    for _ in range(1000 if long else 3):
        with attached(vmm.process, [vmm.slot]) as machine:
            client = Client(machine)
            client.target.insert(1, BreakpointKind.SOFTWARE, at(1), 4)
            assert client.go().thread == 1
            assert vmm.text != text
        assert vmm.text == text
    assert vmm.traces() == before
    assert vmm.counts_on()
    assert not Journal.exists(vmm.process)


def test_let_go_while_it_runs_with_a_breakpoint_in_it(vmm: Vmm) -> None:
    text = vmm.text
    with attached(vmm.process, [vmm.slot]) as machine:
        client = Client(machine)
        client.target.insert(1, BreakpointKind.SOFTWARE, at(20), 4)  # where it does not come
        client.target.insert(1, BreakpointKind.HARDWARE, at(30), 4)
        client.target.resume(Resume({1: Action.CONTINUE}))
    assert vmm.text == text
    assert vmm.counts_on()


def test_a_killed_debugger_is_recovered_from(vmm: Vmm, long: bool) -> None:
    text = vmm.text
    choose_moment = random.Random(1)
    for _ in range(300 if long else 2):
        arguments = [str(vmm.pid), str(vmm.slot.hva), str(SIZE)]
        with subprocess.Popen(
            [sys.executable, "-m", "tests.contract.debugger_to_kill", *arguments],
            stdout=subprocess.PIPE,
        ) as debugger:
            assert debugger.stdout is not None
            assert debugger.stdout.readline() == b"busy\n"
            time.sleep(choose_moment.random() * 0.3)  # any moment
            debugger.kill()
        recover(vmm.process)
        assert vmm.text == text
        assert not Journal.exists(vmm.process)
    assert vmm.counts_on()


def test_the_next_attach_recovers(vmm: Vmm) -> None:
    text = vmm.text
    journal = Journal(vmm.process)
    journal.begin((vmm.slot,))
    journal.patched(at(20), text[80:84])  # where it does not come
    journal.close()
    with open(f"/proc/{vmm.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(vmm.slot.hva + 80)
        memory.write(bytes.fromhex("20b721d4"))  # our BRK
    assert vmm.text != text
    with attached(vmm.process, [vmm.slot]):
        assert vmm.text == text
    assert vmm.counts_on()


def test_nothing_to_recover(vmm: Vmm) -> None:
    with pytest.raises(InputError, match=rf"^nothing is left of a debugger in process {vmm.pid}"):
        recover(vmm.process)


def test_one_debugger_at_a_time(vmm: Vmm) -> None:
    with (
        attached(vmm.process, [vmm.slot]),
        pytest.raises(InputError, match=r"is being debugged by another|is traced by process"),
        attached(vmm.process, [vmm.slot]),
    ):
        pass
    assert vmm.counts_on()


def test_two_guests_at_once() -> None:
    with (
        closing(foreign_machine(COUNT.image)) as one,
        closing(foreign_machine(COUNT.image)) as other,
    ):
        first, second = StopRecorder(one), StopRecorder(other)
        for _ in range(5):
            first.step()
        second.step()
        assert (one.vcpus[0].get(X[0]), other.vcpus[0].get(X[0])) == (3, 1)


def test_a_vmm_that_is_killed_while_its_guest_runs(vmm: Vmm) -> None:
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        machine.resume({0: RunMode()})
        os.kill(vmm.pid, signal.SIGKILL)
        assert recorder.wait() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)


def test_a_vmm_that_is_killed_while_its_guest_is_halted(vmm: Vmm) -> None:
    with attached(vmm.process, [vmm.slot]):
        os.kill(vmm.pid, signal.SIGKILL)


def test_signals_reach_the_vmm(vmm: Vmm) -> None:
    """SIGUSR1 kicks our VMM's vCPUs: they come out of KVM_RUN and go back."""
    with attached(vmm.process, [vmm.slot]) as machine:
        recorder = StopRecorder(machine)
        for _ in range(3):
            for tid in vmm.process.threads()[1:]:
                os.kill(tid, signal.SIGUSR1)
            recorder.step()
    assert vmm.counts_on()


def test_processes_are_found_by_number_and_name(vmm: Vmm) -> None:
    assert choose(str(vmm.pid)).pid == vmm.pid
    with pytest.raises(InputError, match=r"^no process with a VM is named 'absent'"):
        choose("absent")
    with pytest.raises(InputError, match=r"^there is no process 4194303$"):
        choose("4194303")
    assert Path(f"/proc/{vmm.pid}").exists()


def test_a_process_without_a_vm_is_refused() -> None:
    with pytest.raises(InputError, match=r"has no VM with vCPUs$"), attached(VmmProcess(1)):
        pass
