"""Output of a core file: pages of zeroes take no space, and a name in .zst is compressed.

A stub in the lab hands the file out: it writes to a FIFO that the command outside reads.
"""

import errno
import os
import re
import select
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final, cast

from gdbstub.errors import InputError, MachineError, printable
from gdbstub.slices import spend

#: Size of a hole, in bytes: file systems have blocks of 4 KiB, most of them.
_BLOCK: Final = 4096
_ZEROES: Final = bytes(_BLOCK)
#: Time for the other side of a FIFO to come, and to finish, in seconds.
_HANDING_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02

Write = Callable[[bytes], object]

#: Line on standard error by which a stub in the lab hands out a file: the FIFO, and the name.
HANDED_OUT: Final = re.compile(rb"gdbstub: core file (/[!-~]+) ([\w.+@-]+)\n")
#: Name that is handed out for the file of ``--vmcore-on``; no client can give it.
AUTOMATIC: Final = "-"
_NAME: Final = re.compile(r"[\w+@][\w.+@-]*", re.ASCII)


def check_name(name: str) -> str:
    """Return *name*, if it is one of a file in the working directory of the stub.

    A client may be somebody else than the user of the stub, so it cannot choose a directory.

    Raises:
        InputError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no plain file name: expected letters, digits and . + @ - _; the file is "
            "made where the stub was started"
        )
    return name


def announce(path: Path) -> None:
    """Print on standard error that the file of ``--vmcore-on`` is written."""
    print(printable(f"gdbstub: the core file is in {path}"), file=sys.stderr, flush=True)


@contextmanager
def new_file(path: Path) -> Iterator[Write]:
    """Open a new file, which nobody but this user may read; remove it again if that fails.

    Raises:
        InputError: it is there already, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb", buffering=0) as file, _emptied_if_not_whole(file):
                if path.suffix == ".zst":
                    import zstandard  # imported here, since few sessions compress

                    with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as writer:
                        yield writer.write
                else:
                    yield lambda data: _write_sparse(descriptor, data)
                    os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))
        except BaseException:
            with suppress(OSError):  # a confined stub may remove none: it is empty
                path.unlink()
            raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


@contextmanager
def _emptied_if_not_whole(file: FileIO) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            file.truncate(0)
        raise


def reading(fifo: str) -> list[str]:
    """Return the command in the lab that copies a file from *fifo*; it fails if some is missing."""
    return ["sh", "-c", 'cat "$0" && test -e "$0.whole"', fifo]


@contextmanager
def handed_out(name: str) -> Iterator[Write]:
    """Hand out a file, called *name* there, by a FIFO and a line on standard error.

    What goes through the FIFO is compressed by zstd.

    Raises:
        MachineError: nobody takes it.
    """
    with tempfile.TemporaryDirectory(prefix="gdbstub-") as directory:
        fifo = Path(directory) / "core"
        os.mkfifo(fifo, 0o600)
        print(f"gdbstub: core file {fifo} {name}", file=sys.stderr, flush=True)
        descriptor = _open_fifo(fifo)
        import zstandard  # imported here, since few sessions write core files

        try:
            with open(descriptor, "wb", buffering=0):
                fifo_writer = cast("BinaryIO", _Fifo(descriptor))
                # Most of a guest's RAM is zeroes, and the way out of a lab is slow.
                with zstandard.ZstdCompressor(level=1).stream_writer(
                    fifo_writer, closefd=False
                ) as writer:
                    yield writer.write
                # For ``reading``, which cannot tell: what was cut short ends as a whole file does.
                Path(f"{fifo}.whole").touch(exist_ok=False)
        except BrokenPipeError:
            raise MachineError("the file was not written; a message of the stub says why") from None
        # The other side removes the FIFO when all is in the file.
        _until(lambda: not fifo.exists())


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
                raise MachineError(
                    "the file was not written; a message of the stub says why"
                ) from None
        return bool(opened)

    _until(ready)
    return opened[0]


def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + _HANDING_SECONDS
    while not ready():
        spend(0)
        if time.monotonic() > end:
            raise MachineError(f"nobody has taken the file for {_HANDING_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)


def _write_sparse(descriptor: int, data: bytes) -> None:
    at = 0
    while at < len(data):
        hole, end = _is_zero(data, at), at + _BLOCK
        while end < len(data) and _is_zero(data, end) == hole:
            end += _BLOCK
        end = min(end, len(data))
        if hole:
            os.lseek(descriptor, end - at, os.SEEK_CUR)
        else:
            _write_all(descriptor, data[at:end])
        at = end


def _is_zero(data: bytes, at: int) -> bool:
    block = data[at : at + _BLOCK]
    return block == _ZEROES[: len(block)]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
