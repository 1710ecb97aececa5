"""The settings of ``gdbstub run``: its options, checked, and the files that they name, read.

It parses no command line.
"""

import logging
import math
import os
from pathlib import Path
from typing import Final, NamedTuple, Self

from gdbstub.cli.settings.endpoints import check_endpoint
from gdbstub.cli.settings.program import default_symbols, read_program
from gdbstub.cli.settings.reasons import Reasons
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.errors import InputError
from gdbstub.kvm.features import parse_cpu
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram
from gdbstub.protocol.endpoint import Endpoint, Tcp, Unix
from gdbstub.streams import note
from gdbstub.vmm import device_tree, image
from gdbstub.vmm.config import GuestConfig, check, check_vcpus
from gdbstub.vmm.files import Bound, check_apart, check_input, check_output, read_input
from gdbstub.vmm.seed import RANDOM, parse_seed
from gdbstub.vmm.size import format_figure, format_size, parse_memory

_DEVICE: Final = "/dev/kvm"
#: The argument of --symbols that is no file.
_DEBUG: Final = Path("debug")
_log: Final = logging.getLogger("gdbstub.run")

_TREE: Final = Bound(device_tree.MAX_SIZE, "the most of a device tree", more=1 << 20)
#: Bytes by which a file is larger than the guest's RAM, and read to say how much that should be.
_MORE: Final = 256 << 20

#: Longest time for a session: 31 years, and less than the system's calls take.
_MOST_SECONDS: Final = 1e9


class Source(NamedTuple):
    """A file that was read; ``data`` is kept of one that cannot be read again, a pipe."""

    path: Path
    data: bytes | None

    @classmethod
    def read(cls, path: Path, option: str, bound: Bound) -> tuple[Self, bytes]:
        """Read *path*, which *option* named.

        Raises:
            InputError: it cannot be read, or has more than the *bound*.
        """
        data = read_input(path, option, bound)
        return cls(path, None if path.is_file() else data), data


class Files(NamedTuple):
    """The files that a guest was read from, to be read again in a lab."""

    guest: Source
    initrd: Source | None
    dtb: Source | None


class Settings(NamedTuple):
    """The options of ``gdbstub run``, checked."""

    guest: GuestConfig
    files: Files
    serve: ServeSettings
    program: GuestProgram = NO_PROGRAM
    console: str = "-"
    record: str | None = None
    #: True in a lab, for a client outside: standard input is the console's in any case.
    inner: bool = False


def read_settings(
    host: str,
    *,
    guest: str | None,
    endpoint: str,
    smp: int,
    cpu: str,
    memory: str,
    load: str | None,
    initrd: Path | None,
    append: str | None,
    dtb: Path | None,
    kaslr_seed: str | None,
    symbols: Path | None,
    modules: Path | None,
    stop_on: str | None,
    vmcore_on: tuple[str, str] | None,
    qmp: str | None,
    no_reboot: bool,
    free_run: bool,
    kill_on_disconnect: bool,
    console: str,
    script: str | None,
    timeout: float | None,
    record: str | None,
    inner: bool,
    program: str | None,
) -> Settings:
    """Read the input files and check every option that can be checked without a guest.

    The demo guest, whose build may take half a minute, is prepared after the other checks.

    Raises:
        InputError: an option or a file cannot be used, with the reason.
    """
    if guest == "":
        raise InputError(
            "GUEST: a file's name is missing; without GUEST a small Linux guest is run"
        )
    check_script(script, timeout, endpoint)
    where = check_endpoint(endpoint, host, inner=inner)
    reasons = Reasons.parse(stop_on, vmcore_on, timeout, inner=inner)
    qmp_endpoint = _qmp_endpoint(qmp, where, inner=inner)
    check_vcpus(smp)
    features = parse_cpu(cpu)
    size = parse_memory(memory)
    address = None if load is None else image.parse_load(load)
    seed = None if kaslr_seed is None else parse_seed(kaslr_seed)
    debug = symbols == _DEBUG
    if symbols is not None and not debug:
        check_input(symbols, "--symbols")
    for name, option in ((record, "--record"), (console, "--console")):
        if name is not None and (name, option) != ("-", "--console"):
            check_output(name, option)
    outputs = {
        "--vmcore-on": reasons.vmcore,
        "--record": record,
        "--console": None if console == "-" else console,
    }
    named = {"GUEST": guest, "--initrd": initrd, "--dtb": dtb, "--symbols": symbols}
    check_apart(named.items(), outputs)
    tree, tree_bytes = Source.read(dtb, "--dtb", _TREE) if dtb else (None, None)
    if tree_bytes is not None:
        device_tree.amend(tree_bytes, f"--dtb {dtb}", device_tree.Chosen())
    # Of an ELF file, debug information is not loaded.
    most = Bound(size, "the guest's --memory", more=_MORE, unless=b"\x7fELF")
    disk, disk_bytes = Source.read(initrd, "--initrd", most) if initrd else (None, None)
    files = _guest_files(guest, symbols, append, host)
    if disk is None and files.initrd is not None:
        disk, disk_bytes = Source.read(files.initrd, "", most)
    source, data = Source.read(Path(files.image), "", most)
    loaded = image.parse(data, files.image, size, address)
    if isinstance(loaded, image.RawBinary) and address is None:
        note(f"{files.image} has no header: a raw binary, loaded at {loaded.address:#x}")
    symbols = _debug_symbols(loaded) if debug else files.symbols
    if symbols is None:
        symbols = default_symbols(source.path, loaded)
    found = {"GUEST": files.image, "GUEST's initrd": files.initrd, "GUEST's symbols": symbols}
    check_apart(found.items(), outputs)
    if seed is None and dtb is None and isinstance(loaded, image.LinuxImage):
        seed = parse_seed(RANDOM)
    if program:
        known = GuestProgram.from_text(program)
    else:
        needed = reasons.need_kernel or modules is not None
        known = read_program(symbols, loaded, needed=needed)
    reasons.check(known)
    if modules is not None:
        from gdbstub.cli.settings.modules import read_modules

        known = known._replace(modules=read_modules(modules, known.kernel, outputs, inner=inner))
    config = GuestConfig(
        image=loaded,
        memory=size,
        vcpus=smp,
        append=files.append,
        initrd=disk_bytes,
        dtb=tree_bytes,
        cpu=features,
        kaslr_seed=seed,
    )
    check(config)
    if host == "kvm":
        warn_of_memory(size, host_memory(), "the lab" if inner else "this host")
    return Settings(
        guest=config,
        files=Files(source, disk, tree),
        serve=ServeSettings(
            endpoint=where,
            symbols=str(symbols or ""),
            free_run=free_run,
            kill_on_disconnect=kill_on_disconnect,
            script=script,
            timeout=timeout,
            inner=inner,
            qmp=qmp_endpoint,
            no_reboot=no_reboot,
            **reasons._asdict(),
        ),
        program=known,
        console=console,
        record=record,
        inner=inner,
    )


