"""The fixtures of the lldb ring: a guest, a stub that serves it, and LLDB."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.fakes.machine import fake_machine
from tests.gdb.build import Guest, build
from tests.gdb.stub import Stub
from tests.lldb.debugger import Interactive, lldb

_TIMEOUT: Final = 30  # seconds, for a whole LLDB

Serve = Callable[..., "Client"]


class Client:
    """Runs LLDB against one stub, as often as wanted."""

    def __init__(self, stub: Stub, guest: Guest) -> None:
        self.stub = stub
        self.guest = guest

    def __call__(self, *commands: str) -> str:
        """Attach, run *commands*, quit; all that LLDB said."""
        return lldb(self.stub.remote, self.guest.elf, *commands, timeout=_TIMEOUT)

    def begin(self) -> Interactive:
        """Attach and wait to be typed at."""
        return Interactive(self.stub.remote, self.guest.elf)

    def finish(self, session: Interactive, *commands: str) -> str:
        """End what ``begin`` began; all that LLDB said."""
        return session.finish(*commands, timeout=_TIMEOUT)

    @property
    def text_is_clean(self) -> bool:
        """Whether RAM holds the program's code as it was built, no BRK among it."""
        code = self.guest.image[: self.guest.code_size]
        return self.stub.machine.read_memory(0x4000_0000, len(code)) == code


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    return build(tmp_path_factory.mktemp("guest"))


@pytest.fixture
def serve(guest: Guest) -> Iterator[Serve]:
    """``serve(vcpus=…)`` gives an LLDB to call."""
    with ExitStack() as stack:

        def make(*, vcpus: int = 1) -> Client:
            machine = fake_machine(guest.image, vcpus=vcpus)
            return Client(stack.enter_context(Stub(machine)), guest)

        yield make


@pytest.fixture
def lldb_client(serve: Serve) -> Client:
    """LLDB against a guest of one vCPU, halted at its first instruction."""
    return serve()
