"""The words that are executed by themselves, on an emulated CPU: copies, and frames."""

import random
from collections.abc import Iterator

import pytest
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc
from unicorn.arm64_const import UC_ARM64_REG_X0, UC_ARM64_REG_X30

from gdbstub import rsp
from gdbstub.kvm import host_frame, host_memory

CODE, BACK, DATA, OUT, SIZE = 0x1000, 0x1FFC, 0x10_0000, 0x20_0000, 0x2000
SOUND = bytes(range(1, 251)) * 4


class Cpu:
    """Calls *code* with two addresses and a length."""

    def __init__(self, code: host_memory.Code) -> None:
        self.emulator = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        for start in (CODE, DATA, OUT):
            self.emulator.mem_map(start, SIZE)
        self.emulator.mem_write(CODE, b"".join(word.to_bytes(4, "little") for word, _ in code))

    def call(self, to: int, source: int, length: int) -> int:
        for number, value in enumerate((to, source, length)):
            self.emulator.reg_write(UC_ARM64_REG_X0 + number, value)
        self.emulator.reg_write(UC_ARM64_REG_X30, BACK)
        self.emulator.emu_start(CODE, BACK)
        result: int = self.emulator.reg_read(UC_ARM64_REG_X0)
        return result


@pytest.mark.parametrize("code", [host_memory.COPY, host_memory.READ], ids=["COPY", "READ"])
def test_every_length_is_copied_and_nothing_beside_it(code: host_memory.Code) -> None:
    cpu = Cpu(code)
    cpu.emulator.mem_write(DATA, SOUND)
    for length in (*range(101), 255, 256, 257):
        to, start = length % 9, length % 5
        cpu.emulator.mem_write(OUT, bytes(0x400))
        assert cpu.call(OUT + to, DATA + start, length) == 0
        expected = bytes(to) + SOUND[start : start + length]
        assert bytes(cpu.emulator.mem_read(OUT, 0x400)) == expected.ljust(0x400, b"\0")


def _payloads() -> Iterator[bytes]:
    chance = random.Random(1)
    for size in (*range(41), 1023, 4090):
        yield bytes(size)
        yield chance.randbytes(size)
        yield b"}" * size
        yield b"\xff" * size
        yield bytes(chance.choices(b'#$}*"%+|~\x00\xa3\xa4\xaa\xfd\x80a', k=size))
        yield bytes(max(0, size - 1)) + b"#"[:size]


def test_frames_are_those_that_python_makes() -> None:
    cpu = Cpu(host_frame.FRAME)
    for payload in _payloads():
        cpu.emulator.mem_write(DATA, payload + b"$")
        done = cpu.call(OUT, DATA, len(payload))
        body = bytes(cpu.emulator.mem_read(OUT, done >> 8))
        assert b"$%b#%02x" % (body, done & 0xFF) == rsp.encode(payload)


def test_words_that_are_as_they_were() -> None:
    cpu = Cpu(host_memory.SAME)
    for count in range(5):
        for other in (None, *range(count)):
            for n in range(count):
                pair = DATA + 0x800 + 8 * n, 0x0123_4567_89AB_CDE0 + n
                for at, word in ((DATA + 16 * n, pair[0]), (DATA + 16 * n + 8, pair[1])):
                    cpu.emulator.mem_write(at, word.to_bytes(8, "little"))
                held = pair[1] ^ (1 << 63 if n == other else 0)
                cpu.emulator.mem_write(pair[0], held.to_bytes(8, "little"))
            assert cpu.call(DATA, count, 0) == (0 if other is None else 1)
