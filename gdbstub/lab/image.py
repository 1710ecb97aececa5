"""The root filesystem of the lab host: an initramfs with Python, sshd and the requirements.

The project itself is added at each boot by ``overlay.py``, so that an edit of its source needs
no new image.
"""

import compileall
import importlib.metadata
import io
import py_compile
import re
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import cache, cpio, debian, kernel, tools
from gdbstub.lab.progress import Steps

DISTRIBUTION: Final = "kvm-gdbstub"
PACKAGES: Final = ("busybox-static", "dropbear-bin", "socat")
TEST_TOOLS: Final = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
WHEEL_PLATFORMS: Final = (
    "manylinux2014_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux_2_28_aarch64",
)

NOT_UNPACKED: Final = frozenset({"dpkg", "tar", "perl-base", "debconf", "media-types"})
"""Dependencies that only packages' scripts need, which are not run."""

NOT_WANTED: Final = (
    "./usr/share/doc*",
    "./usr/share/info*",
    "./usr/share/lintian*",
    "./usr/share/locale*",
    "./usr/share/man*",
    "*/gconv/*",
)
"""Files that nothing in the lab reads; half of the packages' contents."""

UNUSED_BACKEND: Final = "zstandard/_cffi*.so"
"""A backend for other Pythons than CPython, 11 MB; each megabyte adds 20 ms to a boot."""

ROOTFS: Final = Path(__file__).parent / "rootfs"
EXECUTABLE: Final = (
    "init",
    "lab/connection",
    "lab/fetch",
    "lab/gdbstub",
    "lab/prepare",
    "usr/bin/gdbstub",
)
"""Scripts of ``ROOTFS`` that are run by their names."""
DIST_PACKAGES: Final = "usr/lib/python3/dist-packages"
DIRECTORIES: Final = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/lib")
LINKS: Final = (("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("usr/sbin", "bin"))


@dataclass(frozen=True, slots=True)
class Image:
    """Kernel and initramfs (an uncompressed cpio archive) that QEMU boots."""

    kernel: Path
    initrd: Path


def prepare(suite: str = "") -> Image:
    """Return the lab's image; the first call builds it in a minute, most of it downloads.

    *suite* is the kernel's Debian suite; all else is of this machine's own release.
    """
    base = kernel.prepare(suite)
    wheels = requirements()
    sources = [Path(module.__file__ or "").read_bytes() for module in (cpio, debian, kernel)]
    sources += [Path(__file__).read_bytes()]
    sources += [path.read_bytes() for path in sorted(ROOTFS.rglob("*")) if path.is_file()]
    parts: list[str | bytes] = [debian.packages_release(), base.directory.name, *wheels, *sources]
    # The modules' bytecode is of this version, so the image is worth less to another.
    parts.append(sys.implementation.cache_tag)
    made = cache.entry("lab", parts, lambda directory: _build(directory, base, wheels))
    return Image(base.image, made / "initrd.cpio")


def requirements() -> list[str]:
    """List the Python requirements of the lab, from the project's own metadata.

    They are all requirements of the stub, and the tests' ones that ``TEST_TOOLS`` names.

    Raises:
        LabError: the project is not installed.
    """
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise LabError(f"{DISTRIBUTION} is not installed: pip install -e .") from None
    wanted = []
    for line in declared:
        spec, _, marker = line.partition(";")
        name = re.split(r"[^\w.-]", spec.strip())[0]
        if "extra" not in marker or ("dev" in marker and name in TEST_TOOLS):
            wanted.append(spec.strip())
    return sorted(wanted)


def _build(directory: Path, base: kernel.HostKernel, wheels: list[str]) -> None:
    tools.require("apt-get", "dpkg-deb", "tar", "cpio")
    tree = directory / "tree"
    with Steps("preparing the lab", 6) as steps:
        steps.step("reading the package lists")
        with debian.packages(directory) as packages:
            # python3-minimal brings dpkg along; the versioned package that it wraps does not.
            minimal = packages.dependency("python3-minimal", r"python3\.\d+-minimal")
            python = minimal.removesuffix("-minimal")
            closure = packages.closure([minimal, f"lib{python}-stdlib", *PACKAGES])
            steps.step(f"downloading {len(closure)} Debian packages")
            debs = packages.download([item for item in closure if item[0] not in NOT_UNPACKED])
        steps.step("unpacking them")
        lay_out(tree)
        for deb in debs:
            debian.unpack(deb, tree, NOT_WANTED)
        (tree / "usr/bin/python3").symlink_to(python)
        steps.step("downloading Python packages")
        version = python.removeprefix("python")
        install_wheels(tree / DIST_PACKAGES, version, wheels)
        for unused in (tree / DIST_PACKAGES).glob(UNUSED_BACKEND):
            unused.unlink()
        steps.step("compiling Python modules")
        compile_python(tree, version)
        steps.step("packing the image")
        shutil.copytree(base.modules, tree / "lab/modules")
        shutil.copytree(ROOTFS, tree, dirs_exist_ok=True)
        for script in EXECUTABLE:
            (tree / script).chmod(0o755)
        cpio.pack(tree, directory / "initrd.cpio")
        shutil.rmtree(tree)


def lay_out(tree: Path) -> None:
    """Create the directories and the merged-/usr links that packages are unpacked into."""
    for name in DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, target in LINKS:
        (tree / name).symlink_to(target)


def install_wheels(target: Path, version: str, wheels: list[str]) -> None:
    """Install arm64 wheels for Python *version* into *target*.

    Raises:
        LabError: pip failed.
    """
    argv = tools.module("pip", "install", "--quiet", "--no-input", "--no-compile")
    argv += ["--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp"]
    argv += [f"--python-version={version}", f"--target={target}"]
    argv += [f"--platform={platform}" for platform in WHEEL_PLATFORMS]
    done = tools.call([*argv, *wheels])
    if done.returncode:
        why = tools.last_words(done.stderr)
        raise LabError(f"pip cannot get the lab's arm64 packages (is the network up?): {why}")


def compile_python(tree: Path, version: str) -> None:
    """Compile every module ahead of time, which takes seconds at each import under emulation.

    Bytecode can be made only for this machine's own version of Python. Another version
    compiles its modules in the lab.
    """
    if version != f"{sys.version_info.major}.{sys.version_info.minor}":
        return
    with redirect_stdout(io.StringIO()):
        for top in (tree / f"usr/lib/python{version}", tree / DIST_PACKAGES):
            compileall.compile_dir(
                top,
                quiet=2,
                stripdir=str(tree),
                prependdir="/",
                workers=0,
                # Nothing changes these files, so nothing need be checked at import.
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
