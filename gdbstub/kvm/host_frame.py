"""Frames of big replies by the native core: escapes and checksum in one pass.

``rsp.encode`` defines a frame, and encodes the small ones.
"""

import functools
import os
from collections.abc import Callable
from typing import Final

from gdbstub import rsp
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.native import core

#: The size up to which Python is as fast, in bytes.
_SMALL: Final = 1024


@functools.cache
def _buffers() -> tuple[bytearray, CData, CData]:
    """Return a frame to write into, where its contents begin, and a place for the checksum."""
    frame = bytearray(2 * rsp.PACKET_SIZE + len(b"$#00"))
    frame[:1] = b"$"
    return frame, ffi.from_buffer("uint8_t[]", frame) + 1, ffi.new("uint8_t *")


def encoder() -> Callable[[bytes], bytes]:
    """Return the fastest function of this host that encodes a frame."""
    return encode if os.uname().machine == "aarch64" else rsp.encode


def encode(payload: bytes) -> bytes:
    """Encode a frame as ``rsp.encode`` does; for the event loop's thread alone."""
    if not _SMALL <= len(payload) <= rsp.PACKET_SIZE:
        return rsp.encode(payload)
    frame, contents, checksum = _buffers()
    end = 1 + core().frame(contents, ffi.from_buffer(payload), len(payload), checksum)
    frame[end : end + 3] = b"#%02x" % checksum[0]
    return bytes(memoryview(frame)[: end + 3])
