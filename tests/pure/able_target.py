"""The fake target with what a target may offer besides: conditions, commands, a monitor."""

from dataclasses import dataclass

from gdbstub.agent import Clauses
from gdbstub.conditions import Conditions
from gdbstub.errors import InputError
from gdbstub.target import Command, Kind
from tests.pure.fake_target import FakeTarget


@dataclass
class AbleTarget(FakeTarget):
    """Its one monitor command is ``help``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._conditions = Conditions(self)

    def monitor(self, command: Command) -> str:
        self._meet_trouble()
        if command.line in ("", "help"):
            return "help  List the commands.\n"
        raise InputError(f"there is no monitor command {command.line!r}")

    def attach(self, kind: Kind, gva: int, clauses: Clauses) -> None:
        self._meet_trouble()
        self._conditions.attach(kind, gva, clauses)

    def take_output(self) -> bytes:
        self._meet_trouble()
        return self._conditions.take_output()

    def remove(self, thread: int, kind: Kind, gva: int, length: int) -> None:
        super().remove(thread, kind, gva, length)
        self._conditions.remove(kind, gva)

    def release(self) -> None:
        super().release()
        self.inserted = {(kind, gva, 4) for kind, gva in self._conditions.release()}

    def detach(self) -> None:
        super().detach()
        self.inserted = {(kind, gva, 4) for kind, gva in self._conditions.release()}

    def _counts(self, thread: int, kind: Kind, gva: int) -> bool:
        return self._conditions.stops(thread, kind, gva)
