"""A target that does nothing until a test says so: for the states of a session."""

from dataclasses import dataclass
from typing import Final

from gdbstub.capabilities import Command, Monitor
from gdbstub.target import Exited, Report, Stopped
from tests.pure.fake_target import FakeTarget

LEAVING: Final = ("release", "detach", "kill")


@dataclass
class PatientTarget(FakeTarget, Monitor):
    """A target that stops when it is told to, and whose memory has no end."""

    lively: bool = False

    def read_memory(self, thread: int, gva: int, length: int) -> bytes:
        self._meet_trouble()
        return bytes(length)

    def kill(self) -> None:
        """Be killed; one that runs comes to rest when the test says so."""
        self._meet_trouble()
        self.calls.append("kill")
        self.last = Exited()

    def monitor(self, command: Command) -> str:
        """Power off, whatever *command* is."""
        self._meet_trouble()
        self.last = Exited()
        return ""

    def come_to_rest(self, report: Report | None = None) -> None:
        """Stop; a guest that was killed has ended."""
        self.stop(self.last if self.ended else report or Stopped(1))

    @property
    def ended(self) -> bool:
        return isinstance(self.last, Exited)

    @property
    def left(self) -> bool:
        """True if the guest has ended, or no resume came after a client left."""
        if self.ended:
            return True
        left = [n for n, call in enumerate(self.calls) if call in LEAVING]
        others = [n for n, call in enumerate(self.calls) if call not in (*LEAVING, "interrupt")]
        return bool(left) and left[-1] > max(others, default=-1)
