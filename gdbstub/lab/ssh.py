"""ssh command lines for the lab host: OpenSSH's client with one configuration file per lab.

The only state is the files in the lab's directory.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import tools

HOST: Final = "lab"

LONGEST: Final = 8500
"""Longest command in bytes; dropbear closes the connection at 9,000 (its MAX_CMD_LEN)."""

CONFIG: Final = """\
Host lab
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {directory}/key
    IdentitiesOnly yes
    BatchMode yes
    # The lab is on this machine, and its key is as young as this file.
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    # An emulator that is stopped has the connection accepted, and says nothing.
    ConnectTimeout 30
    # What emulation does fastest: twice as fast as the AES modes.
    KexAlgorithms curve25519-sha256
    Ciphers chacha20-poly1305@openssh.com,aes128-ctr
"""


def make_key(directory: Path) -> str:
    """Create the lab's key pair in *directory*; return the public key."""
    key = directory / "key"
    tools.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", HOST, "-f", str(key)])
    return key.with_suffix(".pub").read_text()


def configure(directory: Path, port: int) -> None:
    """Write the ssh configuration of the lab in *directory*."""
    (directory / "ssh_config").write_text(CONFIG.format(port=port, directory=directory))


def client(directory: Path, *options: str, shared: bool = False) -> list[str]:
    """Return the start of an ssh command line, for the *shared* connection or a new one."""
    control = str(directory / "control") if shared else "none"
    return ["ssh", "-F", str(directory / "ssh_config"), "-S", control, *options, HOST]


def hold(directory: Path, *options: str, shared: bool = False) -> subprocess.Popen[bytes]:
    """Open a connection without a command; return its ssh process.

    With *shared*, short commands use this connection.

    Raises:
        LabError: the lab does not answer.
    """
    # The local command runs once the connection stands: an event where -f would leave an orphan.
    connected = ["-oPermitLocalCommand=yes", "-oLocalCommand=echo connected"]
    argv = client(directory, "-N", *connected, *options, shared=shared)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        if not (process.stdout and process.stdout.readline()):
            process.communicate()
            log.seek(0)
            raise LabError(f"the lab does not answer on ssh: {tools.last_words(log.read())}")
    return process


def script(
    argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None
) -> str:
    """Return a shell command that runs *argv* and has its exit status.

    The status of a command that signal N killed is 128 + N, as in a shell.

    Raises:
        LabError: it is longer than ``LONGEST``.
    """
    command = shlex.join(argv)
    if env:
        command = f"env {shlex.join(f'{name}={value}' for name, value in env.items())} {command}"
    # The shell waits with its own stderr closed to its remarks ("Terminated"), and without a
    # last command it would replace itself, and ssh lose the signal.
    line = f"exec 9>&2 2>/dev/null; (exec 2>&9 9>&-; exec {command}); exit $?"
    whole = f"cd {shlex.quote(cwd)} || exit; {line}" if cwd else line
    if (length := len(os.fsencode(whole))) > LONGEST:
        raise LabError(
            f"a command in the lab has at most {LONGEST} bytes, and this one has "
            f"{length}: put it into a file, and copy that with --put"
        )
    return whole
