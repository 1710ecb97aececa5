"""Core files that a stub in the lab hands out: it writes to a FIFO that a command outside reads.

What goes through the FIFO is compressed by zstd. It is a sequence of parts, each with a header:
bytes of the file, or the place of RAM in the stub, which is then read from outside of the lab.
"""

import errno
import mmap
import os
import re
import select
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from gdbstub.errors import MachineError
from gdbstub.linux.core_file import CoreOutput
from gdbstub.slices import spend
from gdbstub.streams import note

#: Time for the other side of a FIFO to come, and to say that more of the file is written.
_COMING_SECONDS: Final = 30.0
_FINISHING_SECONDS: Final = 600.0
#: Time after which it says so again.
PROGRESS_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02

#: Line on standard error by which a stub in the lab hands out a file: the FIFO, and the name.
HANDED_OUT: Final = re.compile(rb"gdbstub: core file (/[!-~]+) ([\w.+@-]+)\n")
#: Name that is handed out for the file of ``--vmcore-on``; no client can give it.
AUTOMATIC: Final = "-"

_HEADER: Final = struct.Struct("<IIQQ")
#: Bytes of a part's header.
HEADER: Final = _HEADER.size
_FAILED: Final = "the file was not written; a message of the stub says why"


class Part(NamedTuple):
    """Part of a core file: *size* bytes that follow, or those at *address* in process *pid*.

    That memory is private to the process, which the lab's kernel has in pages of *page* bytes.
    """

    pid: int
    page: int
    address: int
    size: int

    def encode(self) -> bytes:
        """Return the header."""
        return _HEADER.pack(self.pid, self.page, self.address, self.size)

    @classmethod
    def decode(cls, data: bytes) -> "Part":
        """Return the part whose header is *data*, ``HEADER`` bytes."""
        return cls(*_HEADER.unpack(data))


def literal(data: bytes) -> bytes:
    """Return *data* as a part."""
    return Part(0, 0, 0, len(data)).encode() + data


def reading(fifo: str) -> list[str]:
    """Return the command in the lab that copies what comes from *fifo*; it fails if some misses."""
    return ["sh", "-c", 'cat "$0" && test -e "$0.whole"', fifo]


def progressing(fifo: str) -> list[str]:
    """Return the command in the lab that says that more of the file is written."""
    return ["touch", "-c", fifo]


def taking(fifo: str) -> list[str]:
    """Return the command in the lab that says that the file is whole; it fails if nobody waits."""
    return ["rm", fifo]


def giving_up(fifo: str) -> list[str]:
    """Return the command in the lab that says that there is no file."""
    return ["rm", "-f", f"{fifo}.whole", fifo]


@contextmanager
def handed_out(
    name: str, hva: Callable[[int], int | None] = lambda _: None
) -> Iterator[CoreOutput]:
    """Hand out a file, called *name* there, by a FIFO and a line on standard error.

    *hva* returns the place of a physical address in this process, whose RAM is private to it.

    Raises:
        MachineError: nobody takes it.
    """
    with tempfile.TemporaryDirectory(prefix="gdbstub-") as directory:
        fifo = Path(directory) / "core"
        os.mkfifo(fifo, 0o600)
        note(f"core file {fifo} {name}")
        descriptor = _open_fifo(fifo)
        import zstandard  # imported here, since few sessions write core files

        try:
            with open(descriptor, "wb", buffering=0):
                fifo_writer = cast("BinaryIO", _Fifo(descriptor))
                # Most of a guest's RAM is zeroes, and the way out of a lab is slow.
                with zstandard.ZstdCompressor(level=1).stream_writer(
                    fifo_writer, closefd=False
                ) as writer:
                    yield _output(writer.write, hva)
                # For ``reading``, which cannot tell: what was cut short ends as a whole file does.
                Path(f"{fifo}.whole").touch(exist_ok=False)
        except BrokenPipeError:
            raise MachineError(_FAILED) from None
        # The other side removes the FIFO when all is in the file, or both.
        _until(lambda: not fifo.exists(), _FINISHING_SECONDS, lambda: _changed(fifo))
        if not Path(f"{fifo}.whole").exists():
            raise MachineError(_FAILED)


def _output(write: Callable[[bytes], object], hva: Callable[[int], int | None]) -> CoreOutput:
    def take_ram(ipa: int, size: int) -> bool:
        address, end = hva(ipa), hva(ipa + size - 1)
        if address is None or end != address + size - 1 or (address | size) % mmap.PAGESIZE:
            return False
        write(Part(os.getpid(), mmap.PAGESIZE, address, size).encode())
        return True

    return CoreOutput(lambda data: write(literal(data)), take_ram)


class _Fifo:
    """Writer to a FIFO that gives way while the FIFO is full."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            spend(0)
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [], _POLL_SECONDS)
        return len(data)


def _open_fifo(fifo: Path) -> int:
    opened: list[int] = []

    def ready() -> bool:
        try:
            opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise MachineError(_FAILED) from None
        return bool(opened)

    _until(ready, _COMING_SECONDS)
    return opened[0]


def _until(
    ready: Callable[[], bool], seconds: float, progress: Callable[[], int] = lambda: 0
) -> None:
    """Wait until *ready*, for *seconds* at most without *progress*, whose value changes then."""
    end, seen = time.monotonic() + seconds, progress()
    while not ready():
        spend(0)
        if (now := progress()) != seen:
            end, seen = time.monotonic() + seconds, now
        if time.monotonic() > end:
            raise MachineError(f"nobody has taken the file for {seconds:g} s")
        time.sleep(_POLL_SECONDS)


def _changed(fifo: Path) -> int:
    with suppress(OSError):
        return fifo.stat().st_mtime_ns
    return 0
