"""A session on KVM in which one call fails, wherever it is: what is left in the guest."""

import errno
import os
import threading
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.agent import Clauses
from gdbstub.errors import RegisterRefused, StubError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData
from gdbstub.kvm.port import LOCAL
from gdbstub.kvm_backend import KvmConfig, KvmMachine
from gdbstub.machine import RunFailure
from gdbstub.target import Action, BreakpointKind, Exited, Range, Signal, Stopped, StopReason
from gdbstub.vmm.board import VirtBoard
from gdbstub.vmm.config import GuestConfig
from gdbstub.vmm.image import RawBinary
from tests.bounds import HANGS
from tests.contract.client import Client
from tests.contract.faulty_core import FaultyCore
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import BASE, COUNT, SPIN, Program, at, program
from tests.contract.recorder import StopRecorder
from tests.contract.test_false_hits import START, X5, equals
from tests.contract.test_false_hits import place as begin

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
}


class FailingPort(ABC):
    """Passes calls on, but for those that ``_fails`` chooses, which fail with *code*."""

    def __init__(self, code: int) -> None:
        self.calls: dict[int, int] = {}
        self.armed = False
        self.errno = 0
        self._code = code

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        if self.armed and self._fails(request):
            self.errno = self._code
            return -1
        result = LOCAL.ioctl(fd, request, argument)
        if result < 0:
            self.errno = LOCAL.errno
        return result

    @abstractmethod
    def _fails(self, request: int) -> bool:
        """Return True if this call of *request* is to fail."""


class NthPort(FailingPort):
    """Port on which call number *place* fails, whatever it asks."""

    def __init__(self, place: int, code: int = errno.EIO) -> None:
        super().__init__(code)
        self.armed = True
        #: Requests of all calls since it was armed.
        self.requests: list[int] = []
        self._place = place

    def _fails(self, request: int) -> bool:
        self.requests.append(request)
        return len(self.requests) == self._place + 1

    @property
    def failed(self) -> str:
        """Name of the request that failed."""
        return abi.names()[self.requests[self._place]]


class CountingPort(FailingPort):
    """Port on which, once it is armed, call number *place* of *request* fails."""

    def __init__(self, request: int, place: int, code: int) -> None:
        super().__init__(code)
        self._request, self._place = request, place
        self._seen = Counter[int]()

    def _fails(self, request: int) -> bool:
        self._seen[request] += 1
        return request == self._request and self._seen[request] == self._place + 1


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
        lambda: client.machine.vcpus[0].power,
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
            client._notifier.get(timeout=HANGS)
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


def test_each_ioctl_of_a_session_is_one_that_is_made_to_fail() -> None:
    port = NthPort(-1)
    port.armed = False
    machine = kvm_machine(COUNT.image, port=port)
    try:
        client = Client(machine)
        port.armed = True
        debug(client)
        leave(client)
    finally:
        machine.close()
    assert {*port.requests} == {*REQUESTS.values()}


@pytest.mark.parametrize("place", [0, 1], ids=["KVM_GET_VCPU_EVENTS", "KVM_SET_VCPU_EVENTS"])
def test_an_abort_that_cannot_be_injected_is_none(place: int) -> None:
    port = NthPort(place, errno.EBUSY)
    port.armed = False
    machine = kvm_machine(COUNT.image, port=port)
    try:
        client = Client(machine)
        port.armed = True
        with pytest.raises(StubError) as error:
            machine.vcpus[0].abort()
        one_line_of(error.value, port, errno.EBUSY)
        client.resume({1: Action.STEP})
        assert client.pc(1) == at(1)
    finally:
        machine.close()


def what_is_open() -> tuple[list[str], int]:
    """Descriptors and threads of this process."""
    return os.listdir("/proc/self/fd"), threading.active_count()


def one_line_of(error: StubError, port: NthPort, code: int) -> None:
    """The error names the call and what it returned, or the register whose value was refused."""
    said = str(error)
    if isinstance(error, RegisterRefused):
        assert port.failed == "KVM_SET_ONE_REG"
        assert said.startswith("KVM does not take 0x")
        return
    assert said.startswith(port.failed)
    assert said.endswith(f": {os.strerror(code)}")
    assert said.isprintable()


def bare(port: NthPort) -> KvmMachine:
    """RAM and a vCPU."""
    return kvm_machine(COUNT.image, port=port)


def virt(port: NthPort) -> KvmMachine:
    """The machine of ``gdbstub run``, with its interrupt controller and its UART."""
    guest = GuestConfig(RawBinary("count", COUNT.image, BASE), 2 << 20, vcpus=2)
    board = VirtBoard(guest, lambda _: None)
    return KvmMachine(KvmConfig(2, BASE, guest.memory, guest.cpu), board, port)


