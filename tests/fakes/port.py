"""Ioctl ports for tests: one to nothing, and one whose calls can be made to fail."""

from gdbstub.kvm.abi import CData
from gdbstub.kvm.port import LOCAL, IoctlPort


class NullPort:
    """Every call succeeds, and does nothing."""

    errno = 0

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        return 0


class FaultyPort:
    """Passes calls on to *inner*; one call of each request in ``faults`` fails instead."""

    def __init__(self, inner: IoctlPort = LOCAL) -> None:
        self._inner = inner
        self.calls: dict[int, int] = {}
        #: The error number by request; taken out when it has failed.
        self.faults: dict[int, int] = {}
        self.errno = 0

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        if (code := self.faults.pop(request, None)) is not None:
            self.errno = code
            return -1
        result = self._inner.ioctl(fd, request, argument)
        if result < 0:
            self.errno = self._inner.errno
        return result
