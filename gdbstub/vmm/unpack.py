"""gzip and zstd, unpacked whole but never beyond a bound.

It knows nothing of the contents, and names no file.
"""

import zlib
from typing import Final, Protocol

ALGORITHMS: Final = ("gzip", "zstd")

#: The packed data to take at once, in bytes: 128 KiB can hide in 4 bytes of zstd, so the
#: bound is overshot by 32 MiB at most.
_BITE: Final = 1024
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS


class _Stream(Protocol):
    """Decompressor of zlib or zstandard."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class TooLarge(Exception):
    """More data than the bound; ``head`` is its beginning."""

    def __init__(self, head: bytes) -> None:
        super().__init__("more than the bound")
        self.head = head


class Truncated(Exception):
    """Packed data that ends before its own end mark."""


class Damaged(Exception):
    """Packed data that contradicts itself, by a checksum for example."""


def recognise(data: bytes) -> str:
    """Recognise which of ``ALGORITHMS`` packed *data* (RFC 1952, RFC 8878); empty if none did."""
    if data.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zstd" if data.startswith(b"\x28\xb5\x2f\xfd") else ""


def unpack(data: bytes, algorithm: str, bound: int) -> bytes:
    """Unpack *data*, ignoring what follows its end, into at most *bound* bytes.

    Raises:
        TooLarge: it would be more than *bound*.
        Truncated: *data* ends early.
        Damaged: *data* is not sound.
    """
    return _gzip(data, bound) if algorithm == "gzip" else _zstd(data, bound)


def _gzip(data: bytes, bound: int) -> bytes:
    return _unpacked(data, bound, zlib.decompressobj(_GZIP_WBITS), zlib.error)


def _zstd(data: bytes, bound: int) -> bytes:
    # Not at the top: few guests come this way, and it takes 20 ms.
    import zstandard

    stream = zstandard.ZstdDecompressor().decompressobj()
    return _unpacked(data, bound, stream, zstandard.ZstdError)


def _unpacked(data: bytes, bound: int, stream: _Stream, wrong: type[Exception]) -> bytes:
    out = bytearray()
    try:
        for at in range(0, len(data), _BITE):
            out += stream.decompress(data[at : at + _BITE])
            if len(out) > bound:
                raise TooLarge(bytes(out[:_BITE]))
            if stream.eof:
                return bytes(out)
    except wrong as error:
        raise Damaged(str(error)) from None
    raise Truncated