@pytest.mark.parametrize("make", [bare, virt])
def test_a_machine_that_cannot_be_made_leaves_nothing_behind(
    make: "Callable[[NthPort], KvmMachine]",
) -> None:
    port = NthPort(-1)
    make(port).close()
    before = what_is_open()
    for place in range(len(port.requests)):
        code = CODES[place % len(CODES)]
        port = NthPort(place, code)
        try:
            make(port).close()
        except StubError as error:
            one_line_of(error, port, code)
        else:  # it was asked again, or can do without
            again = port.requests.count(port.requests[place]) > 1
            assert again or port.failed == "KVM_CHECK_EXTENSION", port.failed
        assert what_is_open() == before, (place, port.failed)


def test_a_machine_that_cannot_be_reset_leaves_nothing_behind() -> None:
    port = NthPort(-1)
    kvm_machine(COUNT.image, port=port).close()
    before = what_is_open()
    for place in range(0, len(port.requests), 3):
        port = NthPort(place, errno.ENOMEM)
        port.armed = False
        machine = kvm_machine(COUNT.image, port=port)
        port.armed = True
        try:
            machine.reset()
        except StubError as error:
            one_line_of(error, port, errno.ENOMEM)
        finally:
            machine.close()
        assert what_is_open() == before, (place, port.failed)


# Calls of the native core.

#: Two counters, one under a breakpoint that is simulated; a load that is stepped, and a counter.
SIMULATED: Final = program(
    (0x910004A5, "add x5, x5, #1"), (0x910004C6, "add x6, x6, #1"), (0x17FFFFFE, "b . - 8")
)
STEPPED: Final = program(
    *((0xF9400007, "ldr x7, [x0]"), (0x910004A5, "add x5, x5, #1")),
    *((0x910004C6, "add x6, x6, #1"), (0x17FFFFFD, "b . - 12")),
)
LAPS: Final = 30
NATIVE: Final = {
    "KVM_RUN": abi.RUN,
    "KVM_GET_ONE_REG": abi.GET_ONE_REG,
    "KVM_SET_ONE_REG": abi.SET_ONE_REG,
    "KVM_SET_GUEST_DEBUG": abi.SET_GUEST_DEBUG,
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> FaultyCore:
    return FaultyCore(tmp_path_factory.mktemp("core"))


def laps(text: Program, faulty: FaultyCore, request: int, place: int, code: int) -> bool:
    """Pass over false hits in which a call fails; return True if one did."""
    machine = kvm_machine(SPIN.image)
    try:
        client = begin(machine, text)
        machine.vcpus[0].set(X[6], 0)
        target = client.target
        target.insert(1, BreakpointKind.SOFTWARE, START, 4)
        target.attach(BreakpointKind.SOFTWARE, START, Clauses.compile([equals(X5, LAPS)]))
        faulty.fail(request, place, code)
        told = 0
        # Those of other calls than KVM_RUN are failures, whatever they are.
        went_on = code in (errno.EINTR, errno.EAGAIN)
        unread = request == abi.GET_ONE_REG
        said = os.strerror(errno.EIO if unread or (went_on and request != abi.RUN) else code)
        while (report := client.go()).stop is not StopReason.SWBREAK:
            assert report.signal is Signal.ABRT
            assert report.text == f"vCPU 0 cannot run: KVM_RUN: {said}"
            told += 1
        failed = faulty.has_failed
        faulty.fail(request, -1, 0)
        assert told <= failed
        assert not (told and went_on and request == abi.RUN)
        assert (client.pc(1), client.x(1, 5), client.x(1, 6)) == (START, LAPS, LAPS)
        target.remove(1, BreakpointKind.SOFTWARE, START, 4)
        assert client.resume({1: Action.STEP}).signal is Signal.TRAP
        assert client.pc(1) == START + 4
        target.detach()
        assert machine.read_memory(START, len(text.image)) == text.image
        target.interrupt()
        client.wait()
        return failed
    finally:
        machine.close()


@pytest.mark.parametrize("name", NATIVE)
def test_a_call_of_the_native_core_that_fails(
    name: str, faulty: FaultyCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdbstub.kvm.vcpu.core", lambda: faulty.core)
    failed = 0
    for number, place in enumerate((0, 1, 4, 7, 12, 23)):
        for text in (SIMULATED, STEPPED):
            code = (errno.EINTR, errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.EBUSY)[number % 5]
            failed += laps(text, faulty, NATIVE[name], place, code)
    assert failed >= 4, "too few calls were made"


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
