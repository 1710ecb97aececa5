"""The wheel, built as pip builds it: pure, or with the native core where this machine is arm64."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
#: What the build takes for this machine's architecture, read as it starts.
SITE = "import platform\nplatform.machine = lambda: {machine!r}\n"
_AARCH64 = 183  # e_machine


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the build reads."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns("__pycache__", "core.so")
    shutil.copytree(ROOT / "gdbstub", copy / "gdbstub", ignore=ignore)
    return copy


def build(
    project: Path, machine: str, compiler: str | None
) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """Build as if on *machine*, where *compiler* is called ``cc``."""
    site, programs = project.parent / "site", project.parent / "bin"
    site.mkdir()
    programs.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(machine=machine))
    if compiler is not None:
        (programs / "cc").write_text(f'#!/bin/sh\nexec {compiler} "$@"\n')
        (programs / "cc").chmod(0o755)
    path = os.pathsep.join([str(programs), *(os.environ["PATH"].split(os.pathsep))])
    environment = {**os.environ, "PYTHONPATH": str(site), "PATH": path}
    if compiler is None:
        environment["PATH"] = str(programs)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done, list((project / "dist").glob("*.whl"))


def test_elsewhere_it_is_pure_and_has_the_sources(project: Path) -> None:
    done, (wheel,) = build(project, "x86_64", None)
    assert not done.returncode, done.stderr
    assert wheel.name.endswith("-py3-none-any.whl")
    names = ZipFile(wheel).namelist()
    assert "gdbstub/kvm/core/vcpu.c" in names
    assert "gdbstub/kvm/core.so" not in names


def test_on_arm64_it_has_the_core_for_every_python(project: Path) -> None:
    done, (wheel,) = build(project, "aarch64", "aarch64-linux-gnu-gcc")
    assert not done.returncode, done.stderr
    assert wheel.name.endswith("-py3-none-manylinux_2_17_aarch64.whl")
    image = ZipFile(wheel).read("gdbstub/kvm/core.so")
    assert (image[:4], int.from_bytes(image[18:20], "little")) == (b"\x7fELF", _AARCH64)
    # The C library's oldest version that the wheel's tag promises to do with.
    versions = {word for word in image.split(b"\0") if word.startswith(b"GLIBC_")}
    assert versions == {b"GLIBC_2.17"}


def test_on_arm64_without_a_compiler_it_is_one_line(project: Path) -> None:
    done, wheels = build(project, "aarch64", None)
    assert (done.returncode, wheels) == (1, [])
    assert done.stderr.splitlines()[-1].endswith(
        "cc, which compiles gdbstub's native core, is not installed: apt-get install gcc libc6-dev"
    )
