"""The demo guest: Debian's arm64 kernel, a busybox user space, and symbols for GDB.

The same three files are used in the lab and on an arm64 machine with KVM.
"""

import hashlib
import re
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import InputError, LabError
from gdbstub.lab import cache, cpio, debian, kernel, tools
from gdbstub.lab.progress import Steps
from gdbstub.linux.debug_frame import with_frames

COMMAND_LINE: Final = "console=ttyAMA0 nokaslr quiet"
"""The kernel's command line; without ``nokaslr`` the symbols would not fit its addresses."""

INIT_LINE: Final = "gdbstub demo guest: init is running"
"""The line that the guest prints when user space has started."""

ROOTFS: Final = Path(__file__).parent / "demofs"
BUSYBOX: Final = "busybox-static"
#: Version of what ``debug_frame`` makes.
_FRAMES: Final = "frames 2"
#: Header of an Image: its length, and the magic number at its end.
_HEADER: Final = 64
_MAGIC: Final = b"ARM\x64"
#: First major release whose kallsyms has addresses relative to itself.
_RELATIVE_SINCE: Final = 7
SYMBOLIZER: Final = "gdbstub.lab.symbolizer"


@dataclass(frozen=True, slots=True)
class Demo:
    """Files of the demo guest."""

    image: Path
    initrd: Path
    symbols: Path


def prepare() -> Demo:
    """Return the files of the demo guest; the first call builds them in half a minute."""
    tools.require_module("vmlinux_to_elf")  # before what takes long
    base = kernel.prepare()
    return Demo(base.image, initrd(), symbols(base.image))


def initrd() -> Path:
    """Return an initramfs of busybox and the project's own init."""
    init = (ROOTFS / "init").read_bytes()
    parts: list[str | bytes] = [debian.packages_release(), Path(__file__).read_bytes(), init]
    return cache.entry("demo", parts, _build_initrd) / "initrd.cpio"


def _build_initrd(directory: Path) -> None:
    tools.require("apt-get", "dpkg-deb", "tar", "cpio")
    with Steps("preparing the demo guest", 2) as steps:
        steps.step("downloading busybox")
        with debian.packages(directory) as packages:
            wanted = [item for item in packages.closure([BUSYBOX]) if item[0] == BUSYBOX]
            (deb,) = packages.download(wanted)
        steps.step("packing it")
        tree = directory / "tree"
        (tree / "usr/bin").mkdir(parents=True)
        (tree / "bin").symlink_to("usr/bin")
        debian.unpack(deb, tree, ["./usr/share*"])
        shutil.copy(ROOTFS / "init", tree / "init")
        (tree / "init").chmod(0o755)
        cpio.pack(tree, directory / "initrd.cpio")
        shutil.rmtree(tree)


def symbols(image: Path, data: bytes | None = None) -> Path:
    """Return an ELF file with the function symbols of a Linux *image*; 6 s the first time.

    The symbols come from the kernel's kallsyms: without types and source lines. The frames of the
    functions, for backtraces, come from their instructions. *data* is the file's, if it was read.

    Raises:
        InputError: it has none that can be read.
        LabError: nothing can be made.
    """
    data = image.read_bytes() if data is None else data
    options = symbolizer_options(data)
    parts: list[str | bytes] = [hashlib.sha256(data).hexdigest(), _FRAMES, *options]
    return (
        cache.entry("symbols", parts, lambda place: _symbolize(image, place, options)) / "vmlinux"
    )


def symbolizer_options(image: bytes) -> list[str]:
    """Return the options by which vmlinux-to-elf gives the contents of *image* its symbols' place.

    Since Linux 7 it takes the size in the Image's header for the address of the first symbol. Where
    the kernel has relocations (RELA) it has the contents elsewhere, and so no symbol in them.
    """
    found = re.search(rb"Linux version (\d{1,3})\.", image)
    size, magic = struct.unpack_from("<16xQ32x4s", image[:_HEADER].ljust(_HEADER))
    if found is None or int(found[1]) < _RELATIVE_SINCE or magic != _MAGIC:
        return []
    return ["--base-address", f"{size:#x}"]


def _symbolize(image: Path, directory: Path, options: Sequence[str] = ()) -> None:
    tools.require_module("vmlinux_to_elf")
    with Steps(f"preparing the symbols of {image.name}", 1) as steps:
        steps.step("reading the kernel's symbols (about 6 s)")
        # A process of its own: the library logs a lot and keeps half a gigabyte.
        made = directory / "vmlinux"
        try:
            tools.run(tools.module(SYMBOLIZER, *options, image, made))
        except LabError as error:
            raise InputError(
                f"symbols {image}: no kernel's symbols can be read from it ({error}); expected a "
                "Linux Image with CONFIG_KALLSYMS"
            ) from None
        made.write_bytes(with_frames(made.read_bytes()))
