"""Core files out of the lab: each becomes a new file of this machine, within bounds.

The lab may be a guest's by now, so what it sends is looked at. ``linux.handed_out`` has its side.
"""

import io
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from gdbstub.errors import InputError, LabError, MachineError
from gdbstub.lab import process_memory
from gdbstub.linux.core_file import CoreOutput, announce, check_name, new_file
from gdbstub.linux.handed_out import (
    AUTOMATIC,
    HEADER,
    PROGRESS_SECONDS,
    Part,
    giving_up,
    progressing,
    reading,
    taking,
)
from gdbstub.slices import in_slices, spend
from gdbstub.streams import note, wait_readable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer
    from zstandard import ZstdDecompressionReader

    from gdbstub.lab.host import Lab

#: Bytes of a core file beside the guest's RAM: headers, registers, VMCOREINFO.
BESIDE: Final = 16 << 20
#: Bytes of a file that are copied at once: a multiple of the blocks that may be holes.
_PIECE: Final = 1 << 20
#: Longest wait for more; a gigabyte of zeroes comes as a few bytes.
_SILENT_SECONDS: Final = 120.0
#: Longest wait for the end of a command that has sent all, and for one that removes a file.
_END_SECONDS: Final = 10.0
#: e_ident, e_type of an ELF file: nothing of this machine executes a core file.
_HEADER: Final = struct.Struct("<4s12xH")
_CORE: Final = (b"\x7fELF", 4)


class CoreFiles:
    """Taker of the core files of one run in *lab*, one after the other."""

    def __init__(self, lab: "Lab", unasked: Path | None, memory: int) -> None:
        """Write the file of ``--vmcore-on`` to *unasked*; a guest has *memory* bytes of RAM."""
        self._lab = lab
        self._unasked = unasked
        self._most = memory + BESIDE
        self._over = False
        #: Bytes of all files so far.
        self.copied = 0

    def take(self, fifo: str, name: str) -> None:
        """Copy what comes from *fifo*, in the lab, to *name*; say in one line why it cannot be."""
        if self._over:
            return
        try:
            unasked = self._unasked if name == AUTOMATIC else None
            path = unasked or Path.cwd() / check_name(name)
            # In slices, each of which ends soon whatever the lab sends.
            with closing(in_slices(lambda: self._copy(fifo, path))) as slices:
                for _ in slices:
                    if self._over:
                        raise InputError(
                            f"{path}: the session has ended before the file did: nothing is written"
                        )
            if unasked:
                announce(unasked)
        except (InputError, LabError, MachineError, OSError) as error:
            note(str(error))
            # The command that has written it waits for that, unless it is about to be ended.
            with suppress(LabError, subprocess.SubprocessError):
                if not self._over:
                    self._lab.run(giving_up(fifo), timeout=_END_SECONDS)

    def cut_short(self) -> None:
        """End the copy of a file that is under way; begin none any more."""
        self._over = True

    def _copy(self, fifo: str, path: Path) -> None:
        import zstandard  # imported here, since few sessions write core files

        with new_file(path) as file:
            # Apart from this terminal: its Ctrl-C is for the command that writes.
            with self._lab.popen(
                reading(fifo), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, new_session=True
            ) as reader:
                assert reader.stdout
                try:
                    arriving = cast("IO[bytes]", _Arriving(reader.stdout.fileno(), path))
                    with zstandard.ZstdDecompressor().stream_reader(arriving) as stream:
                        self._write(self._content(stream, path), file, fifo)
                    status = reader.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    status = -1
                except zstandard.ZstdError:
                    raise InputError(
                        f"{path}: what the lab sends is damaged: nothing is written"
                    ) from None
                finally:
                    reader.kill()  # else it is waited for
            if status or not self._taken(fifo):
                raise _cut_short(path)

    def _write(self, content: Iterator[bytes], file: CoreOutput, fifo: str) -> None:
        """Write *content* to *file*, and tell the command in the lab now and then that it comes."""
        told = time.monotonic()
        for data in content:
            spend(0)
            file.write(data)
            self.copied += len(data)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                with suppress(LabError, subprocess.SubprocessError):
                    self._lab.run(progressing(fifo), timeout=_END_SECONDS)

    def _taken(self, fifo: str) -> bool:
        """Tell the command that the file is whole; return False if it has given up meanwhile."""
        try:
            self._lab.run(taking(fifo), timeout=_END_SECONDS)
        except (LabError, subprocess.SubprocessError):
            return False
        return True

    def _content(self, stream: "ZstdDecompressionReader", path: Path) -> Iterator[bytes]:
        """Yield the bytes of the file whose parts come from *stream*.

        Raises:
            InputError: this is no core file, or none of this guest.
            LabError: RAM cannot be read.
        """
        total = 0
        while header := stream.read(HEADER):
            if len(header) < HEADER:
                raise _cut_short(path)
            part = Part.decode(header)
            if not part.size:  # of these there could be any number
                raise InputError(
                    f"{path}: what the lab sends has an empty part: nothing is written"
                )
            if total + part.size > self._most:
                raise InputError(
                    f"{path}: the lab sends more than {self._most >> 20} MiB, the guest's RAM and "
                    f"{BESIDE >> 20} MiB: nothing is written"
                )
            for data in self._part(stream, part, path):
                if not total and _HEADER.unpack(data[: _HEADER.size].ljust(_HEADER.size)) != _CORE:
                    raise InputError(
                        f"{path}: what the lab sends is no ELF core file: nothing is written"
                    )
                total += len(data)
                yield data

    def _part(self, stream: "ZstdDecompressionReader", part: Part, path: Path) -> Iterator[bytes]:
        if part.pid:
            yield from process_memory.read(self._lab, *part)
            return
        left = part.size
        while left:
            if not (data := stream.read(min(left, _PIECE))):
                raise _cut_short(path)
            yield data
            left -= len(data)


def _cut_short(path: Path) -> InputError:
    return InputError(
        f"{path}: the command that writes it, or the connection to the lab, ended before the file "
        "did"
    )


class _Arriving(io.RawIOBase):
    """Bytes from a pipe, of which some must come now and then."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, place: "Buffer", /) -> int:
        try:
            wait_readable(self._descriptor, _SILENT_SECONDS, lambda: spend(0))
        except TimeoutError:
            raise InputError(
                f"{self._path}: the lab has sent nothing for {_SILENT_SECONDS:g} s: "
                "nothing is written"
            ) from None
        return os.readv(self._descriptor, [place])
