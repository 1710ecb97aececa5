"""The fixtures of the gdb ring: a guest, a stub that serves it, and gdb."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.fakes.machine import fake_machine
from tests.gdb.build import Guest, build
from tests.gdb.stub import Stub

_TIMEOUT: Final = 20  # seconds, for a whole gdb
_SETTINGS: Final = ("set confirm off", "set width 0", "set style enabled off")

Serve = Callable[..., "Client"]


class Client:
    """Runs gdb against one stub, as often as wanted."""

    def __init__(self, stub: Stub, guest: Guest) -> None:
        self.stub = stub
        self.guest = guest
        #: How gdb attaches.
        self.target = "remote"

    def __call__(self, *commands: str) -> str:
        """Attach, run *commands*, quit; all that gdb said."""
        process = self.begin(*commands)
        return self.finish(process)

    def begin(self, *commands: str) -> "subprocess.Popen[str]":
        """Start gdb and come back at once."""
        lines = (*_SETTINGS, f"target {self.target} {self.stub.remote}", *commands)
        return subprocess.Popen(
            [
                *("gdb-multiarch", "-nx", "-nh", "-batch"),
                *(word for line in lines for word in ("-ex", line)),
                str(self.guest.elf),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Its own words, and nothing of this user's.
            env={**os.environ, "LC_ALL": "C", "HOME": str(self.guest.elf.parent)},
        )

    def finish(self, process: "subprocess.Popen[str]") -> str:
        """Wait for gdb's end; nothing may have displeased it."""
        try:
            output, _ = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"gdb did not end; it said:\n{output}")
        for complaint in ("warning:", "Remote failure", "packet error", "internal-error"):
            assert complaint not in output, output
        return output

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
    """``serve(vcpus=…)`` gives a gdb to call."""
    with ExitStack() as stack:

        def make(*, vcpus: int = 1) -> Client:
            machine = fake_machine(guest.image, vcpus=vcpus)
            return Client(stack.enter_context(Stub(machine)), guest)

        yield make


@pytest.fixture
def gdb(serve: Serve) -> Client:
    """Gdb against a guest of one vCPU, halted at its first instruction."""
    return serve()
