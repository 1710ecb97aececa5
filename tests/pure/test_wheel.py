"""The wheel, built as pip builds it: pure, or with the native core where this machine is arm64."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
#: A sitecustomize.py that gives the build another architecture.
SITE = "import platform\nplatform.machine = lambda: {machine!r}\n"
_AARCH64 = 183  # e_machine


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the build reads."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns("__pycache__", "core.so", "commit.txt")
    for name in ("gdbstub", "scripts"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
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
    assert "gdbstub/cli/commit.txt" not in names  # this copy is no checkout


#: Programs of a user, by the wheel's copy of the project: this process runs another.
PROGRAM = "import sys; sys.path.insert(0, {place!r}); from gdbstub.cli.main import main; main()"


def test_a_wheel_of_a_source_distribution_is_that_of_the_checkout(project: Path) -> None:
    """Both wheels have the commit, man pages and completions, and the program in them runs."""
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "All"]):
        subprocess.run(["git", "-C", project, *words], check=True)
    found = []
    for root, kinds in ((project, ("wheel", "sdist")), (project / "dist", ("wheel",))):
        if root != project:
            (archive,) = root.glob("*.tar.gz")
            shutil.unpack_archive(archive, root, filter="data")
            root = root / archive.name.removesuffix(".tar.gz")
        for kind in kinds:
            argv = [sys.executable, "-m", "hatchling", "build", "-t", kind]
            subprocess.run(argv, cwd=root, check=True, capture_output=True)
        (wheel,) = (root / "dist").glob("*.whl")
        found.append(ZipFile(wheel))
    one, other = (set(wheel.namelist()) for wheel in found)
    assert one == other
    data = f"{wheel.name.rpartition('-py3')[0]}.data/data/share"
    assert {
        f"{data}/man/man1/gdbstub.1", f"{data}/man/man1/gdbstub-lab-run.1",
        f"{data}/bash-completion/completions/gdbstub", f"{data}/zsh/site-functions/_gdbstub",
        f"{data}/fish/vendor_completions.d/gdbstub.fish",
    } <= one  # fmt: skip
    commit = found[1].read("gdbstub/cli/commit.txt").decode().strip()
    assert re.fullmatch("[0-9a-f]{12}", commit)
    place = project.parent / "installed"
    found[1].extractall(place)
    for words, says in (
        (["--version"], f", commit {commit}\n"),
        (["run", "--help"], "Usage: gdbstub run [OPTIONS] [GUEST]"),
        (["doctor"], f", commit {commit}, Python "),
    ):
        argv = [sys.executable, "-c", PROGRAM.format(place=str(place)), *words]
        done = subprocess.run(argv, cwd=place, capture_output=True, text=True, check=False)
        assert says in done.stdout, done.stderr


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
