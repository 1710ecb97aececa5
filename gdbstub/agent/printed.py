"""Text that breakpoints' commands have printed, until a client takes it. It is bounded."""

import threading
from typing import Final

#: Number of bytes that are kept.
MOST: Final = 1 << 18


class PrintedText:
    """Printed text. When too much waits, what is printed then is lost, and a line says how much."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._text = bytearray()
        self._lost = 0

    def add(self, text: bytes) -> None:
        """Keep *text*, unless too much waits. Callable from any thread."""
        with self._lock:
            if self._lost or len(self._text) + len(text) > MOST:
                self._lost += len(text)
            else:
                self._text += text

    def take(self) -> bytes:
        """Return what was printed since the last call."""
        with self._lock:
            text, lost = bytes(self._text), self._lost
            self._text.clear()
            self._lost = 0
        if lost:
            text += b"<dprintf: %d bytes were lost: the client took too few>\n" % lost
        return text
