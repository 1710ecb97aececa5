"""Frames by words of our own: what they assemble to, and that they are the frames of ``rsp``."""

import random

import pytest
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc
from unicorn.arm64_const import (
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X1,
    UC_ARM64_REG_X2,
    UC_ARM64_REG_X30,
)

from gdbstub import host_frame, rsp
from tests.fakes.assembler import assemble

CODE, BACK, DATA, OUT = 0x1000, 0x1FFC, 0x10_0000, 0x20_0000


def _payloads(*sizes: int) -> list[bytes]:
    chance = random.Random(1)
    return [
        payload
        for size in sizes
        for payload in (
            bytes(size),
            chance.randbytes(size),
            b"}" * size,
            b"\xff" * size,
            bytes(chance.choices(b'#$}*"%+|~\x00\xa3\xa4\xaa\xfd\x80a', k=size)),
            bytes(max(0, size - 1)) + b"#"[:size],
        )
    ]


def test_the_words_are_what_their_text_assembles_to() -> None:
    image = assemble("\n".join(text for _, text in host_frame.FRAME))
    assembled = [int.from_bytes(image[i : i + 4], "little") for i in range(0, len(image), 4)]
    assert assembled == [word for word, _ in host_frame.FRAME]


def test_an_emulated_cpu_makes_the_frames_that_python_makes() -> None:
    emulator = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
    emulator.mem_map(CODE, 0x1000)
    emulator.mem_map(DATA, 0x10_0000)
    emulator.mem_map(OUT, 0x10_0000)
    emulator.mem_write(CODE, b"".join(w.to_bytes(4, "little") for w, _ in host_frame.FRAME))
    for payload in _payloads(*range(0, 41), 1023, 4100):
        emulator.mem_write(DATA, payload + b"$")
        for register, value in (
            (UC_ARM64_REG_X0, OUT),
            (UC_ARM64_REG_X1, DATA),
            (UC_ARM64_REG_X2, len(payload)),
            (UC_ARM64_REG_X30, BACK),
        ):
            emulator.reg_write(register, value)
        emulator.emu_start(CODE, BACK)
        done = emulator.reg_read(UC_ARM64_REG_X0)
        body = bytes(emulator.mem_read(OUT, done >> 8))
        assert b"$%b#%02x" % (body, done & 0xFF) == rsp.encode(payload)


@pytest.mark.own_kvm
def test_replies_of_every_size_are_framed_as_python_frames_them() -> None:
    sizes = (0, 1, 1023, 1024, 1025, 4099, rsp.PACKET_SIZE - 1, rsp.PACKET_SIZE)
    for payload in _payloads(*sizes, rsp.PACKET_SIZE + 1):
        assert host_frame.encode(payload) == rsp.encode(payload)
