"""The settings of ``gdbstub run``: its options, checked, and the files that they name, read.

It parses no command line.
"""

import logging
import math
import os
from pathlib import Path
from typing import Any, Final

from gdbstub.cli import run
from gdbstub.cli.endpoints import check_endpoint, endpoint_text
from gdbstub.cli.logs import set_up_logging
from gdbstub.cli.run import Files, Settings, Source, read_program
from gdbstub.cli.serve import ServeSettings
from gdbstub.errors import InputError
from gdbstub.kvm.features import parse_cpu
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.linux.stop_on import parse_reasons
from gdbstub.protocol.endpoint import Stdio
from gdbstub.vmm import device_tree, image
from gdbstub.vmm.config import GuestConfig, check, check_vcpus
from gdbstub.vmm.files import check_input, check_output
from gdbstub.vmm.seed import RANDOM, parse_seed
from gdbstub.vmm.size import parse_memory

_DEVICE: Final = "/dev/kvm"


def run_with(where: str, endpoint: str | None, verbose: int, **options: Any) -> int:  # noqa: ANN401
    """Run ``gdbstub run`` with the values of its options; return the exit status.

    Raises:
        StubError: it cannot be done, with the reason.
    """
    set_up_logging(verbose)
    host = choose_host(where)
    with endpoint_text(endpoint, options["script"]) as text:
        settings = read_settings(host, endpoint=text, **options)
        if host == "kvm":
            return run.run(settings)
        from gdbstub.cli.run_in_lab import serve_in_lab

        return serve_in_lab(settings, verbose)


def read_settings(
    host: str,
    *,
    guest: str | None,
    endpoint: str,
    smp: int,
    cpu: str,
    memory: str,
    initrd: Path | None,
    append: str | None,
    dtb: Path | None,
    kaslr_seed: str | None,
    symbols: Path | None,
    modules: Path | None,
    stop_on: str | None,
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
    check_script(script, timeout, endpoint)
    where = check_endpoint(endpoint, host, inner=inner)
    reasons = parse_reasons(stop_on) if stop_on else ()
    check_vcpus(smp)
    features = parse_cpu(cpu)
    size = parse_memory(memory)
    seed = None if kaslr_seed is None else parse_seed(kaslr_seed)
    if symbols is not None:
        check_input(symbols, "--symbols")
    for name, option in ((record, "--record"), (console, "--console")):
        if name is not None and (name, option) != ("-", "--console"):
            check_output(name, option)
    tree, tree_bytes = Source.read(dtb, "--dtb") if dtb else (None, None)
    if tree_bytes is not None:
        device_tree.amend(tree_bytes, "--dtb", device_tree.Chosen())
    disk, disk_bytes = Source.read(initrd, "--initrd") if initrd else (None, None)
    if guest is None:
        from gdbstub.lab import demo

        files = demo.prepare()
        guest = str(files.image)
        append = demo.COMMAND_LINE if append is None else append
        symbols = symbols or files.symbols
        if disk is None:
            disk, disk_bytes = Source.read(files.initrd)
    source, data = Source.read(Path(guest))
    loaded = image.parse(data, guest, size)
    if symbols is None and not isinstance(loaded, image.LinuxImage):
        symbols = source.path
    if seed is None and dtb is None and isinstance(loaded, image.LinuxImage):
        seed = parse_seed(RANDOM)
    known = GuestProgram.from_text(program) if program else read_program(symbols, loaded)
    if reasons and known.kernel is None:
        raise InputError("--stop-on needs a Linux guest and the symbols of its kernel: --symbols")
    if modules is not None:
        from gdbstub.cli.modules import read_modules

        known = known._replace(modules=read_modules(modules, known.kernel))
    config = GuestConfig(
        image=loaded,
        memory=size,
        vcpus=smp,
        append=append,
        initrd=disk_bytes,
        dtb=tree_bytes,
        cpu=features,
        kaslr_seed=seed,
    )
    check(config)
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
            hint=not (inner or script or isinstance(where, Stdio)),
            inner=inner,
            stop_on=reasons,
        ),
        program=known,
        console=console,
        record=record,
        inner=inner,
    )


def check_script(script: str | None, timeout: float | None, endpoint: str) -> None:
    """Check ``--script`` and its companions.

    Raises:
        InputError: they do not go together.
    """
    if timeout is not None and script is None:
        raise InputError("--timeout is for --script; give both or neither")
    if timeout is not None and not 0 < timeout < math.inf:
        raise InputError(f"--timeout {timeout:g}: expected a number of seconds above 0")
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
