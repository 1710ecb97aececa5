"""Frames by words of our own: what they assemble to, and that they are the frames of ``rsp``."""

import random

import pytest

from gdbstub import rsp
from gdbstub.kvm import host_frame
from tests.fakes.assembler import assemble


def test_the_words_are_what_their_text_assembles_to() -> None:
    image = assemble("\n".join(text for _, text in host_frame.FRAME))
    assembled = [int.from_bytes(image[i : i + 4], "little") for i in range(0, len(image), 4)]
    assert assembled == [word for word, _ in host_frame.FRAME]


@pytest.mark.own_kvm
def test_replies_of_every_size_are_framed_as_python_frames_them() -> None:
    chance = random.Random(1)
    for size in (0, 1, 1023, 1024, 1025, 4099, rsp.PACKET_SIZE - 1, rsp.PACKET_SIZE):
        for payload in (bytes(size), chance.randbytes(size), b"}" * size, b"\xff" * size + b"#"):
            assert host_frame.encode(payload) == rsp.encode(payload)
