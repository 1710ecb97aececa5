"""A session with the guest of another VMM in which one call that is made in the VMM fails."""

import errno
from contextlib import closing, suppress

import pytest

from gdbstub.errors import MachineError, StubError
from gdbstub.foreign import ptrace
from gdbstub.foreign.attach import attached, recover
from gdbstub.foreign.attachment import Attachment
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.machine import ForeignMachine
from gdbstub.foreign.port import RemotePort
from gdbstub.foreign.vcpu_thread import VcpuThread
from gdbstub.kvm import abi
from gdbstub.machine import TIMED_OUT, DebugExit, RunMode
from gdbstub.target import Action, BreakpointKind
from tests.contract.client import Client
from tests.contract.foreign_vmm import Vmm
from tests.contract.programs import at
from tests.contract.recorder import StopRecorder
from tests.contract.test_faults import CODES, debug

pytestmark = pytest.mark.own_kvm

#: Shares of a session's calls of which the next one is made to fail, in a session of its own.
PLACES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
#: The one call that fails in a run without ``--long``: that of a session's first resume, or so.
ONE = 30


class Calls:
    """Calls made in the VMM; ``fail`` has one of them fail, or each of a request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = RemotePort._call

        def call(
            port: RemotePort,
            thread: VcpuThread,
            number: int,
            *arguments: int,
            data: bytearray | None = None,
        ) -> int:
            request = arguments[1] if number == ptrace.IOCTL else number
            self.made.append(request)
            if len(self.made) - 1 == self._place or request == self._request:
                return -self._code
            return real(port, thread, number, *arguments, data=data)

        monkeypatch.setattr(RemotePort, "_call", call)
        self.made: list[int] = []
        self.fail()

    def fail(self, place: int = -1, code: int = errno.EIO, *, request: int = -1) -> None:
        """Have call number *place* from now on fail, and each of *request*."""
        self.made.clear()
        self._place, self._code, self._request = place, code, request

    @property
    def has_failed(self) -> bool:
        return 0 <= self._place < len(self.made)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


class Untouched:
    """State of a VMM before its sessions; ``check`` that it is so again, and runs."""

    def __init__(self, vmm: Vmm) -> None:
        self._vmm = vmm
        self._before = vmm.text, vmm.traces()

    def check(self) -> None:
        vmm = self._vmm
        assert (vmm.text, vmm.traces()) == self._before
        assert not Journal.exists(vmm.process)
        assert self._runs_until() == (DebugExit(0, TIMED_OUT),)
        assert vmm.counts_on()

    def _runs_until(self) -> tuple[object, ...]:
        """Run the guest for a moment with what KVM has armed; return the exits."""
        attachment = Attachment(self._vmm.process)
        with closing(ForeignMachine(attachment, always_traced=True)) as machine:
            machine.use([self._vmm.slot], "given")
            recorder = StopRecorder(machine)
            machine.resume({0: RunMode(limit=0.01)})
            return recorder.wait()


def test_a_call_that_fails_leaves_nothing_behind(vmm: Vmm, calls: Calls, long: bool) -> None:
    untouched = Untouched(vmm)
    places = [ONE]
    if long:
        with attached(vmm.process, [vmm.slot]) as machine:
            debug(Client(machine))
        places = [int(share * len(calls.made)) for share in PLACES]
    for number, place in enumerate(places):
        calls.fail(place, CODES[number % len(CODES)])
        with suppress(StubError), attached(vmm.process, [vmm.slot]) as machine:
            debug(Client(machine))
        assert calls.has_failed, place
        calls.fail()
        untouched.check()


def with_everything_armed(machine: ForeignMachine) -> None:
    """Run the guest with a BRK in it, a comparator and a watchpoint, and a step before that."""
    client = Client(machine)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(1), 4)
    client.target.insert(1, BreakpointKind.HARDWARE, at(0), 4)
    client.target.insert(1, BreakpointKind.WRITE, at(64), 8)
    client.go()
    client.resume({1: Action.STEP})


def test_each_call_at_the_end_of_a_session(vmm: Vmm, calls: Calls, long: bool) -> None:
    untouched = Untouched(vmm)
    with attached(vmm.process, [vmm.slot]) as machine:
        with_everything_armed(machine)
        calls.fail()
    made = [*calls.made]
    assert abi.SET_GUEST_DEBUG in made
    assert ptrace.MPROTECT in made
    # The second call for a page gives it its protection back.
    for place in range(len(made)) if long else [made.index(ptrace.MPROTECT) + 1]:
        with attached(vmm.process, [vmm.slot]) as machine:
            with_everything_armed(machine)
            calls.fail(place, errno.ENOMEM)
        assert calls.has_failed
        calls.fail()
        untouched.check()


def end_while_busy(vmm: Vmm, calls: Calls) -> None:
    """End a session while KVM refuses to have its debug state changed."""
    with attached(vmm.process, [vmm.slot]) as machine:
        with_everything_armed(machine)
        machine.resume({0: RunMode()})
        calls.fail(request=abi.SET_GUEST_DEBUG, code=errno.EBUSY)


def test_a_guest_that_cannot_be_left_as_it_was_can_be_recovered(vmm: Vmm, calls: Calls) -> None:
    untouched = Untouched(vmm)
    with pytest.raises(MachineError, match=r"^KVM_SET_GUEST_DEBUG"):
        end_while_busy(vmm, calls)
    calls.fail()
    assert Journal.exists(vmm.process)
    assert vmm.process.status()["TracerPid"] == "0"
    recover(vmm.process)
    untouched.check()
