"""Sections of a failed test's report: the guest's messages, console, packets and backtrace."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gdbstub.errors import StubError, printable
from gdbstub.pytest_plugin.gdb import Gdb, attach

if TYPE_CHECKING:
    from gdbstub.pytest_plugin.guest import Guest

#: Lines of text, packets, characters of a packet, and frames that a report shows.
_LINES: Final = 40
_PACKETS: Final = 20
_WIDTH: Final = 160
_FRAMES: Final = 20


def sections(guest: "Guest", gdb: Gdb | None, program: str) -> Iterator[tuple[str, str]]:
    """Yield heading and text of each section; *gdb* is the test's own, if it has one."""
    yield "guest console", guest.console.end(_LINES) or "(empty)"
    if messages := guest.messages.end(_LINES):
        yield "gdbstub messages", messages
    # Before the packets of the backtrace come to the record.
    packets = _packets(guest)
    yield f"guest packets ({guest.record})", packets
    yield "guest backtrace", _backtrace(guest, gdb, program)


def _packets(guest: "Guest") -> str:
    lines = []
    with suppress(OSError):  # none, if the guest has not got that far
        lines = guest.record.read_text("ascii", "replace").splitlines()
    shown = [line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…" for line in lines[-_PACKETS:]]
    return "\n".join(shown) or "(none)"


def _backtrace(guest: "Guest", gdb: Gdb | None, program: str) -> str:
    """Return the backtraces of all vCPUs, which are halted for them."""
    if guest.status is not None:
        return f"(the guest has ended, status {guest.status})"
    try:
        if gdb is not None:
            return _ask(gdb)
        with attach(guest, program) as own:
            return _ask(own)
    except (StubError, OSError) as error:
        return f"(none: {printable(str(error))})"


def _ask(gdb: Gdb) -> str:
    gdb.interrupt()
    return gdb.execute(f"thread apply all backtrace {_FRAMES}").strip()
