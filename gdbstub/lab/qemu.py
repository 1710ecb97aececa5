"""The QEMU command line of a lab host.

The options that affect its speed were chosen by measurement. Nothing is started here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

PROGRAM: Final = "qemu-system-aarch64"
ADDRESS: Final = "10.0.2.15"
"""Address of the lab on QEMU's user network."""

FILES_ADDRESS: Final = "10.0.2.100"
FILES_PORT: Final = 9
SSH_PORT: Final = 22

KERNEL_COMMAND_LINE: Final = "console=ttyAMA0 quiet panic=-1"
"""The host kernel's command line; ``panic=-1`` reboots at once, which ends QEMU (-no-reboot)."""

INCOMING: Final = ("-incoming", "defer")
"""Wait for a saved state instead of booting a kernel."""


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
    #: The host kernel at EL2, where the CPU allows it. Such a lab cannot be restored: QEMU does not
    #: save the EL2 timers that it ticks by.
    vhe: bool = False

    @property
    def full_cpu(self) -> str:
        """CPU model for QEMU; ``max`` gets the fast pointer authentication."""
        return "max,pauth-impdef=on" if self.cpu == "max" else self.cpu

    @property
    def kernel_command_line(self) -> str:
        """Command line of the host kernel."""
        return KERNEL_COMMAND_LINE + ("" if self.vhe else " kvm-arm.mode=nvhe")


class Ram(NamedTuple):
    """File with a lab's memory."""

    file: Path
    #: True: the lab writes to the file. False: it has a copy of its own of each page it changes.
    shared: bool


class Wiring(NamedTuple):
    """Descriptors and directory that connect QEMU with this machine."""

    directory: Path
    #: Descriptor of the connected socket that is the serial console.
    console: int
    #: Descriptor of the listening socket of QEMU's monitor.
    monitor: int


def boot_arguments(options: Options, kernel: Path, initrd: Path) -> list[str]:
    """Return the arguments that boot *kernel* with *initrd*."""
    append = options.kernel_command_line
    return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", append]


def machine_arguments(options: Options, ram: Ram | None) -> list[str]:
    """Return the arguments for the emulated hardware; with *ram* its memory is in a file."""
    machine = f"virt,virtualization=on,gic-version={options.gic}{',mte=on' * options.mte}"
    # Instructions can be counted on one thread only.
    threads = "single" if options.icount else "multi"
    argv = ["-cpu", options.full_cpu, "-accel", f"tcg,thread={threads}", "-smp", str(options.cpus)]
    argv += ["-m", str(options.memory_mib)]
    if ram:
        file = str(ram.file).replace(",", ",,")
        size, share = f"{options.memory_mib}M", "on" if ram.shared else "off"
        argv += ["-object", f"memory-backend-file,id=ram,size={size},mem-path={file},share={share}"]
        machine += ",memory-backend=ram"
    return ["-M", machine, *argv]


def command_line(options: Options, wiring: Wiring, start: list[str], ram: Ram | None) -> list[str]:
    """Return QEMU's command line; *start* is ``boot_arguments`` or ``INCOMING``."""
    # A private directory of ours: its name holds no comma and no blank.
    serve = f"sh {wiring.directory / 'serve'}"
    network = [
        # The lab reaches nothing of this machine and its network but these forwards.
        "user,id=net,restrict=on",
        f"hostfwd=tcp:127.0.0.1:0-:{SSH_PORT}",
        f"guestfwd=tcp:{FILES_ADDRESS}:{FILES_PORT}-cmd:{serve}",
    ]
    log = wiring.directory / "console.log"
    arguments = {
        "-netdev": ",".join(network),
        # The empty romfile spares a file that Debian packages separately.
        "-device": "virtio-net-pci,netdev=net,romfile=",
        "-chardev": f"socket,id=console,fd={wiring.console},logfile={log}",
        "-serial": "chardev:console",
    }
    argv = [PROGRAM, "-nodefaults", "-nographic", "-no-reboot", *machine_arguments(options, ram)]
    if options.icount:
        arguments["-icount"] = "shift=0"
    for name, value in arguments.items():
        argv += [name, value]
    argv += ["-chardev", f"socket,id=monitor,fd={wiring.monitor},server=on,wait=off"]
    return [*argv, "-mon", "chardev=monitor,mode=control", *start]
