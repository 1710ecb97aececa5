"""Fixtures for the tests with GDB and with LLDB: a guest, and a stub that serves it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import pytest

from tests.fakes.machine import fake_machine
from tests.gdb.build import BuiltGuest, build
from tests.gdb.stub import Stub


class Served:
    """A debugger's side of one stub; a subclass runs the debugger."""

    def __init__(self, stub: Stub, guest: BuiltGuest) -> None:
        self.stub = stub
        self.guest = guest

    @property
    def text_is_clean(self) -> bool:
        """True while RAM holds the program's code as it was built, without a BRK."""
        code = self.guest.image[: self.guest.code_size]
        return self.stub.machine.read_memory(0x4000_0000, len(code)) == code


Client = TypeVar("Client", bound=Served)


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> BuiltGuest:
    return build(tmp_path_factory.mktemp("guest"))


def serving(client: Callable[[Stub, BuiltGuest], Client]) -> object:
    """Make the fixture ``serve``: ``serve(vcpus=…)`` gives a debugger to call."""

    @pytest.fixture(name="serve")
    def serve(guest: BuiltGuest) -> Iterator[Callable[..., Client]]:
        with ExitStack() as stack:

            def make(*, vcpus: int = 1) -> Client:
                machine = fake_machine(guest.image, vcpus=vcpus)
                return client(stack.enter_context(Stub(machine)), guest)

            yield make

    return serve
