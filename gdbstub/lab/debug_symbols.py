"""The vmlinux with debug information of a Linux Image, as its distribution offers it.

By build ID from the servers in DEBUGINFOD_URLS, or by version from Debian's -dbg package through
this machine's apt. What is found has one of the Image's build IDs, and is kept in the cache.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import LabError
from gdbstub.lab import cache, debian, tools
from gdbstub.lab.progress import Steps, note

#: Header of a note NT_GNU_BUILD_ID with 20 bytes, and of the name GNU.
_NOTE: Final = re.compile(rb"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0(.{20})", re.DOTALL)
#: The kernel's linux_banner: its release, and the version of its Debian package.
_BANNER: Final = re.compile(rb"Linux version ([\w.+~-]+) [^\n\0]*? Debian ([\w.+~:-]+) \(")
_VMLINUX: Final = "vmlinux"
_SAID_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 90.0
_CHUNK: Final = 1 << 20


class KernelBuild(NamedTuple):
    """Identity of a kernel: build IDs in its Image, its own among them, and its package."""

    ids: tuple[str, ...]
    release: str = ""
    version: str = ""


def identify(image: bytes) -> KernelBuild:
    """Return what *image*, a decompressed Linux Image, says of its build.

    Raises:
        LabError: it says nothing.
    """
    # Its own build ID comes last: those of the vDSOs are in its data.
    ids = tuple(dict.fromkeys(match[1].hex() for match in _NOTE.finditer(image)))[::-1]
    if not ids:
        raise LabError(
            "--symbols debug: the kernel's Image has no build ID; give its vmlinux to --symbols"
        )
    if banner := _BANNER.search(image):
        return KernelBuild(ids, banner[1].decode(), banner[2].decode())
    return KernelBuild(ids)


def prepare(image: bytes) -> Path:
    """Return the vmlinux of *image*; the first call downloads a few hundred megabytes.

    Raises:
        LabError: nobody has it, or it cannot be downloaded.
    """
    build = identify(image)
    made = cache.entry("debug", [*build.ids], lambda directory: _fetch(build, directory))
    return made / _VMLINUX


def _fetch(build: KernelBuild, directory: Path) -> None:
    servers = os.environ.get("DEBUGINFOD_URLS", "").split()
    with Steps("getting the kernel's debug information", 2) as steps:
        steps.step(f"asking {len(servers)} servers" if servers else "reading the package lists")
        found = any(_download(server, build, directory) for server in servers)
        if not found:
            _from_debian(build, directory, steps)
    _check(build, directory / _VMLINUX)


def _download(server: str, build: KernelBuild, directory: Path) -> bool:
    """Download from a debuginfod server; return True if it has the file."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen  # imported here: it takes 30 ms

    for build_id in build.ids:
        url = f"{server.rstrip('/')}/buildid/{build_id}/debuginfo"
        if not url.startswith(("http://", "https://")):
            raise LabError(f"DEBUGINFOD_URLS: {server}: expected http:// or https://")
        path = directory / _VMLINUX
        try:
            request = Request(url, headers={"User-Agent": "kvm-gdbstub"})
            with (
                urlopen(request, timeout=_ANSWER_SECONDS) as answer,
                path.open("wb") as file,
                _watched(directory, int(answer.headers.get("Content-Length") or 0)),
            ):
                shutil.copyfileobj(answer, file, _CHUNK)
        except (URLError, OSError, ValueError) as error:
            path.unlink(missing_ok=True)
            if getattr(error, "code", None) != 404:
                note(f"{server}: {error}")
                return False
            continue
        if _build_id(path) == build_id:
            return True
        path.unlink()  # of a vDSO, for example
    return False


def _from_debian(build: KernelBuild, directory: Path, steps: Steps) -> None:
    if not build.release:
        raise LabError(
            "--symbols debug: no server in DEBUGINFOD_URLS has this kernel, and its banner names "
            "no Debian package; give its vmlinux to --symbols"
        )
    tools.require("apt-get", "dpkg-deb", "tar")
    name = f"linux-image-{build.release}-dbg"
    with debian.Arm64(cache.root() / "apt", directory) as packages:
        packages.update()
        fields = dict(re.findall(r"^(Version|Size): (\S+)", packages.show(name), re.MULTILINE))
        size = int(fields["Size"])
        steps.step(f"downloading {name} {build.version} ({size >> 20} MB)")
        try:
            with _watched(directory, size):
                (deb,) = packages.download([(name, build.version)])
        except LabError:
            if fields["Version"] == build.version:
                raise
            raise LabError(
                f"--symbols debug: the apt sources have {name} {fields['Version']}, and the kernel "
                f"is {build.version}: run a kernel of that version, or set DEBUGINFOD_URLS"
            ) from None
    try:
        debian.unpack(deb, directory, wanted=f"./usr/lib/debug/*vmlinux-{build.release}")
        places = [
            each
            for each in directory.glob("usr/lib/debug/**/vmlinux-*")
            if each.is_file() and not each.is_symlink()
        ]
        if not places:
            raise LabError(f"{deb.name} has no vmlinux-{build.release} below usr/lib/debug")
        places[0].rename(directory / _VMLINUX)
        shutil.rmtree(directory / "usr")
    finally:
        for path in deb.parent.glob(f"{deb.name}*"):
            path.unlink()  # what is kept is in it


def _check(build: KernelBuild, path: Path) -> None:
    if (found := _build_id(path)) not in build.ids:
        raise LabError(
            f"--symbols debug: the vmlinux has the build ID {found or 'none'}, and the kernel "
            f"{build.ids[0]}: it is another build's; give its own to --symbols"
        )


def _build_id(path: Path) -> str:
    """Return the build ID of the ELF file *path*; empty if it has none."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import NoteSection
    from elftools.elf.segments import NoteSegment

    with path.open("rb") as file, suppress(ELFError):
        elf = ELFFile(file)
        for part in (*elf.iter_sections("SHT_NOTE"), *elf.iter_segments("PT_NOTE")):
            if isinstance(part, NoteSection | NoteSegment):
                for each in part.iter_notes():
                    if each["n_type"] == "NT_GNU_BUILD_ID":
                        return str(each["n_desc"])
    return ""


@contextmanager
def _watched(directory: Path, size: int) -> Iterator[None]:
    """Print every few seconds how much of *size* bytes is in *directory*."""
    over = threading.Event()

    def watch() -> None:
        began = time.monotonic()
        while not over.wait(_SAID_SECONDS):
            with suppress(OSError):
                there = sum(each.stat().st_size for each in directory.iterdir() if each.is_file())
                of = f" of {size >> 20}" if size else ""
                note(f"{there >> 20}{of} MB after {time.monotonic() - began:.0f} s")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
