"""Files of a kernel's modules: found in a directory, and described by their sections.

A file is described once, for a stub that may run where it cannot be read: in the lab.
Source: ELF gABI 4 (sections, notes); the layout below lib/modules is depmod's.
"""

import os
import re
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from gdbstub.errors import InputError
from gdbstub.linux.elf import MAGIC

if TYPE_CHECKING:
    from pathlib import Path

_EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR: Final = struct.Struct("<IIQQQQIIQQ")
_NOTE: Final = struct.Struct("<III")
_ET_REL: Final = 1
_EM_AARCH64: Final = 183
_ALLOC, _EXECINSTR = 2, 4
_BUILD_ID: Final = 3
#: Names of a module's files, with the compressions of which modules are.
_NAMED: Final = re.compile(r"(?P<name>.+)\.ko(?:\.(?P<packed>xz|zst|gz))?")
_MOST: Final = 256 << 20
#: Longest name of a section; a hostile file can make every name as long as the file.
_NAME_LIMIT: Final = 256


class FileSection(NamedTuple):
    """One section that takes memory: its name, its size in bytes, True if it is code."""

    name: str
    size: int
    code: bool


class ModuleFile(NamedTuple):
    """The file of one module as clients open it, its build ID, and its sections in their order."""

    path: str
    build_id: str
    sections: tuple[FileSection, ...]


class ModuleFiles(dict[str, ModuleFile]):
    """Files by the names of their modules, as the kernel spells them."""

    def to_text(self) -> str:
        """Serialise the files as one line of text."""
        import json  # here and below: few starts have modules

        return json.dumps(self)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse the output of ``to_text``.

        Raises:
            ValueError: it is something else.
        """
        import json

        try:
            return cls(
                {
                    name: ModuleFile(path, build_id, tuple(FileSection(*each) for each in sections))
                    for name, (path, build_id, sections) in json.loads(text).items()
                }
            )
        except (AttributeError, RecursionError, TypeError) as error:
            raise ValueError(str(error)) from error


def find(directory: "Path", release: str) -> "Mapping[str, Path]":
    """Return the files of modules of the kernel *release*, by the names of the modules.

    *directory* is that of one kernel, or has the usual ``lib/modules/RELEASE`` in it.

    Raises:
        InputError: it is no directory, or there are none.
    """
    if not os.path.isdir(directory):  # it raises nothing, as for a name that is too long
        raise InputError(
            f"--modules {directory}: is no directory; expected one with a kernel's modules, as "
            f"/lib/modules/{release or 'VERSION'}"
        )
    places = [directory / each / release for each in ("lib/modules", "usr/lib/modules", ".")]
    if not (found := next((each for each in places if release and os.path.isdir(each)), None)):
        found = directory
    files: dict[str, Path] = {}
    # Several files of one name: kernel/ is what the distribution has, updates/ goes before it.
    for path in sorted(found.rglob("*.ko*"), key=lambda each: ("updates" in each.parts, each)):
        if (match := _NAMED.fullmatch(path.name)) and path.is_file():
            files[match["name"].replace("-", "_")] = path
    if not files:
        raise InputError(
            f"--modules {directory}: has no module (*.ko, .ko.xz, .ko.zst, .ko.gz) of the kernel "
            f"{release}"
        )
    return files


def packed(path: "Path") -> bool:
    """Return True if the file of a module is compressed."""
    return not path.name.endswith(".ko")


def unpack(path: "Path") -> bytes:
    """Return the plain file of a module.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    try:
        if path.suffix == ".zst":
            import zstandard  # here and below: few kernels have each

            with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as data:
                return bytes(data.read(_MOST))
        if path.suffix == ".xz":
            import lzma

            with lzma.open(path) as unpacked:
                return unpacked.read(_MOST)
        if path.suffix == ".gz":
            import gzip

            with gzip.open(path) as inflated:
                return inflated.read(_MOST)
        with path.open("rb") as plain:
            return plain.read(_MOST)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except Exception as error:  # each library has errors of its own
        raise InputError(f"{path}: is damaged: {error}") from None


def describe(data: bytes, path: str) -> ModuleFile:
    """Describe the module *data*, the file *path*.

    Raises:
        InputError: it is no module for AArch64, or damaged.
    """
    try:
        return _describe(data, path)
    except (struct.error, IndexError, ValueError, OverflowError):
        raise InputError(f"{path}: is a damaged ELF file") from None


def _describe(data: bytes, path: str) -> ModuleFile:
    header = _EHDR.unpack_from(data)
    kind, machine, offset, size, count, names_at = (header[n] for n in (1, 2, 6, 11, 12, 13))
    if (data[:4], data[4], data[5]) != (MAGIC, 2, 1) or (kind, machine) != (_ET_REL, _EM_AARCH64):
        raise InputError(f"{path}: is no module for AArch64")
    if size != _SHDR.size:
        raise ValueError(size)
    rows = [_SHDR.unpack_from(data, offset + n * size) for n in range(count)]
    names = _bytes(data, rows[names_at])
    sections, build_id = [], ""
    for row in rows:
        if row[2] & _ALLOC:
            end = names.index(b"\0", row[0], row[0] + _NAME_LIMIT)
            name = names[row[0] : end].decode("ascii", "backslashreplace")
            sections.append(FileSection(name, row[5], bool(row[2] & _EXECINSTR)))
            if name == ".note.gnu.build-id":
                build_id = parse_build_id(_bytes(data, row))
    return ModuleFile(path, build_id, tuple(sections))


def _bytes(data: bytes, row: tuple[int, ...]) -> bytes:
    return data[row[4] : row[4] + row[5]]


def parse_build_id(note: bytes) -> str:
    """Return the build ID in the contents of a section ``.note.gnu.build-id``; "" without one."""
    for name_size, size, kind, rest in _notes(note):
        name, value = rest[:name_size], rest[(name_size + 3) & ~3 :][:size]
        if kind == _BUILD_ID and name == b"GNU\0":
            return value.hex()
    return ""


def _notes(note: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    if len(note) >= _NOTE.size:
        yield (*_NOTE.unpack_from(note), note[_NOTE.size :])
