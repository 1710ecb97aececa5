"""Settings of a test's guest, read from its markers ``kernel``, ``cpu`` and ``smp``.

What only ``gdbstub run`` can judge, such as the features of a CPU, is left to it.
"""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import pytest

from gdbstub.errors import InputError
from gdbstub.numbers import parse_float

T = TypeVar("T")

#: Nodes of pytest that a guest may belong to.
SCOPES: Final[dict[str, type[pytest.Item | pytest.Collector]]] = {
    "function": pytest.Item,
    "module": pytest.Module,
    "session": pytest.Session,
}


class GuestSettings(NamedTuple):
    """Arguments of ``gdbstub run`` for a guest, and the scope of the tests that share it."""

    kernel: Path | None = None
    symbols: Path | None = None
    initrd: Path | None = None
    append: str | None = None
    memory: str | None = None
    cpu: str | None = None
    smp: int = 1
    scope: str = "function"
    #: Seconds that its console waits at most.
    timeout: float = 60.0

    def arguments(self) -> list[str]:
        """Return the command line of the guest, without endpoints and files of the session."""
        named = {
            "--symbols": self.symbols,
            "--initrd": self.initrd,
            "--append": self.append,
            "--memory": self.memory,
            "--cpu": self.cpu,
        }
        options = [f"{option}={value}" for option, value in named.items() if value is not None]
        return [*([str(self.kernel)] if self.kernel else []), f"--smp={self.smp}", *options]


class _Kernel(NamedTuple):
    """Arguments of the marker ``kernel``."""

    path: str | Path | None = None
    symbols: str | Path | None = None
    initrd: str | Path | None = None
    append: str | None = None
    memory: str | None = None
    scope: str = "function"


def _kernel(
    path: str | Path | None = None,
    *,
    symbols: str | Path | None = None,
    initrd: str | Path | None = None,
    append: str | None = None,
    memory: str | None = None,
    scope: str = "function",
) -> _Kernel:
    return _Kernel(path, symbols, initrd, append, memory, scope)


def _cpu(features: str) -> str:
    return features


def _smp(n: int) -> int:
    return n


def kernel_path(item: pytest.Item) -> Path | None:
    """Return the path of the marker ``kernel``, None without one.

    Raises:
        InputError: the marker's arguments are wrong, or there is no such file.
    """
    marker = _read_kernel(item)
    return _file(item, "path", marker.path)


def read_settings(item: pytest.Item, kernel: Path | None, config: pytest.Config) -> GuestSettings:
    """Read the markers of *item*, whose guest's program is *kernel*.

    Raises:
        InputError: a marker's arguments or a setting of pytest.ini are wrong.
    """
    marker = _read_kernel(item)
    if not isinstance(marker.scope, str) or marker.scope not in SCOPES:
        raise InputError(
            f"@pytest.mark.kernel(scope={marker.scope!r}): expected one of {', '.join(SCOPES)}"
        )
    for name in ("append", "memory"):
        value = getattr(marker, name)
        if value is not None and not isinstance(value, str):
            raise InputError(f"@pytest.mark.kernel({name}={value!r}): expected a str")
        _check_nul(value, f"@pytest.mark.kernel({name}={value!r})")
    features = _arguments(item, "cpu", _cpu)
    if features is not None and not isinstance(features, str):
        raise InputError(
            f"@pytest.mark.cpu({features!r}): expected features as of --cpu, such as 'sve=off'"
        )
    _check_nul(features, f"@pytest.mark.cpu({features!r})")
    count = _arguments(item, "smp", _smp)
    if count is not None and (type(count) is not int or count < 1):
        raise InputError(f"@pytest.mark.smp({count!r}): expected a number of vCPUs, 1 or more")
    return GuestSettings(
        kernel=kernel,
        symbols=_file(item, "symbols", marker.symbols),
        initrd=_file(item, "initrd", marker.initrd),
        append=marker.append,
        memory=marker.memory,
        cpu=features,
        smp=1 if count is None else count,
        scope=marker.scope,
        timeout=_seconds(str(config.getini("gdbstub_timeout"))),
    )


def _read_kernel(item: pytest.Item) -> _Kernel:
    return _arguments(item, "kernel", _kernel) or _Kernel()


def _arguments(item: pytest.Item, name: str, read: Callable[..., T]) -> T | None:
    """Return what *read* makes of the arguments of the marker *name* that is closest to *item*.

    Raises:
        InputError: the arguments are not those of *read*.
    """
    marker = item.get_closest_marker(name)
    if marker is None:
        return None
    signature = inspect.signature(read)
    try:
        signature.bind(*marker.args, **marker.kwargs)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise InputError(f"@pytest.mark.{name}: {error}; expected {name}({names})") from None
    return read(*marker.args, **marker.kwargs)


def _file(item: pytest.Item, argument: str, named: str | Path | None) -> Path | None:
    """Return the file that *argument* of the marker ``kernel`` names, relative to the test's file.

    Raises:
        InputError: it is no path, or there is no such file.
    """
    if named is None:
        return None
    shown = f"@pytest.mark.kernel({'' if argument == 'path' else argument + '='}{named!r})"
    if not isinstance(named, str | os.PathLike):
        raise InputError(f"{shown}: expected a path relative to the test's file")
    _check_nul(os.fspath(named), shown)
    path = item.path.parent / named
    if not os.path.exists(path):
        raise InputError(
            f"{shown}: no such file: {path}; expected a path relative to the test's file"
        )
    return path


def _check_nul(text: str | None, shown: str) -> None:
    """Check the text of an argument, which errors call *shown*: no command line has a NUL.

    Raises:
        InputError: it has one.
    """
    if text is not None and "\0" in text:
        raise InputError(f"{shown}: has a NUL; expected text without one")


def _seconds(text: str) -> float:
    """Read ``gdbstub_timeout``.

    Raises:
        InputError: it is no number above 0.
    """
    try:
        seconds = parse_float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"gdbstub_timeout = {text}: expected a number of seconds above 0")
    return seconds
