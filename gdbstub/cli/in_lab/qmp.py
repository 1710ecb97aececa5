"""The guest of a stub in the lab, for a QMP socket outside.

Descriptors of clients, which drgn sends, do not get into the lab. So QMP is spoken here, and the
stub there is asked for memory.
"""

import base64
import contextlib
import io
import json
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gdbstub.errors import LabError, MemoryFault, NotFound
from gdbstub.slices import spend

#: The longest wait for the stub in the lab, which may search all RAM, in seconds.
_LAB_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.01
#: Memory of a guest in the lab is read by pages, and a page is good for so long, in seconds.
_FRESH_SECONDS: Final = 0.5
_PAGE: Final = 4096
_PAGES: Final = 4096


class LabGuest:
    """The guest of a stub in the lab, by that stub's own QMP at a socket here (``QmpGuest``)."""

    def __init__(self, path: Path) -> None:
        """Connect when something is asked."""
        self._path = path
        self._stream: io.BufferedRWPair | None = None
        self._pages: dict[int, tuple[float, bytes]] = {}
        self._layout: Sequence[range] = ()

    @property
    def ram(self) -> Sequence[range]:
        """Physical addresses of RAM."""
        if not self._layout:
            self._layout = [range(start, stop) for start, stop in self._ask("x-ram")]
        return self._layout

    @property
    def running(self) -> bool:
        """True while the guest runs."""
        return bool(self._ask("query-status")["running"])

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
        data = base64.b64decode(self._ask("x-read-memory", begin=ipa, length=_PAGE))
        if len(self._pages) >= _PAGES:
            self._pages.clear()
        self._pages[ipa] = now, data
        return data

    def hva(self, ipa: int) -> int | None:
        """Return None: the memory is another process's."""
        return None

    def vmcoreinfo(self) -> bytes:
        """Return the kernel's VMCOREINFO."""
        # By a connection of its own: other clients ask meanwhile.
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                stream = self._greeted(connection)
                _send(stream, "x-vmcoreinfo", {})
                _await(connection)
                text: str = _receive(stream)
        except (OSError, ValueError) as error:
            raise LabError(f"the stub in the lab does not answer: {error}") from None
        return text.encode("latin-1")

    def _ask(self, name: str, **arguments: object) -> Any:  # noqa: ANN401 - as JSON has it
        try:
            if self._stream is None:
                self._stream = self._connected()
            return _execute(self._stream, name, arguments)
        except (OSError, ValueError) as error:
            self.close()
            raise LabError(f"the stub in the lab does not answer: {error}") from None

    def _connected(self) -> io.BufferedRWPair:
        with socket.socket(socket.AF_UNIX) as connection:
            return self._greeted(connection)

    def _greeted(self, connection: socket.socket) -> io.BufferedRWPair:
        connection.settimeout(_LAB_SECONDS)
        connection.connect(str(self._path))
        stream = connection.makefile("rwb")
        stream.readline()  # the greeting
        _execute(stream, "qmp_capabilities", {})
        return stream

    def close(self) -> None:
        """End the connection."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
            self._stream = None


def _execute(stream: io.BufferedRWPair, name: str, arguments: dict[str, object]) -> Any:  # noqa: ANN401
    _send(stream, name, arguments)
    return _receive(stream)


def _send(stream: io.BufferedRWPair, name: str, arguments: dict[str, object]) -> None:
    stream.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
    stream.flush()


def _await(connection: socket.socket) -> None:
    """Wait for the next bytes, and give way meanwhile."""
    end = time.monotonic() + _LAB_SECONDS
    while not select.select([connection], [], [], _POLL_SECONDS)[0]:
        spend(0)
        if time.monotonic() > end:
            raise TimeoutError(f"nothing came for {_LAB_SECONDS:g} s")


def _receive(stream: io.BufferedRWPair) -> Any:  # noqa: ANN401
    if not (line := stream.readline()):
        raise ValueError("it has closed the connection")
    reply = json.loads(line)
    if error := reply.get("error"):
        raise NotFound(str(error.get("desc")))
    return reply["return"]
