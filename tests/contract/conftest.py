"""The fixtures of the contract: machines of every backend that this place can run."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import pytest

from gdbstub.debug import plans, step_over, vcpu_steps
from gdbstub.machine import Capabilities, Machine
from tests.bounds import HANGS
from tests.contract.backends import BACKENDS, KVM, Backend, Factory
from tests.contract.foreign_vmm import Vmm
from tests.contract.programs import Program
from tests.contract.recorder import StopRecorder
from tests.fakes.device import Device

Capability = TypeVar("Capability")

#: ``start(program, vcpus=…)`` gives a recorder; its ``machine`` is closed after the test.
Start = Callable[..., StopRecorder]


@pytest.hookimpl(tryfirst=True)  # else ids have their parts in another order inside the lab
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each backend that this place can run and that is as the test's marks say.

    ``needs`` names capabilities that the machine must offer, ``lacks`` those that it must not.
    """
    if "backend" not in metafunc.fixturenames:
        return
    needed = _named(metafunc.definition, "needs")
    lacking = _named(metafunc.definition, "lacks")
    module = metafunc.module.__name__.rpartition(".")[2]
    long = bool(metafunc.config.getoption("--long"))
    chosen = [
        pytest.param(backend, id=backend.name, marks=backend.marks)
        for backend in BACKENDS
        if backend.usable()
        and needed <= backend.offers
        and not lacking & backend.offers
        and backend.runs(module, long=long)
    ]
    metafunc.parametrize("backend", chosen, indirect=True)


def _named(item: pytest.Item, mark: str) -> set[str]:
    names = {str(name) for each in item.iter_markers(mark) for name in each.args}
    assert names <= set(Capabilities._fields), f"{item.nodeid}: {mark} of no capability"
    return names


def offered(capability: Capability | None) -> Capability:
    """A capability that the test is marked to need."""
    assert capability is not None
    return capability


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """One implementation of ``Machine``."""
    chosen: Backend = request.param
    return chosen


@pytest.fixture
def machine_factory(backend: Backend) -> Iterator[Factory]:
    """The backend's factory; whatever it makes is closed after the test."""
    factory = backend.load()
    made: list[Machine] = []

    def make(
        program: bytes,
        *,
        vcpus: int = 1,
        memory: int = 2 << 20,
        device: Device | None = None,
    ) -> Machine:
        machine = factory(program, vcpus=vcpus, memory=memory, device=device)
        made.append(machine)
        return machine

    yield make
    for machine in made:
        machine.close()


@pytest.fixture
def start(machine_factory: Factory) -> Start:
    """A machine with a program of the table, and a recorder that listens to it."""

    def begin(program: Program, *, vcpus: int = 1) -> StopRecorder:
        return StopRecorder(machine_factory(program.image, vcpus=vcpus))

    return begin


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no interrupt in for the time that a line takes, which is long on a slow machine."""
    for module in plans, step_over, vcpu_steps:
        monkeypatch.setattr(module, "SEQUENCE_TIMEOUT", HANGS)


@pytest.fixture
def start_kvm() -> Iterator[Start]:
    """The same on KVM, for what only a real host does."""
    made: list[Machine] = []

    def begin(program: Program, *, vcpus: int = 1) -> StopRecorder:
        made.append(KVM.load()(program.image, vcpus=vcpus))
        return StopRecorder(made[-1])

    yield begin
    for machine in made:
        machine.close()


@pytest.fixture
def vmm() -> Iterator[Vmm]:
    """A VMM without a stub, whose guest counts; killed after the test."""
    made = Vmm()
    yield made
    with suppress(ProcessLookupError):
        os.kill(made.pid, signal.SIGKILL)
