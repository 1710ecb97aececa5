"""Debian's arm64 cloud kernel, which the lab and the demo guest boot.

The raw Image is extracted, and the few modules for the lab's network; nothing is compiled.
"""

import lzma
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import cache, debian
from gdbstub.lab.progress import Steps

META_PACKAGE: Final = "linux-image-cloud-arm64"
PARTS: Final = r"linux-(?:binary|modules)-\S+"
"""Packages with the Image and the modules since Debian 14; before, one package has both."""
WANTED_MODULES: Final = ("virtio_pci", "virtio_net")


@dataclass(frozen=True, slots=True)
class HostKernel:
    """One extracted kernel: an Image, and modules whose names sort in load order."""

    directory: Path

    @property
    def image(self) -> Path:
        """Path of the raw arm64 Image."""
        return self.directory / "Image"

    @property
    def modules(self) -> Path:
        """Directory of the uncompressed modules."""
        return self.directory / "modules"


def prepare(suite: str = "") -> HostKernel:
    """Return the kernel of a Debian *suite*, by default that of this machine's release.

    The first call downloads it by apt.

    Raises:
        LabError: the package cannot be downloaded or has no kernel.
    """
    parts: list[str | bytes] = [Path(__file__).read_bytes(), suite or debian.packages_release()]
    return HostKernel(cache.entry("kernel", parts, lambda directory: _build(directory, suite)))


def _build(directory: Path, suite: str) -> None:
    with Steps("preparing the kernel", 3) as steps:
        steps.step("reading the package lists")
        with debian.packages(directory, suite) as packages:
            name = packages.dependency(META_PACKAGE, r"linux-image-\S+-cloud-arm64")
            version = re.findall(r"^Version: (\S+)", packages.show(name), re.MULTILINE)[0]
            steps.step(f"downloading {name} {version}")
            names = [name, *packages.dependencies(name, PARTS)]
            debs = packages.download([(each, version) for each in names])
        steps.step("unpacking the kernel")
        tree = directory / "tree"
        tree.mkdir()
        for deb in debs:
            debian.unpack(deb, tree)
        _keep(tree, directory)
        shutil.rmtree(tree)


def _keep(tree: Path, directory: Path) -> None:
    places = [*tree.glob("boot/vmlinuz-*"), *tree.glob("usr/lib/modules/*/vmlinuz")]
    if not places:
        raise LabError(
            "the kernel package has no vmlinuz below boot/ or usr/lib/modules/: choose another "
            "suite with --kernel"
        )
    places[0].rename(directory / "Image")
    files = {stem(path): path for path in tree.rglob("*.ko*")}
    modules = directory / "modules"
    modules.mkdir()
    for index, name in enumerate(load_order(WANTED_MODULES, files)):
        (modules / f"{index:02}-{name}.ko").write_bytes(content(files[name]))


def stem(path: Path) -> str:
    """Return the name of the module in a file: ``virtio_net`` for ``virtio-net.ko.xz``."""
    return path.name.split(".ko")[0].replace("-", "_")


def content(path: Path) -> bytes:
    """Return a module as plain ELF; Debian 13 and newer compress modules by xz."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def load_order(wanted: Iterable[str], files: dict[str, Path]) -> list[str]:
    """List *wanted* modules and their dependencies, each after its own dependencies.

    A name without a file in *files* is built into the kernel and left out.
    """
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in order or name not in files:
            return
        for need in depends(content(files[name])):
            visit(need)
        order[name] = None

    for name in wanted:
        visit(name)
    return list(order)


def depends(module: bytes) -> Iterator[str]:
    """Yield the names in the ``depends=`` of a module (.modinfo, ``include/linux/module.h``)."""
    if match := re.search(rb"\0depends=([^\0]*)\0", module):
        for name in match[1].decode().split(","):
            if name:
                yield name.replace("-", "_")
