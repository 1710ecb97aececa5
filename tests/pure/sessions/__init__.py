"""Sessions of real clients with the fake target, recorded: ``CLIENT-VERSION-SUBJECT.txt``."""

from pathlib import Path

from tests.pure.able_target import AbleTarget
from tests.pure.fake_target import BASE

SESSIONS = sorted(Path(__file__).parent.glob("*.txt"))


def recorded_target() -> AbleTarget:
    """Make the target of every recorded session: two threads, the first with a frame.

    It names its program's file, for the sessions that ask.
    """
    target = AbleTarget(file="/guest.elf")
    frame = BASE + 0x800
    target.write_memory(1, frame, bytes(8) + (BASE + 0x10).to_bytes(8, "little"))
    for row in target.registers:
        if row.name == "x29":
            target.values[1, row] = frame.to_bytes(8, "little")
    return target