class _GuestFiles(NamedTuple):
    """Files of the guest that is meant, and its command line; ``initrd`` is without --initrd."""

    image: str
    symbols: Path | None
    append: str | None
    initrd: Path | None = None


def _guest_files(
    guest: str | None, symbols: Path | None, append: str | None, host: str
) -> _GuestFiles:
    """Find the files of GUEST: the small Linux guest's, those of a kernel's tree, or GUEST itself.

    Raises:
        InputError: GUEST is a directory without a kernel.
        LabError: the small Linux guest cannot be made.
    """
    if guest is None:
        from gdbstub.lab import demo, tools

        if host == "lab":
            tools.require_module("qemu.qmp")  # what is made below may take minutes
        files = demo.prepare()
        line = demo.COMMAND_LINE if append is None else append
        return _GuestFiles(str(files.image), symbols or files.symbols, line, files.initrd)
    if os.path.isdir(guest):
        from gdbstub.cli.settings import kernel_tree

        found = kernel_tree.find(Path(guest))
        symbols = symbols or found.symbols
        note(f"kernel: {found.image}; symbols: {symbols or found.no_symbols}")
        return _GuestFiles(str(found.image), symbols, append)
    return _GuestFiles(guest, symbols, append)


def _qmp_endpoint(qmp: str | None, gdb: Endpoint, *, inner: bool) -> Unix | Tcp | None:
    """Check the argument of --qmp, beside the endpoint of --gdb; None without it."""
    if qmp is None:
        return None
    from gdbstub.cli.settings.qmp import check_qmp  # imported here: few sessions have one

    return check_qmp(qmp, gdb, inner=inner)


def host_memory() -> int:
    """Return the bytes of RAM of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def warn_of_memory(size: int, present: int, where: str) -> None:
    """Warn of a guest with more RAM than *where* has: pages are taken as the guest uses them."""
    if size > present:
        _log.warning(
            "--memory %s: %s has %s; a guest that uses more is killed, or something else is",
            format_size(size), where, format_figure(present),
        )  # fmt: skip


def _debug_symbols(loaded: image.Guest) -> Path:
    """Return the vmlinux with debug information of a Linux guest.

    Raises:
        InputError: it is no Linux.
        LabError: nobody has it.
    """
    if not isinstance(loaded, image.LinuxImage):
        raise InputError(
            "--symbols debug is for a Linux Image; for a file called debug, give its whole path"
        )
    from gdbstub.lab import debug_symbols

    return debug_symbols.prepare(loaded.data)


def check_script(script: str | None, timeout: float | None, endpoint: str) -> None:
    """Check ``--script`` and its companions.

    Raises:
        InputError: they do not go together.
    """
    if timeout is not None and not 0 < timeout < math.inf:
        raise InputError(f"--timeout {timeout:g}: expected a number of seconds above 0")
    if timeout is not None and timeout > _MOST_SECONDS:
        raise InputError(f"--timeout {timeout:g}: the most is {_MOST_SECONDS:g} seconds")
    if script is not None and not script.strip():
        raise InputError(f"--script {script!r}: expected a command")
    if script is not None and endpoint == "stdio":
        raise InputError("--script cannot talk to --gdb stdio; give HOST:PORT or unix:PATH")


def machine_name() -> str:
    """Return the architecture of this machine, as ``uname -m`` does."""
    return os.uname().machine  # importing ``platform`` costs as much as importing ten modules


def choose_host(where: str) -> str:
    """Choose ``kvm`` or ``lab`` for *where*, the argument of ``--host``, on this machine.

    Raises:
        InputError: it is ``kvm``, and this machine has no usable KVM for arm64 guests.
    """
    machine = machine_name()
    if where == "auto":
        # On arm64 only: another machine's KVM runs guests of that machine's architecture.
        usable = machine == "aarch64" and os.access(_DEVICE, os.R_OK | os.W_OK)
        if machine == "aarch64" and not usable:
            logging.getLogger("gdbstub.run").warning(
                "this user has no access to %s, so the guest runs in the lab, at the speed of "
                "emulation; --host kvm says why",
                _DEVICE,
            )
        return "kvm" if usable else "lab"
    if where == "kvm":
        if machine != "aarch64":
            named = machine.replace("_", "-")
            raise InputError(
                f"--host kvm: this machine is {named}; arm64 guests need --host lab here"
            )
        from gdbstub.kvm import device

        os.close(device.open_kvm(_DEVICE))
    return where
