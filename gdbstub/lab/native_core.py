"""The native core for the lab, compiled by this machine's cross compiler and cached.

It loads nothing: ``kvm.native`` does that, in the lab.
"""

from pathlib import Path

from gdbstub.kvm import compiler
from gdbstub.lab import cache


def library() -> Path:
    """Return the path of the library for arm64.

    Raises:
        InputError: there is no compiler for arm64, or it failed.
        LabError: the cache cannot be written.
    """

    def build(directory: Path) -> None:
        compiler.build(directory / compiler.LIBRARY)

    return cache.entry("core", compiler.key(), build, mode=0o700) / compiler.LIBRARY
