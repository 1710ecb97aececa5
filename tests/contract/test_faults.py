"""A session on KVM in which one call fails, wherever it is: what is left in the guest."""

import errno
import os
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.errors import StubError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData
from gdbstub.kvm.port import LOCAL
from gdbstub.kvm_backend import KvmMachine
from gdbstub.machine import RunFailure
from gdbstub.target import Action, BreakpointKind, Exited, Range, Signal, Stopped
from tests.contract.client import Client
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import COUNT, at
from tests.contract.recorder import StopRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.own_kvm

CODES: Final = (errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.EIO, errno.EBUSY)
#: Calls of each request that are made to fail, one in each session.
PLACES: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)
REQUESTS: Final = {
    "KVM_SET_GUEST_DEBUG": abi.SET_GUEST_DEBUG,
    "KVM_GET_ONE_REG": abi.GET_ONE_REG,
    "KVM_SET_ONE_REG": abi.SET_ONE_REG,
    "KVM_GET_MP_STATE": abi.GET_MP_STATE,
    "KVM_GET_VCPU_EVENTS": abi.GET_VCPU_EVENTS,
    "KVM_SET_VCPU_EVENTS": abi.SET_VCPU_EVENTS,
}


class CountingPort:
    """Passes calls on; once armed, the call number *place* of *request* fails with *code*."""

    def __init__(self, request: int, place: int, code: int) -> None:
        self.calls: dict[int, int] = {}
        self.armed = False
        self.errno = 0
        self._request, self._place, self._code = request, place, code
        self._seen = Counter[int]()

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        if self.armed:
            self._seen[request] += 1
            if request == self._request and self._seen[request] == self._place + 1:
                self.errno = self._code
                return -1
        result = LOCAL.ioctl(fd, request, argument)
        if result < 0:
            self.errno = LOCAL.errno
        return result


def debug(client: Client) -> None:
    """Breakpoints, a watchpoint, steps, a range, registers; errors are the client's."""
    target = client.target
    everybody = dict.fromkeys(client.threads, Action.CONTINUE)
    work: list[Callable[[], object]] = [
        lambda: target.insert(1, BreakpointKind.SOFTWARE, at(1), 4),
        lambda: target.insert(1, BreakpointKind.HARDWARE, at(0), 4),
        lambda: target.insert(1, BreakpointKind.WRITE, at(64), 8),
        lambda: client.run_to_report(everybody),
        lambda: client.run_to_report({1: Action.STEP}),
        lambda: client.run_to_report({1: Range(at(0), at(1))}),
        lambda: client.machine.vcpus[0].set(X[5], 5),
        lambda: client.run_to_report(everybody),
        lambda: client.machine.vcpus[0].get(PC),
        lambda: client.run_to_report({1: Action.STEP}),
        lambda: target.remove(1, BreakpointKind.HARDWARE, at(0), 4),
        lambda: client.run_to_report(everybody),
    ]
    for each in work:
        for _ in range(2):  # the client is told of an error, and tries again
            with suppress(StubError):
                each()
                break


def leave(client: Client) -> None:
    """The client goes, and the guest runs on without it; then the next one halts it."""
    target, machine = client.target, client.machine
    for _ in range(2):
        with suppress(StubError):
            target.detach()
            break
    assert isinstance(machine, KvmMachine)
    assert machine.read_memory(at(0), len(COUNT.image)) == COUNT.image
    assert not machine._debug.breakpoints
    assert not machine._debug.watchpoints
    if target.running:
        target.interrupt()
        while target.running:
            client._notifier.get(timeout=20)
            target.take_report()


@pytest.mark.parametrize("name", REQUESTS)
def test_an_ioctl_that_fails_leaves_nothing_behind(name: str) -> None:
    kvm_machine(COUNT.image).close()  # what is opened once for all is open
    before = os.listdir("/proc/self/fd"), threading.active_count()
    for number, place in enumerate(PLACES):
        code = CODES[number % len(CODES)]
        port = CountingPort(REQUESTS[name], place, code)
        machine = kvm_machine(COUNT.image, port=port)
        try:
            client = Client(machine)
            port.armed = True
            debug(client)
            leave(client)
            port.armed = False
            assert isinstance(client.resume({1: Action.STEP}), Stopped)
        finally:
            machine.close()
        assert (os.listdir("/proc/self/fd"), threading.active_count()) == before, (place, code)


ERRORS: Final = (MemoryError(), ZeroDivisionError(), SystemExit(), OSError(5, "x"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["_run_until_stop", "_limit"])
def test_a_thread_that_fails_parks_with_the_reason(
    where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = kvm_machine(COUNT.image, vcpus=2)
    try:
        client = Client(machine)

        def fail(*_: object) -> None:
            if threading.current_thread() is not threading.main_thread():
                raise error

        with monkeypatch.context() as broken:
            broken.setattr(type(machine.vcpus[0]), where, fail)
            client.target.insert(1, BreakpointKind.HARDWARE, at(1), 4)
            report = client.run_to_report()
            assert isinstance(report, Stopped)
            assert report.signal in (Signal.ABRT, Signal.TRAP)
        assert isinstance(client.resume({1: Action.STEP}), Stopped | Exited)
    finally:
        machine.close()


def test_a_listener_that_fails_costs_no_thread() -> None:
    machine = kvm_machine(COUNT.image)
    try:
        recorder = StopRecorder(machine)
        parked = recorder.parked

        def fail(exits: object) -> None:
            recorder.parked = parked  # type: ignore[method-assign]
            parked(())
            raise ZeroDivisionError

        recorder.parked = fail  # type: ignore[method-assign]
        machine.vcpus[0].ready()
        recorder.run({0: True})
        assert not isinstance(recorder.step(), RunFailure)
    finally:
        machine.close()
