"""The overlay of one boot: the project and its native core, an ssh key, files of the caller.

The kernel unpacks it after the image. It is packed at each boot and never cached.
"""

import compileall
import io
import py_compile
import shutil
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from gdbstub.lab import cpio, native_core
from gdbstub.lab.image import DIST_PACKAGES

PROJECT: Final = Path(__file__).parents[1]
#: The console script, as pip writes it; ``python -m`` takes 0.1 s longer under emulation.
COMMAND: Final = "#!/usr/bin/python3\nfrom gdbstub.cli.main import main\n\nmain()\n"
HOME: Final = "root"
SKIPPED: Final = shutil.ignore_patterns("__pycache__", ".*", "*.pyc")


def write(archive: Path, work: Path, public_key: str, include: Sequence[Path] = ()) -> None:
    """Write the overlay of one boot to *archive*, with *include* in root's home directory."""
    tree = work / "overlay"
    target = tree / DIST_PACKAGES / PROJECT.name
    shutil.copytree(PROJECT, target, ignore=SKIPPED)
    shutil.copy(native_core.library(), target / "kvm")
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
    """Compile the modules; a Python of another version ignores that and compiles in the lab."""
    with redirect_stdout(io.StringIO()):
        compileall.compile_dir(
            tree,
            quiet=2,
            stripdir=str(tree),
            prependdir="/",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
