"""The QEMU command line of a lab host.

The options that affect its speed were chosen by measurement. Nothing is started here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

PROGRAM: Final = "qemu-system-aarch64"
ADDRESS: Final = "10.0.2.15"
"""Address of the lab on QEMU's user network."""

FILES_ADDRESS: Final = "10.0.2.100"
FILES_PORT: Final = 9
SSH_PORT: Final = 22

KERNEL_COMMAND_LINE: Final = "console=ttyAMA0 quiet panic=-1"
"""The host kernel's command line; ``panic=-1`` reboots at once, which ends QEMU (-no-reboot)."""


@dataclass(frozen=True, slots=True)
class Options:
    """Hardware and kernel of a lab, as a user may choose them."""

    # Without pauth-impdef, emulating pointer authentication takes most of the time.
    cpu: str = "max,pauth-impdef=on"
    # With two emulated cores a wake across threads costs milliseconds.
    cpus: int = 1
    gic: Literal[2, 3] = 3
    memory_mib: int = 2048
    # With memory tags, emulating Python takes a third more time.
    mte: bool = False
    #: An instruction takes a nanosecond of the lab's clock, so that its clock counts them. A third
    #: slower, and no clock of the world outside.
    icount: bool = False
    #: Debian suite of the kernel; empty: this machine's own release.
    suite: str = ""

    @property
    def full_cpu(self) -> str:
        """CPU model for QEMU; ``max`` gets the fast pointer authentication."""
        return "max,pauth-impdef=on" if self.cpu == "max" else self.cpu


def command_line(
    options: Options, kernel: Path, initrd: Path, directory: Path, console_fd: int
) -> list[str]:
    """Return QEMU's command line; the serial console is the connected socket *console_fd*."""
    # A private directory of ours: its name holds no comma and no blank.
    serve = f"sh {directory / 'serve'}"
    network = [
        "user,id=net",
        f"hostfwd=tcp:127.0.0.1:0-:{SSH_PORT}",
        f"guestfwd=tcp:{FILES_ADDRESS}:{FILES_PORT}-cmd:{serve}",
    ]
    log = directory / "console.log"
    arguments = {
        "-M": f"virt,virtualization=on,gic-version={options.gic}{',mte=on' * options.mte}",
        "-cpu": options.full_cpu,
        # Instructions can be counted on one thread only.
        "-accel": f"tcg,thread={'single' if options.icount else 'multi'}",
        "-smp": str(options.cpus),
        "-m": str(options.memory_mib),
        "-kernel": str(kernel),
        "-initrd": str(initrd),
        "-append": KERNEL_COMMAND_LINE,
        "-netdev": ",".join(network),
        # The empty romfile spares a file that Debian packages separately.
        "-device": "virtio-net-pci,netdev=net,romfile=",
        "-chardev": f"socket,id=console,fd={console_fd},logfile={log}",
        "-serial": "chardev:console",
        "-qmp": f"unix:{directory / 'qmp'},server=on,wait=off",
    }
    if options.icount:
        arguments["-icount"] = "shift=0"
    argv = [PROGRAM, "-nodefaults", "-nographic", "-no-reboot"]
    for name, value in arguments.items():
        argv += [name, value]
    return argv
