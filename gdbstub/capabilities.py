"""What a target may know of the program that it runs: capabilities, as those in ``target``.

It reads no file and looks for nothing in memory.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from gdbstub.target import Target


@runtime_checkable
class HasExecFile(Protocol):
    """A target whose program is a file."""

    @property
    def exec_file(self) -> str:
        """The file's absolute path, as clients open it; empty where none is known."""
        ...


def exec_file(target: Target) -> str | None:
    """The file of *target*'s program, if it is known."""
    return (target.exec_file or None) if isinstance(target, HasExecFile) else None


class Relocation(NamedTuple):
    """Where a program runs: ``offset`` above where it was linked, 0 or more.

    ``start`` is the virtual address that its first PT_LOAD was linked at.
    """

    start: int
    offset: int


@runtime_checkable
class Relocatable(Protocol):
    """A target whose program may run elsewhere than it was linked, as a kernel with KASLR does."""

    @property
    def relocatable(self) -> bool:
        """Whether anything is known to find it by; it never changes."""
        ...

    def relocation(self) -> Relocation | None:
        """Where it is now, at rest; None while that is not known."""
        ...


def relocatable(target: Target) -> Relocatable | None:
    """*target*, if it can tell where its program is."""
    return target if isinstance(target, Relocatable) and target.relocatable else None
