"""``--modules``: the files of a kernel's modules, unpacked and described once, kept in the cache.

``linux.module_files`` finds and describes them.
"""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gdbstub.errors import InputError
from gdbstub.lab import cache
from gdbstub.lab.progress import Steps
from gdbstub.linux.kaslr import LinkedKernel
from gdbstub.linux.module_files import ModuleFiles, describe, find, packed, unpack
from gdbstub.vmm.files import check_apart

_log = logging.getLogger("gdbstub.run")

_INDEX: Final = "modules.json"
_RELEASE: Final = re.compile(r"Linux version (\S+)")
#: Files between two messages of the progress.
_SHARE: Final = 500
_NONE: Final[Mapping[str, str | None]] = MappingProxyType({})


def read_modules(
    directory: Path,
    kernel: LinkedKernel | None,
    outputs: Mapping[str, str | None] = _NONE,
    *,
    inner: bool = False,
) -> ModuleFiles:
    """Return the files of the modules of *kernel* in *directory*, the argument of ``--modules``.

    With *inner*, in the lab, *directory* is a file that the stub outside has written.

    Raises:
        InputError: there are none, no kernel is known, or one is a file of *outputs*, by option.
    """
    if kernel is None:
        raise InputError("--modules needs a Linux guest and the symbols of its kernel: --symbols")
    if inner and os.path.isfile(directory):  # nobody else's, which may be of any size
        try:
            return ModuleFiles.from_text(directory.read_text())
        except ValueError:
            raise InputError(f"--modules {directory}: is a file; expected a directory") from None
    release = _RELEASE.match(kernel.banner)
    files = find(directory.absolute(), release[1] if release else "")
    check_apart((("--modules", path) for path in files.values()), outputs)
    parts: list[str | bytes] = [
        Path(__file__).read_bytes(),
        *(_identity(path) for path in files.values()),
    ]
    made = cache.entry("modules", parts, lambda place: _build(files, place))
    found = ModuleFiles.from_text((made / _INDEX).read_text())
    # An unpacked file is beside the index, whatever that directory's name was at first.
    return ModuleFiles(
        {name: file._replace(path=str(made / file.path)) for name, file in found.items()}
    )


def _identity(path: Path) -> str:
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _build(files: Mapping[str, Path], place: Path) -> None:
    found = ModuleFiles()
    with Steps("preparing the modules", -(-len(files) // _SHARE)) as steps:
        for number, (name, path) in enumerate(files.items()):
            if number % _SHARE == 0:
                steps.step(f"reading {min(number + _SHARE, len(files))} of {len(files)}")
            try:
                data = unpack(path)
                file = describe(data, str(path))
                if packed(path):
                    file = file._replace(path=f"{name}.ko")
                    (place / file.path).write_bytes(data)
                found[name] = file
            except InputError as error:
                _log.warning("--modules %s", error)
    (place / _INDEX).write_text(found.to_text())
