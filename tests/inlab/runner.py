"""The outer side: sends the tests into the lab, runs them there once, and reads the reports."""

import compileall
import io
import json
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from gdbstub.kvm.compiler import LIBRARY
from gdbstub.lab import cache, native_core
from gdbstub.lab.host import Lab
from gdbstub.lab.qemu import Options
from tests import hardware, reports
from tests.contract import faulty_core

ROOT = Path(__file__).parents[2]
#: The sources' directory there: the name of the one here, which their bytecode has.
PLACE = str(ROOT)
#: File of the tests' names, which may be too many for a command line.
LIST = "nodeids.txt"


class LabTests:
    """Tests in a lab, which a process of its own starts: a test here may change the environment."""

    def __init__(self, config: pytest.Config, options: Options) -> None:
        """Have the lab started."""
        self._config = config
        wish = {"options": asdict(options), "is_usual": options == hardware.chosen(config)}
        argv = [sys.executable, "-m", "tests.inlab", json.dumps(wish)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            argv, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, errors="replace"
        )

    def run(self, nodeids: Sequence[str]) -> reports.Reports:
        """Run the tests there; return every report of theirs, by node id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wish = {"nodeids": nodeids, "long": bool(self._config.getoption("--long"))}
        with self._process:
            with suppress(BrokenPipeError):  # what it said at its end is read next
                self._process.stdin.write(json.dumps(wish))
                self._process.stdin.close()
            return reports.read(self._config, self._process.stdout, nodeids)[0]

    def end(self) -> None:
        """Have the lab end, whatever it runs."""
        self._process.terminate()
        self._process.wait()


def run_in_lab(lab: Lab, nodeids: Sequence[str], *, long: bool) -> None:
    """Run the tests there, with their reports on this process's standard output."""
    _send(lab, nodeids)
    with lab.popen(
        ["python3", "-m", "pytest", "-p", "tests.inlab.reporter", "-p", "no:cacheprovider",
         "-q", "--capture=fd", *["--long"] * long, f"@{LIST}"],
        cwd=PLACE, env={"PYTHONPATH": PLACE}, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    ):  # fmt: skip
        pass


def start_module(lab: Lab, module: str, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start ``python -m MODULE`` there, on the sources of here; its output is this process's."""
    _send(lab, [])
    argv = ["python3", "-m", module, *arguments]
    return lab.popen(argv, cwd=PLACE, env={"PYTHONPATH": PLACE}, stdin=subprocess.DEVNULL)


def _send(lab: Lab, nodeids: Sequence[str]) -> None:
    """Copy the sources and the list of tests there, to ``PLACE``."""
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "project.tar"
        _pack(archive, nodeids)
        there = shlex.quote(lab.put(archive))
        lab.run(["sh", "-c", f"tar -x -f {there} -C / && rm {there}"])


def _pack(archive: Path, nodeids: Sequence[str]) -> None:
    with tarfile.open(archive, mode="w") as tar:

        def add(path: Path, name: str) -> None:
            tar.add(path, f"{PLACE}/{name}", recursive=False)

        names = "\n".join(nodeids).encode()
        entry = tarfile.TarInfo(f"{PLACE}/{LIST}")
        entry.size = len(names)
        tar.addfile(entry, io.BytesIO(names))
        for path in _sources():
            add(path, str(path.relative_to(ROOT)))
        add(native_core.library(), f"gdbstub/kvm/{LIBRARY}")
        add(_faulty_core(), str(faulty_core.LIBRARY.relative_to(ROOT)))


def _faulty_core() -> Path:
    def build(directory: Path) -> None:
        faulty_core.build(directory / LIBRARY)

    return cache.entry("faulty-core", faulty_core.key(), build, mode=0o700) / LIBRARY


def _sources() -> Iterator[Path]:
    """Yield sources and their bytecode, which takes long to make under emulation.

    The bytecode of tests is pytest's, which has written it as it collected them.
    """
    tests = re.compile(r"/(test_\w+|conftest)\.py$")
    yield ROOT / "pyproject.toml"
    for name in ("gdbstub", "tests"):
        compileall.compile_dir(ROOT / name, quiet=2, rx=tests)
        for path in sorted((ROOT / name).rglob("*")):
            # Other processes write bytecode meanwhile, to files that they then rename.
            if path.is_file() and (path.suffix == ".pyc" or "__pycache__" not in path.parts):
                yield path
