"""The fake target with what a target may offer besides: a monitor, conditions, tags, a program."""

from dataclasses import dataclass, field

from gdbstub.agent import Clauses
from gdbstub.capabilities import (
    BreakpointConditions,
    Command,
    HasExecFile,
    MemoryTags,
    Monitor,
    TaggedTarget,
)
from gdbstub.errors import InputError, MemoryFault
from gdbstub.protocol.conditions import Conditions
from gdbstub.target import BreakpointKind
from tests.pure.fake_target import BASE, SIZE, FakeTarget


@dataclass
class FakeTags:
    """Tags of the fake target's memory."""

    stored: bytearray = field(default_factory=lambda: bytearray(SIZE // 16))

    def read(self, thread: int, gva: int, count: int) -> bytes:
        return bytes(self.stored[self._place(gva, count)])

    def write(self, thread: int, gva: int, tags: bytes) -> None:
        self.stored[self._place(gva, len(tags))] = tags

    def _place(self, gva: int, count: int) -> slice:
        assert gva % 16 == 0
        if not BASE <= gva <= gva + 16 * count <= BASE + SIZE:
            raise MemoryFault(f"nothing at {gva:#x}")
        return slice((gva - BASE) // 16, (gva - BASE) // 16 + count)


@dataclass
class AbleTarget(FakeTarget, Monitor, TaggedTarget, HasExecFile, BreakpointConditions):
    """A target with nearly every capability; its one monitor command is ``help``."""

    stored_tags: MemoryTags | None = field(default_factory=FakeTags)
    file: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._conditions = Conditions(self)

    @property
    def tags(self) -> MemoryTags | None:
        return self.stored_tags

    @property
    def exec_file(self) -> str:
        return self.file

    def monitor(self, command: Command) -> str:
        self._meet_trouble()
        if command.line in ("", "help"):
            return "help  List the commands.\n"
        raise InputError(f"there is no monitor command {command.line!r}")

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        self._meet_trouble()
        self._conditions.attach(kind, gva, clauses)

    def take_output(self) -> bytes:
        self._meet_trouble()
        return self._conditions.take_output()

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        super().remove(thread, kind, gva, length)
        self._conditions.remove(kind, gva)

    def release(self) -> None:
        super().release()
        self.inserted = {(kind, gva, 4) for kind, gva in self._conditions.release()}

    def detach(self) -> None:
        super().detach()
        self.inserted = {(kind, gva, 4) for kind, gva in self._conditions.release()}

    def _counts(self, thread: int, kind: BreakpointKind, gva: int) -> bool:
        return self._conditions.stops(thread, kind, gva)
