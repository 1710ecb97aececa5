"""The prepared process of a lab: it has imported the project, and forks for each ``gdbstub``.

It is run as a script, and imports nothing of the project at first. The client is the shell script
``/usr/bin/gdbstub``: it writes its process number to a pipe, and waits for the child's number and
exit status. The child takes over the client's descriptors, environment, directory, arguments and
control group, so it ends with the client's connection. When the lab has been given another source,
the project is imported anew before the next fork.

In a lab that was restored from a snapshot the first connection asks it to set the clock and to
reseed the kernel's randomness, which every lab of the snapshot has in common until then.
"""

import contextlib
import ctypes
import fcntl
import gc
import importlib
import os
import pkgutil
import re
import select
import signal
import socket
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Final

START: Final = "/lab/prepare"
"""Script that starts this one, and returns when it has imported everything."""
SAVED: Final = "/run/lab/saved"
"""File that exists in a restored lab until it has been given time and randomness."""
ENTRY: Final = "entry"
"""File of the outbox with the time in nanoseconds, 8 bytes, and random bytes."""

PROJECT: Final = "gdbstub"
OUTSIDE: Final = re.compile(r"lab\b|sweep|__main__$|kvm\.core$|pytest_plugin\b")
"""Names of what is not imported: modules that start labs, one that runs the program, a library,
those of the plugin for pytest."""

LINK: Final = f"/usr/lib/python3/dist-packages/{PROJECT}"
REQUESTS: Final = "/run/lab/requests"
READY: Final = "/run/lab/prepared.pid"
FILE_SERVER: Final = ("10.0.2.100", 9)
FILE_SECONDS: Final = 5.0

SOURCES: Final = "/lab/source/"

UNABLE: Final = -1
"""Answer to a client that must do without."""

ANSWER_FD: Final = 9
"""Descriptor by which a client gets its answer; those below are its command's."""
_ABOVE: Final = 100
"""Number from which descriptors are neither the client's nor ours."""

SYS_PIDFD_GETFD: Final = 438  # asm-generic/unistd.h
RNDADDENTROPY: Final = 0x40085203  # linux/random.h
RNDRESEEDCRNG: Final = 0x5207

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Serve until killed; return only in a child, which then runs the program."""
    os.mkfifo(REQUESTS, 0o600)
    # Open for writing as well, it does not end when the last client does.
    requests = os.open(REQUESTS, os.O_RDWR | os.O_CLOEXEC)
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    loaded = load("")
    Path(READY).write_text(f"{os.getpid()}\n")
    answers: dict[int, int] = {}
    unread = b""
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            reap(answers)
        if requests not in ready:
            continue
        *lines, unread = (unread + os.read(requests, 4096)).split(b"\n")
        for line in lines:
            client, _, wish = line.decode().partition(" ")
            try:
                peer = os.pidfd_open(int(client))
                answer = descriptor(peer, ANSWER_FD)
            except OSError:  # it has gone
                continue
            try:
                if wish:
                    enter()
                    child = 0
                else:
                    loaded = load(loaded)
                    child = os.fork()
            except Exception:  # of this source, or for want of memory; the client runs Python
                traceback.print_exc()
                loaded, child = "", UNABLE
            if child == 0 and not wish:
                try:
                    return become(int(client), peer)
                except OSError:  # the client has gone
                    os._exit(1)
            os.write(answer, b"%d\n" % child)
            if child > 0:
                answers[child] = answer
            else:
                os.close(answer)
            os.close(peer)


def load(loaded: str) -> str:
    """Import the lab's source unless it is the one *loaded*; return its directory."""
    place = os.path.dirname(os.path.realpath(LINK))
    if place != loaded:
        sys.path[:] = [path for path in sys.path if not path.startswith(SOURCES)]
        for name in [name for name in sys.modules if name.partition(".")[0] == PROJECT]:
            del sys.modules[name]
        sys.path.insert(0, place)
        importlib.invalidate_caches()
        package = importlib.import_module(PROJECT)
        for module in pkgutil.walk_packages(package.__path__, f"{PROJECT}."):
            if not OUTSIDE.search(module.name):
                importlib.import_module(module.name)
        gc.collect()
        gc.freeze()  # so that no child's collector writes to these pages
    return place


def reap(answers: dict[int, int]) -> None:
    """Tell the clients of children that have ended the exit status, as a shell has it."""
    while answers:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        answer = answers.pop(child)
        code = os.waitstatus_to_exitcode(status)
        os.write(answer, b"%d\n" % (code if code >= 0 else 128 - code))
        os.close(answer)


def enter() -> None:
    """Set the clock and reseed the kernel's randomness, once in a lab."""
    if not os.path.exists(SAVED):
        return
    with socket.create_connection(FILE_SERVER, FILE_SECONDS) as server:
        server.sendall(f"{ENTRY}\n".encode())
        data = b"".join(iter(lambda: server.recv(4096), b""))
    now, seed = data[:8], data[8:]
    with open("/dev/urandom", "wb", buffering=0) as random:
        pool = struct.pack("=ii", len(seed) * 8, len(seed)) + seed
        fcntl.ioctl(random, RNDADDENTROPY, pool)
        fcntl.ioctl(random, RNDRESEEDCRNG)
    time.clock_settime_ns(time.CLOCK_REALTIME, int.from_bytes(now, "little"))
    os.unlink(SAVED)


def descriptor(peer: int, fd: int) -> int:
    """Duplicate descriptor *fd* of process *peer* (a pidfd).

    Raises:
        OSError: there is none.
    """
    got: int = _libc.syscall(SYS_PIDFD_GETFD, peer, fd, 0)
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return got


def become(client: int, peer: int) -> None:
    """Take over from process *client* what a program has of its own."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    os.setsid()
    about = Path(f"/proc/{client}")
    group = (about / "cgroup").read_text().strip().removeprefix("0::")
    Path(f"/sys/fs/cgroup{group}/cgroup.procs").write_text("0")
    # Ours are closed first; the client's go to where nothing is, then to their own numbers.
    high = fcntl.fcntl(peer, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    os.closerange(0, high)
    os.closerange(high + 1, _ABOVE * 10)
    taken = {}
    for name in os.listdir(about / "fd"):
        if (fd := int(name)) < ANSWER_FD:
            with contextlib.suppress(OSError):
                got = descriptor(high, fd)
                taken[fd] = fcntl.fcntl(got, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
                os.close(got)
    for fd, got in taken.items():
        os.dup2(got, fd, inheritable=True)
    os.closerange(_ABOVE, _ABOVE * 10)
    os.chdir(about / "cwd")
    pairs = (item.split(b"=", 1) for item in (about / "environ").read_bytes().split(b"\0"))
    environment = {key: value for key, *rest in pairs for value in rest}
    os.environb.clear()
    os.environb.update(environment)
    sys.argv = [os.fsdecode(word) for word in (about / "cmdline").read_bytes().split(b"\0")[1:-1]]
    _libc.prctl(15, PROJECT.encode(), 0, 0, 0)  # PR_SET_NAME, linux/prctl.h
    streams()


def streams() -> None:
    """Open the standard streams as Python does at its start."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        try:
            buffering = 1 if name == "stderr" or os.isatty(number) else -1
            stream = open(number, mode, buffering, "utf-8", errors, closefd=False)  # noqa: SIM115
        except OSError:  # the client has closed it
            stream = None
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    main()
    importlib.import_module(f"{PROJECT}.cli.main").main()
