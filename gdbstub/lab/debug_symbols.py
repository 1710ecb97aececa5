"""The vmlinux with debug information of a Linux Image, as its distribution offers it.

By build ID from the servers in DEBUGINFOD_URLS, or by version from Debian's -dbg package through
this machine's apt. What is found has one of the Image's build IDs, and is kept in the cache.
"""

import mmap
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from gdbstub.errors import InputError, LabError, excerpt
from gdbstub.lab import cache, debian, tools
from gdbstub.lab.progress import Steps
from gdbstub.linux import elf
from gdbstub.streams import note

if TYPE_CHECKING:
    from http.client import HTTPResponse

#: Header of a note NT_GNU_BUILD_ID with 20 bytes, and of the name GNU.
_NOTE: Final = re.compile(rb"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0(.{20})", re.DOTALL)
#: The kernel's linux_banner: its release, and the version of its Debian package.
_BANNER: Final = re.compile(rb"Linux version ([\w.+~-]+) [^\n\0]*? Debian ([\w.+~:-]+) \(")
_VMLINUX: Final = "vmlinux"
_SAID_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 90.0
_CHUNK: Final = 1 << 20
#: Largest file of a server, unless this variable says another size; kernels have up to 1 GiB.
_MOST: Final = 4 << 30
_MAXSIZE: Final = "DEBUGINFOD_MAXSIZE"
#: Fewest bytes in that time, as debuginfod's own client has it (debuginfod-find(1)).
_SLOWEST: Final = 100_000


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
    from http.client import HTTPException
    from urllib.request import Request, urlopen  # imported here: it takes 30 ms

    most = _most()
    for build_id in build.ids:
        url = f"{server.rstrip('/')}/buildid/{build_id}/debuginfo"
        if not url.startswith(("http://", "https://")):
            raise LabError(f"DEBUGINFOD_URLS: {server}: expected http:// or https://")
        path = directory / _VMLINUX
        try:
            request = Request(url, headers={"User-Agent": "kvm-gdbstub"})
            with urlopen(request, timeout=_ANSWER_SECONDS) as answer, path.open("wb") as file:
                size = int(answer.headers.get("Content-Length") or 0)
                with _watched(directory, size):
                    _copy(answer, file, size, most)
        except (OSError, ValueError, HTTPException, LabError) as error:
            path.unlink(missing_ok=True)
            if getattr(error, "code", None) != 404:
                note(f"{server}: {excerpt(str(error) or type(error).__name__)}")
                return False
            continue
        if _build_id(path) == build_id:
            return True
        path.unlink()  # of a vDSO, for example
    return False


def _most() -> int:
    """Return the size of the largest file that is taken from a server, in bytes.

    Raises:
        LabError: DEBUGINFOD_MAXSIZE, a variable of debuginfod's own client, is no number.
    """
    text = os.environ.get(_MAXSIZE, "")
    if not text:
        return _MOST
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise LabError(f"{_MAXSIZE}={text}: expected a number of bytes")
    return int(text)


def _copy(answer: "HTTPResponse", file: BinaryIO, size: int, most: int) -> None:
    """Copy what a server sends, of which it says that it has *size* bytes.

    Raises:
        LabError: it is more than *most* bytes, or comes too slowly.
    """
    copied = before = 0
    since = time.monotonic()
    while size <= most and copied <= most and (data := answer.read1(_CHUNK)):
        file.write(data)
        copied += len(data)
        if time.monotonic() - since > _ANSWER_SECONDS:
            if copied - before < _SLOWEST:
                raise LabError(f"has sent less than {_SLOWEST} bytes in {_ANSWER_SECONDS:g} s")
            since, before = time.monotonic(), copied
    if max(size, copied) > most:
        raise LabError(f"sends more than {most >> 20} MiB; {_MAXSIZE} (bytes) allows more")


def _from_debian(build: KernelBuild, directory: Path, steps: Steps) -> None:
    if not build.release:
        raise LabError(
            "--symbols debug: no server in DEBUGINFOD_URLS has this kernel, and its banner names "
            "no Debian package; give its vmlinux to --symbols"
        )
    tools.require("apt-get", "dpkg-deb", "tar")
    name = f"linux-image-{build.release}-dbg"
    with debian.packages(directory) as packages:
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
    with (
        path.open("rb") as file,
        suppress(InputError, ValueError),  # an empty file is not mapped
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        found = (_NOTE.search(part) for part in elf.notes(data, path.name))
        return next((match[1].hex() for match in found if match), "")
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
