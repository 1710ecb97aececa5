"""A Linux guest with a virtio disk and network, for VMMs other than ours; checked at its end."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from gdbstub.lab import cache, cpio, debian, kernel
from tests.kvm import user_space

_MODULES: Final = ("virtio_pci", "virtio_blk", "virtio_net")
_DISK_MIB: Final = 8


def build(directory: Path, initrd: Path) -> Path:
    """Make an initramfs in *directory*: *initrd* with the modules for virtio devices."""
    tree = directory / "modules-tree"
    shutil.copytree(_modules(), tree / "modules")
    cpio.pack(tree, directory / "modules.cpio")
    cpio.join([initrd, directory / "modules.cpio"], directory / "virtio.cpio")
    return directory / "virtio.cpio"


def modules(directory: Path) -> Path:
    """Make a directory of the guest's modules below *directory*, as ``--modules`` takes it."""
    place = directory / "modules"
    place.mkdir()
    for path in _modules().iterdir():
        (place / path.name.partition("-")[2]).symlink_to(path)
    return place


def _modules() -> Path:
    """Return a directory of modules of the guest's kernel, whose names sort in load order."""
    parts: list[str | bytes] = [Path(__file__).read_bytes(), kernel.prepare().directory.name]
    return cache.entry("virtio-modules", parts, _unpack) / "modules"


def _unpack(directory: Path) -> None:
    with debian.packages(directory) as packages:
        name = packages.dependency(kernel.META_PACKAGE, r"linux-image-\S+-cloud-arm64")
        version = re.findall(r"^Version: (\S+)", packages.show(name), re.MULTILINE)[0]
        names = [name, *packages.dependencies(name, kernel.PARTS)]
        debs = packages.download([(each, version) for each in names])
    tree = directory / "tree"
    tree.mkdir()
    for deb in debs:
        debian.unpack(deb, tree)
    files = {kernel.stem(path): path for path in tree.rglob("*.ko*")}
    (directory / "modules").mkdir()
    for index, name in enumerate(kernel.load_order(_MODULES, files)):
        target = directory / "modules" / f"{index:02}-{name}.ko"
        target.write_bytes(kernel.content(files[name]))
    shutil.rmtree(tree)


def make_disk(path: Path) -> Path:
    """Make a disk with an empty file system at *path*."""
    with path.open("wb") as file:
        file.truncate(_DISK_MIB << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-N", "2048", path], check=True)
    return path


def check(disk: Path, console: str, vcpus: int) -> int:
    """Check what the guest has computed, sent and written; return the number of links."""
    pattern = r"chain (\d+): links (\d+), returned (\d+), digest ([0-9a-f]{64})"
    chains = re.findall(pattern, user_space.printed(console))
    assert len(chains) == vcpus, console
    clean = subprocess.run(["e2fsck", "-f", "-n", disk], capture_output=True, text=True)
    assert clean.returncode == 0, clean.stdout
    for name, links, returned, said in chains:
        assert links == returned, console
        digest = name
        for number in range(1, int(links) + 1):
            digest = hashlib.sha256(f"{digest} {number}\n".encode()).hexdigest()
        assert digest == said, console
        assert _file(disk, f"{name}.{links}") == f"{digest}\n"
    return sum(int(links) for _, links, _, _ in chains)


def _file(disk: Path, name: str) -> str:
    argv = ["debugfs", "-R", f"cat {name}", str(disk)]
    return subprocess.run(argv, capture_output=True, check=True).stdout.decode()
