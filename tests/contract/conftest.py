"""The fixtures of the contract: machines of every backend that this place can run."""

from collections.abc import Callable, Iterator

import pytest

from gdbstub.machine import Machine
from tests.contract.backends import BACKENDS, KVM, Backend, Factory
from tests.contract.programs import Program
from tests.contract.recorder import Recorder
from tests.fakes.device import Device

#: ``start(program, vcpus=…)`` gives a recorder; its ``machine`` is closed after the test.
Start = Callable[..., Recorder]

_USABLE = [
    pytest.param(backend, id=backend.name, marks=backend.marks)
    for backend in BACKENDS
    if backend.usable()
]


@pytest.fixture(params=_USABLE)
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

    def begin(program: Program, *, vcpus: int = 1) -> Recorder:
        return Recorder(machine_factory(program.image, vcpus=vcpus))

    return begin


@pytest.fixture
def start_kvm() -> Iterator[Start]:
    """The same on KVM, for what only a real host does."""
    made: list[Machine] = []

    def begin(program: Program, *, vcpus: int = 1) -> Recorder:
        made.append(KVM.load()(program.image, vcpus=vcpus))
        return Recorder(made[-1])

    yield begin
    for machine in made:
        machine.close()
