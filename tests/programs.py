"""Selection of the debuggers: those of the machine, or those of ``--gdb`` and ``--lldb``.

And of what a machine does not have: the Linux kernel's scripts for GDB, and crash for arm64 guests.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

#: The names that tests call them by.
_NAMES: Final = {"gdb": "gdb-multiarch", "lldb": "lldb"}


def add_options(parser: pytest.Parser) -> None:
    """``--gdb``, ``--lldb``, ``--kernel-scripts`` and ``--crash``."""
    group = parser.getgroup("debuggers", "the debuggers that the tests run")
    for option, name in _NAMES.items():
        help_ = f"run PATH wherever {name} is run"
        group.addoption(f"--{option}", default=name, metavar="PATH", help=help_)
    group.addoption(
        "--kernel-scripts", default="", metavar="DIR",
        help="test the Linux kernel's GDB scripts: scripts/gdb where the guest's version was built",
    )  # fmt: skip
    group.addoption(
        "--crash", default="", metavar="PATH",
        help="test core files by crash(8), built with target=ARM64 unless this machine is one",
    )  # fmt: skip


def put_on_path(config: pytest.Config, stack: ExitStack) -> None:
    """Have each option's program found under its usual name, by whatever a test starts."""
    asked = {name: config.getoption(option) for option, name in _NAMES.items()}
    others = {name: program for name, program in asked.items() if program != name}
    if not others:
        return
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="debuggers-")))
    for name, program in others.items():
        found = shutil.which(program)
        if not found:
            raise pytest.UsageError(f"{program}: no program; expected a debugger to run")
        (directory / name).symlink_to(Path(found).absolute())
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("PATH", str(directory), prepend=os.pathsep)
