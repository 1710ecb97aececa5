"""Frames by the native core: they are those of ``rsp``."""

import random

import pytest

from gdbstub import rsp
from gdbstub.kvm import host_frame


@pytest.mark.own_kvm
def test_replies_of_every_size_are_framed_as_python_frames_them() -> None:
    chance = random.Random(1)
    for size in (0, 1, 1023, 1024, 1025, 4099, rsp.PACKET_SIZE - 1, rsp.PACKET_SIZE):
        for payload in (bytes(size), chance.randbytes(size), b"}" * size, b"\xff" * size + b"#"):
            assert host_frame.encode(payload) == rsp.encode(payload)
