"""Guest of a test: a process of ``gdbstub run``, its endpoint, console and record.

A guest that tests share belongs to their module or session, a node of pytest, which ends it.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import tty
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from gdbstub.errors import InputError, LabError, installation
from gdbstub.lab import private
from gdbstub.pytest_plugin.console import Console
from gdbstub.pytest_plugin.host import Host
from gdbstub.pytest_plugin.settings import SCOPES, GuestSettings

#: Time for a guest to start, with the building of its symbols; one of a lab was spent before.
_START_SECONDS: Final = 180.0
#: Time for the stub to end by SIGTERM.
_END_SECONDS: Final = 30.0
_LISTENING: Final = re.compile(r"^gdbstub: listening on .*\n", re.MULTILINE)

_SHARED: Final = pytest.StashKey["dict[GuestSettings, Guest]"]()


class Guest:
    """Running guest; ``remote`` is the socket for a GDB of the test's own."""

    def __init__(
        self, settings: GuestSettings, host: Host, directory: Path, *, halted: bool
    ) -> None:
        """Start it; its record is made in *directory*.

        Raises:
            InputError: it does not start.
        """
        self.settings = settings
        self.record = directory / "record.txt"
        environment = dict(host.environment)
        if "mte=on" in (settings.cpu or ""):
            environment.pop("GDBSTUB_LAB", None)  # the session's lab has no memory tags
        with contextlib.ExitStack() as made:
            # Not in *directory*: a socket's path has 107 bytes at most.
            self._private = _private_directory()
            made.callback(shutil.rmtree, self._private, ignore_errors=True)
            self.remote = str(self._private / "gdb")
            keyboard, terminal = os.openpty()
            made.callback(os.close, keyboard)
            command = [
                # In a session of its own: Ctrl-C is for pytest, which then ends the guest. It
                # has the terminal, which hangs up when pytest ends in any other way.
                *("setsid", "--ctty"),
                *(*host.command, "run", *settings.arguments(), f"--gdb=unix:{self.remote}"),
                *(f"--record={self.record}", *([] if halted else ["--free-run"])),
            ]
            try:
                tty.setraw(terminal)  # what is typed arrives as it is, and is not echoed
                self._process = _start(command, terminal, environment)
            finally:
                os.close(terminal)
            made.pop_all()
        self._keyboard = keyboard
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.console = Console(self._process.stdout, "console", settings.timeout, keyboard)
        self.messages = Console(self._process.stderr, "messages of gdbstub", _START_SECONDS)
        try:
            self.messages.expect(_LISTENING)
        except AssertionError:
            self.close()
            said = self.messages.end(1) or f"gdbstub run has ended with status {self.status}"
            raise InputError(f"the guest does not start: {said}") from None
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Number of the process of ``gdbstub run``."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status of ``gdbstub run``; None while the guest is there."""
        return self._process.poll()

    @property
    def symbols(self) -> Path | None:
        """File with the guest's symbols: that of the marker, or the program."""
        return self.settings.symbols or self.settings.kernel

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the guest's end, a power-off for one; return the exit status of ``gdbstub run``.

        Raises:
            AssertionError: it does not end within *timeout* seconds.
        """
        __tracebackhide__ = True
        seconds = self.settings.timeout if timeout is None else timeout
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the guest has not ended within {seconds:g} s") from None

    def close(self) -> None:
        """End the guest and remove its socket. Idempotent."""
        if self._keyboard < 0:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.console.close()
        self.messages.close()
        os.close(self._keyboard)
        self._keyboard = -1
        with contextlib.suppress(OSError):
            shutil.rmtree(self._private)


def _private_directory() -> Path:
    """Make a directory of this user alone, with a short path.

    Raises:
        InputError: there is no place for one.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="gdbstub-", dir=private.place()))
    except LabError as error:
        why = str(error)
    except OSError as error:
        why = f"no directory can be made for its socket ({error.strerror}): set TMPDIR"
    raise InputError(f"the guest does not start: {why}")


def _start(
    command: Sequence[str], terminal: int, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start *command*, whose standard input is *terminal*.

    Raises:
        InputError: that is not possible.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
    except FileNotFoundError:
        why = f"{command[0]} is not on the path: {installation('util-linux')}"
    except OSError as error:
        why = f"{command[0]}: {error.strerror}"
    raise InputError(f"the guest does not start: {why}")


def shared(
    item: pytest.Item, settings: GuestSettings, host: Host, directory: Path, *, halted: bool
) -> Guest:
    """Return the guest with *settings* in the scope that they name; start one if none is there.

    One that has ended, by a power-off for example, is replaced.

    Raises:
        InputError: it does not start.
    """
    node = item.getparent(SCOPES[settings.scope])
    assert node is not None
    guests = node.stash.setdefault(_SHARED, {})
    found = guests.get(settings)
    if found is None or found.status is not None:
        guests[settings] = found = Guest(settings, host, directory, halted=halted)
        node.addfinalizer(found.close)
    return found
