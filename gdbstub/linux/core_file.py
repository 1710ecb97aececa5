"""Output of a core file: pages of zeroes take no space, and a name in .zst is compressed.

A stub in the lab has ``handed_out`` for it.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import InputError
from gdbstub.streams import note

#: Size of a hole, in bytes: file systems have blocks of 4 KiB, most of them.
_BLOCK: Final = 4096
_ZEROES: Final = bytes(_BLOCK)

Write = Callable[[bytes], object]


def _never(ipa: int, size: int) -> bool:
    return False


class CoreOutput(NamedTuple):
    """Output of a core file, front to back.

    ``take_ram`` takes RAM at a physical address without its bytes, which is faster; it returns
    False if they have to be written.
    """

    write: Write
    take_ram: Callable[[int, int], bool] = _never


#: Opens a new core file by its name.
NewFile = Callable[[str], AbstractContextManager[CoreOutput]]

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
    note(f"the core file is in {path}")


@contextmanager
def new_file(path: Path) -> Iterator[CoreOutput]:
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
                        yield CoreOutput(writer.write)
                else:
                    yield CoreOutput(lambda data: _write_sparse(descriptor, data))
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
