"""What one boot adds to the image: the project's present source, a key, and wanted files.

The kernel unpacks it after the image, so it is packed at each boot and never cached.
"""

import compileall
import io
import py_compile
import shutil
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from gdbstub.lab import cpio
from gdbstub.lab.image import DIST_PACKAGES

PROJECT: Final = Path(__file__).parents[1]
#: As pip writes it, and no -m: that alone takes a tenth of a second under emulation.
COMMAND: Final = "#!/usr/bin/python3\nfrom gdbstub.cli.main import main\n\nmain()\n"
HOME: Final = "root"
SKIPPED: Final = shutil.ignore_patterns("__pycache__", ".*", "*.pyc")


def write(archive: Path, work: Path, public_key: str, include: Sequence[Path] = ()) -> None:
    """Write the overlay for one boot to *archive*; *include* lands in root's home directory."""
    tree = work / "overlay"
    target = tree / DIST_PACKAGES / PROJECT.name
    shutil.copytree(PROJECT, target, ignore=SKIPPED)
    for path in include:
        place = tree / HOME / path.resolve().name
        if path.is_dir():
            shutil.copytree(path, place, ignore=SKIPPED)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    compile_overlay(tree)
    keys = tree / HOME / ".ssh/authorized_keys"
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_text(public_key)
    command = tree / "usr/bin" / PROJECT.name
    command.parent.mkdir(parents=True)
    command.write_text(COMMAND)
    command.chmod(0o755)
    cpio.pack(tree, archive)
    shutil.rmtree(tree)


def compile_overlay(tree: Path) -> None:
    """Compile the project for the lab's Python; of another version, it does so by itself."""
    with redirect_stdout(io.StringIO()):
        compileall.compile_dir(
            tree,
            quiet=2,
            stripdir=str(tree),
            prependdir="/",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
