"""The project's source and native core in a lab, and the overlay of one boot: an ssh key.

The source is an archive that is cached by its digest. The kernel unpacks it after the image; into
a lab that is up it is copied, so that an edit needs no new boot.
"""

import compileall
import io
import py_compile
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.lab import cache, cpio, native_core
from gdbstub.lab.image import DIST_PACKAGES

PROJECT: Final = Path(__file__).parents[1]
SOURCES: Final = "lab/source"
"""Directory of sources in the lab, each in one named by its digest."""
HOME: Final = "root"
SKIPPED: Final = shutil.ignore_patterns("__pycache__", ".*", "*.pyc")


@dataclass(frozen=True, slots=True)
class OverlaySource:
    """The project's source as it is now."""

    digest: str
    #: Archive to be unpacked at the lab's root.
    archive: Path


def digest() -> str:
    """Return the digest of the project's files; the name of their directory in a lab.

    Raises:
        InputError: there is no compiler for arm64, or it failed.
        LabError: the cache cannot be written.
    """
    return cache.key_of(_parts())


def _parts() -> Iterator[str | bytes]:
    # The modules' bytecode is of this version, so the archive is worth less to another.
    yield sys.implementation.cache_tag
    yield Path(__file__).read_bytes()
    yield native_core.library().parent.name
    for path in sorted(PROJECT.rglob("*")):
        inner = path.relative_to(PROJECT)
        skipped = any(part.startswith((".", "__pycache__")) for part in inner.parts)
        if path.is_file() and not skipped:
            yield str(inner)
            yield path.read_bytes()


def source() -> OverlaySource:
    """Return the project's source as an archive, compiled; the first call takes a second.

    Raises:
        InputError: there is no compiler for arm64, or it failed.
        LabError: the cache cannot be written.
    """
    name = digest()
    directory = cache.entry("source", [name], lambda directory: _pack(name, directory))
    return OverlaySource(name, directory / "source.cpio")


def _pack(name: str, directory: Path) -> None:
    tree = directory / "tree"
    place = Path(SOURCES) / name / PROJECT.name
    shutil.copytree(PROJECT, tree / place, ignore=SKIPPED)
    shutil.copy(native_core.library(), tree / place / "kvm")
    compile_source(tree)
    link = tree / DIST_PACKAGES / PROJECT.name
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("/") / place)
    cpio.pack(tree, directory / "source.cpio")
    shutil.rmtree(tree)


def compile_source(tree: Path) -> None:
    """Compile the modules; a Python of another version ignores that and compiles in the lab."""
    with redirect_stdout(io.StringIO()):
        compileall.compile_dir(
            tree,
            quiet=2,
            stripdir=str(tree),
            prependdir="/",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def write(archive: Path, work: Path, public_key: str) -> None:
    """Write the overlay of one boot to *archive*."""
    tree = work / "overlay"
    keys = tree / HOME / ".ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_text(public_key)
    cpio.pack(tree, archive)
    shutil.rmtree(tree)
