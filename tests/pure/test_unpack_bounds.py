"""Packed guests that expand beyond the guest's memory: no more is unpacked than fits."""

import gzip
import tracemalloc
import zlib

import pytest

from gdbstub.vmm import unpack

BOUND = 1 << 20


def bomb(size: int) -> bytes:
    """*size* zeros, by gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    pieces = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join(pieces) + packer.flush()


@pytest.mark.parametrize("algorithm", ["gzip", "zstd"])
def test_a_bomb_takes_little_more_than_the_bound(algorithm: str) -> None:
    import zstandard

    data = bomb(256 << 20) if algorithm == "gzip" else zstandard.compress(bytes(256 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(unpack.TooLarge) as caught:
            unpack.unpack(data, algorithm, BOUND)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 96 << 20
    assert not any(caught.value.head)


def test_many_members_are_one_bomb_no_more() -> None:
    data = gzip.compress(bytes(1000)) * 1000
    assert unpack.unpack(data, "gzip", BOUND) == bytes(1000)


@pytest.mark.parametrize("size", [0, 1, BOUND - 1, BOUND])
def test_what_fits_is_unpacked(size: int) -> None:
    assert unpack.unpack(gzip.compress(b"a" * size), "gzip", BOUND) == b"a" * size
    with pytest.raises(unpack.TooLarge):
        unpack.unpack(gzip.compress(b"a" * (BOUND + 1)), "gzip", BOUND)
