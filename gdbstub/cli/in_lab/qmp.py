"""The guest of a stub in the lab, for a QMP socket outside.

Descriptors of clients, which drgn sends, do not get into the lab. So QMP is spoken here, and the
stub there is asked for memory. The lab may be a guest's by now: its answers are bounded.
"""

import base64
import select
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from gdbstub.errors import LabError, MemoryFault, NotFound, excerpt
from gdbstub.foreign.qmp import QmpClient, QmpErrorReply
from gdbstub.slices import spend

#: The longest wait for the stub in the lab, which may search all RAM, in seconds.
_LAB_SECONDS: Final = 60.0
#: The longest wait for its other answers, in which nothing else is done here.
_ANSWER_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.01
#: Memory of a guest in the lab is read by pages, and a page is good for so long, in seconds.
_FRESH_SECONDS: Final = 0.5
_PAGE: Final = 4096
_PAGES: Final = 4096

T = TypeVar("T")


class LabGuest:
    """The guest of a stub in the lab, by that stub's own QMP at a socket here (``QmpGuest``).

    What is asked of it raises LabError if the stub does not answer, or answers with nonsense.
    """

    def __init__(self, path: Path) -> None:
        """Connect when something is asked."""
        self._path = path
        self._connection: socket.socket | None = None
        self._client: QmpClient | None = None
        self._pages: dict[int, tuple[float, bytes]] = {}
        self._layout: Sequence[range] = ()

    @property
    def ram(self) -> Sequence[range]:
        """Physical addresses of RAM."""
        if not self._layout:
            self._layout = self._ask("x-ram", lambda rows: [range(*row) for row in rows])
        return self._layout

    @property
    def running(self) -> bool:
        """True while the guest runs."""
        return self._ask("query-status", lambda status: bool(status["running"]))

    def read(self, ipa: int, length: int) -> bytes:
        """Read RAM, short at its end; pages that were read a moment ago are not read again."""
        data = b""
        for place in range(ipa - ipa % _PAGE, ipa + length, _PAGE):
            page = self._page(place)
            data += page
            if len(page) < _PAGE:
                break
        data = data[ipa % _PAGE :][:length]
        if not data:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return data

    def _page(self, ipa: int) -> bytes:
        now = time.monotonic()
        if (known := self._pages.get(ipa)) and now - known[0] < _FRESH_SECONDS:
            return known[1]
        if not any(ipa in each for each in self.ram):
            return b""
        data = self._ask("x-read-memory", base64.b64decode, begin=ipa, length=_PAGE)[:_PAGE]
        if len(self._pages) >= _PAGES:
            self._pages.clear()
        self._pages[ipa] = now, data
        return data

    def hva(self, ipa: int) -> int | None:
        """Return None: the memory is another process's."""
        return None

    def vmcoreinfo(self) -> bytes:
        """Return the kernel's VMCOREINFO."""

        def ask() -> bytes:
            # By a connection of its own: other clients ask meanwhile.
            with socket.socket(socket.AF_UNIX) as connection:
                client = QmpClient(connection, self._path, _ANSWER_SECONDS)
                client.send("x-vmcoreinfo", {})
                _await(connection)
                client.within(_ANSWER_SECONDS)
                return str(client.receive()).encode("latin-1")

        return self._answered(ask)

    def _ask(self, name: str, convert: Callable[[Any], T], **arguments: object) -> T:
        """Have the stub execute *name*; return its answer, as *convert* makes it of JSON."""

        def ask() -> T:
            if self._client is None:
                self._connection = socket.socket(socket.AF_UNIX)
                self._client = QmpClient(self._connection, self._path, _ANSWER_SECONDS)
            self._client.within(_ANSWER_SECONDS)
            return convert(self._client.execute(name, arguments))

        return self._answered(ask)

    def _answered(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except QmpErrorReply as error:
            raise NotFound(error.description) from None
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            self.close()
            why = excerpt(str(error) or type(error).__name__)
            raise LabError(f"the stub in the lab does not answer: {why}") from None

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._client = None


def _await(connection: socket.socket) -> None:
    """Wait for the next bytes, and give way meanwhile."""
    end = time.monotonic() + _LAB_SECONDS
    while not select.select([connection], [], [], _POLL_SECONDS)[0]:
        spend(0)
        if time.monotonic() > end:
            raise TimeoutError(f"nothing came for {_LAB_SECONDS:g} s")
