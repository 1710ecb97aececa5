"""QEMU for the lab: Debian's arm64 package as a directory tree, put into a running lab.

The tree is for chroot: the lab's own root has little of Debian. Nothing here starts a guest.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gdbstub.lab import cache, debian
from gdbstub.lab.host import Lab
from gdbstub.lab.image import NOT_UNPACKED, NOT_WANTED, lay_out
from gdbstub.lab.progress import Steps

PROGRAM: Final = "qemu-system-aarch64"
ROOT: Final = "/vmm"
PACKAGES: Final = ("qemu-system-arm", "ipxe-qemu")

_LEFT_OUT: Final = (
    *NOT_WANTED,
    "./usr/bin/qemu-system-arm",
    "./usr/share/iso-codes*",
    "./usr/share/xml*",
    "./usr/share/alsa*",
)

#: Directories of the lab that the tree shares; /put has the files that were copied in.
_INSTALL: Final = f"""\
set -e
test -e {ROOT}/ready && exit 0
mkdir -p {ROOT} /put
tar -x -C {ROOT} -f "$1"
for name in dev proc sys tmp root put; do
    mkdir -p {ROOT}/$name
    mount --bind /$name {ROOT}/$name
done
touch {ROOT}/ready
"""


def prepare() -> Path:
    """Return a tar file of the tree; the first call builds it in a minute, most of it downloads.

    Raises:
        LabError: a package cannot be had.
    """
    parts: list[str | bytes] = [debian.packages_release(), Path(__file__).read_bytes()]
    return cache.entry("vmm", parts, _build) / "tree.tar"


def _build(directory: Path) -> None:
    build_tree(directory, PACKAGES, _LEFT_OUT)


def build_tree(
    directory: Path, names: Sequence[str], left_out: Sequence[str], suite: str = ""
) -> dict[str, str]:
    """Write ``tree.tar`` to *directory*: the arm64 packages *names* with all that they need.

    Files like *left_out* are not in it. Return the packages' versions, by name.

    Raises:
        LabError: a package cannot be had.
    """
    tree = directory / "tree"
    with Steps("preparing QEMU for the lab", 4) as steps:
        steps.step("reading the package lists")
        with debian.packages(directory, suite) as packages:
            closure = packages.closure(names)
            steps.step(f"downloading {len(closure)} Debian packages")
            debs = packages.download([item for item in closure if item[0] not in NOT_UNPACKED])
        steps.step("unpacking them")
        lay_out(tree)
        for deb in debs:
            debian.unpack(deb, tree, left_out)
        steps.step("packing the tree")
        subprocess.run(["tar", "-C", tree, "-cf", directory / "tree.tar", "."], check=True)
        shutil.rmtree(tree)
    return dict(closure)


def install(lab: Lab, archive: Path) -> None:
    """Unpack the tree of *archive* in *lab*, unless it is there."""
    lab.run(["sh", "-c", _INSTALL, "sh", lab.put(archive)])


def command(lab: Lab, argv: Sequence[str]) -> list[str]:
    """Return the command line for *argv* in *lab*, with the files that it names copied in.

    A file is named by a whole word, or by ``key=FILE`` between commas, as in QEMU's ``-drive``.
    """
    return ["chroot", ROOT, argv[0], *(_copied_in(lab, word) for word in argv[1:])]


def _copied_in(lab: Lab, word: str) -> str:
    if Path(word).is_file():
        return lab.put(Path(word))
    parts = []
    for part in word.split(","):
        key, equals, value = part.partition("=")
        if equals and Path(value).is_file():
            value = lab.put(Path(value))
        parts.append(key + equals + value)
    return ",".join(parts)
