"""Modules that a start does not import, since few sessions or only a tool use them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pure.elves import Elf, image

LATER = {
    *("cffi", "pycparser", "elftools", "zstandard", "gzip", "rich", "html", "json"),
    *("gdbstub.monitor.commands", "gdbstub.cli.doctor", "gdbstub.lab", "gdbstub.linux.relocate"),
    # The first not for itself: each class that it makes takes half a millisecond.
    *("dataclasses", "secrets", "hashlib", "encodings.idna", "shlex", "grp"),
}
#: All of ``gdbstub run`` but the VM, which this machine may have no KVM for.
PROGRAM = """
import sys
from gdbstub.cli import main as cli
from gdbstub.cli.serving import run
from gdbstub.cli.settings import run as settings

async def run_guest(settings, signals):
    print(*sys.modules)
    return 0

settings.choose_host, run.run_guest = lambda _: "kvm", run_guest
sys.exit(cli.call(["run", sys.argv[1], "--gdb=127.0.0.1:0"]))
"""


def standard_library() -> set[str]:
    """Modules that this version's standard library imports for itself where we begin with it."""
    program = "import asyncio, logging, pathlib, sys, tempfile, typing; print(*sys.modules)"
    argv = [sys.executable, "-c", program]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


def test_python_without_docstrings() -> None:
    """A user may have PYTHONOPTIMIZE=2 set; help is shorter then."""
    program = "import gdbstub.protocol.packets, gdbstub.monitor.commands, gdbstub.cli.main as m"
    argv = [sys.executable, "-OO", "-c", f"{program}; m.call(['run', '--help'])"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "--smp" in done.stdout


#: A wrong command line, and the modules of the project that it takes to refuse it.
REFUSED = {
    "--bogus": 14,
    "bogus": 13,
    "run --bogus": 15,
    "run -kernel Image -m 512": 15,
    "run absent --host lab": 70,
    "run absent --gdb 1234": 70,
    "doctor --bogus": 15,
    "attach 0": 70,
    "recover 0": 70,
    "launch --host lab --stop-on x -- qemu-system-aarch64": 70,
    "launch --host lab -- nosuch": 70,
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_wrong_command_line_is_refused_with_few_imports(words: str) -> None:
    """One module costs a millisecond, asyncio and the debugger a tenth of a second each."""
    program = "import sys; from gdbstub.cli.main import call; s = call(sys.argv[1:]); "
    program += "print(*sys.modules); sys.exit(s)"
    argv = [sys.executable, "-c", program, *words.split()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    imported = set(done.stdout.split())
    assert not imported & {"asyncio", "rich", "elftools", "gdbstub.debug.debugger"}
    ours = sorted(name for name in imported if name.startswith("gdbstub"))
    assert len(ours) <= REFUSED[words], ours


@pytest.mark.parametrize("guest", [Elf().build(), image(0x3000)], ids=["ELF", "Image"])
def test_a_start_imports_nothing_that_it_can_do_without(guest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "guest"
    path.write_bytes(guest)
    argv = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "gdbstub.kvm_backend" in imported
    assert not imported & LATER - standard_library()
