"""The outer side: sends the tests into the lab, runs them there once, and reads the reports."""

import io
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gdbstub.kvm.compiler import LIBRARY
from gdbstub.lab import cache, native_core
from gdbstub.lab.host import Lab
from tests import reports
from tests.contract import faulty_core

ROOT = Path(__file__).parents[2]
PLACE = "/root/project"
#: File of the tests' names, which may be too many for a command line.
LIST = "nodeids.txt"


def run_in_lab(lab: Lab, config: pytest.Config, nodeids: Sequence[str]) -> reports.Reports:
    """Run the tests there; every report of theirs, by node id."""
    lab.run(["tar", "-x", "-m", "-C", "/root"], data=project(nodeids))
    process = lab.popen(
        ["python3", "-m", "pytest", "-p", "tests.inlab.reporter", "-p", "no:cacheprovider",
         "-q", "--capture=fd", *["--long"] * bool(config.getoption("--long")), f"@{LIST}"],
        cwd=PLACE,
        env={"PYTHONPATH": PLACE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    with process, io.TextIOWrapper(process.stdout, "utf-8", "replace") as lines:
        return reports.read(config, lines, nodeids)


def start_module(lab: Lab, module: str, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start ``python -m MODULE`` there, on the sources of here; its output is this process's."""
    lab.run(["tar", "-x", "-m", "-C", "/root"], data=project([]))
    argv = ["python3", "-m", module, *arguments]
    return lab.popen(argv, cwd=PLACE, env={"PYTHONPATH": PLACE}, stdin=subprocess.DEVNULL)


def project(nodeids: Sequence[str]) -> bytes:
    """Archive the sources and the list of tests with tar, below ``project/``."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        names = "\n".join(nodeids).encode()
        entry = tarfile.TarInfo(f"project/{LIST}")
        entry.size = len(names)
        tar.addfile(entry, io.BytesIO(names))
        for path in _sources():
            tar.add(path, f"project/{path.relative_to(ROOT)}", recursive=False)
        tar.add(native_core.library(), f"project/gdbstub/kvm/{LIBRARY}")
        tar.add(_faulty_core(), f"project/{faulty_core.LIBRARY.relative_to(ROOT)}")
    return archive.getvalue()


def _faulty_core() -> Path:
    def build(directory: Path) -> None:
        faulty_core.build(directory / LIBRARY)

    return cache.entry("faulty-core", faulty_core.key(), build, mode=0o700) / LIBRARY


def _sources() -> Iterator[Path]:
    yield ROOT / "pyproject.toml"
    for name in ("gdbstub", "tests"):
        for path in sorted((ROOT / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path
