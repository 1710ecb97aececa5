"""Commands on a guest whose memory is another at a second read: each gives text, or one line.

vCPUs that are parked change nothing, but devices of another VMM do.
"""

from typing import Final

import pytest

from gdbstub.capabilities import Command, Timing
from gdbstub.errors import StubError
from gdbstub.slices import bounded
from tests.fuzz.linux import KernelGuest, debugger_of, sound_memory
from tests.pure.hostile_guests import at

_WORDS: Final = (0, (1 << 64) - 1, at(0) - 4, 0x0900_0000, 0x1B5B_324A_0A1B_5B48)
_STEPS: Final = 20_000


class _Changing(KernelGuest):
    """A sound kernel, but for the word that one of the reads begins with."""

    def __init__(self, number: int, word: int) -> None:
        super().__init__(sound_memory())
        self.left = number
        self.word = word.to_bytes(8, "little")

    def read_memory(self, ipa: int, length: int) -> bytes:
        data = super().read_memory(ipa, length)
        self.left -= 1
        return data if self.left else (self.word + data[8:])[: len(data)]


@pytest.mark.parametrize(
    "line", ["ps", "bt 1", "bt", "modules m0", "modules lldb", "dmesg", "tasks on"]
)
def test_a_word_that_is_another_at_one_read(line: str, long: bool) -> None:
    shown = ""
    for number in range(1, 300, 1 if long else 13):
        for word in _WORDS if long else _WORDS[number % 5 :][:1]:
            debugger = debugger_of(_Changing(number, word))
            try:
                with bounded(_STEPS):
                    shown = debugger.monitor(Command(1, line, frozenset(), {}, Timing()))
            except StubError as error:
                shown = str(error)
            assert all(each.replace("\t", " ").isprintable() for each in shown.split("\n"))
            assert "-0x" not in shown
    assert shown  # of the sound kernel: it has been read before the last number
