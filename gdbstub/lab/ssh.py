"""How the lab host is spoken to: OpenSSH's own client, configured by one file per lab.

It holds no connection and no state beside the files in the lab's directory.
"""

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
"""Bytes of a command; dropbear closes the connection at 9,000 (its MAX_CMD_LEN)."""

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
    # What emulation does fastest: twice as fast as the AES modes.
    KexAlgorithms curve25519-sha256
    Ciphers chacha20-poly1305@openssh.com,aes128-ctr
"""


def make_key(directory: Path) -> str:
    """Make the lab's key pair in *directory* and return the public half."""
    key = directory / "key"
    tools.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", HOST, "-f", str(key)])
    return key.with_suffix(".pub").read_text()


def configure(directory: Path, port: int) -> None:
    """Write the configuration that every later command uses."""
    (directory / "ssh_config").write_text(CONFIG.format(port=port, directory=directory))


def client(directory: Path, *options: str, shared: bool = False) -> list[str]:
    """Return the start of an ssh command line: over the *shared* connection or one of its own."""
    control = str(directory / "control") if shared else "none"
    return ["ssh", "-F", str(directory / "ssh_config"), "-S", control, *options, HOST]


def hold(directory: Path, *options: str, shared: bool = False) -> subprocess.Popen[bytes]:
    """Open a connection that runs nothing, and return the process that holds it.

    With *shared* it is the one that short commands share.
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
    """Return a shell command that runs *argv*, whose status is the command's.

    A command killed by signal N ends as a shell would report it: 128 + N. Raises ``LabError``
    for one that is longer than dropbear takes; it would only close the connection.
    """
    command = shlex.join(argv)
    if env:
        command = f"env {shlex.join(f'{name}={value}' for name, value in env.items())} {command}"
    # The shell waits with its own stderr closed to its remarks ("Terminated"), and without a
    # last command it would replace itself, and ssh lose the signal.
    line = f"exec 9>&2 2>/dev/null; (exec 2>&9 9>&-; exec {command}); exit $?"
    whole = f"cd {shlex.quote(cwd)} || exit; {line}" if cwd else line
    if len(whole.encode()) > LONGEST:
        raise LabError(f"a command in the lab has at most {LONGEST} bytes; put a file there")
    return whole
