"""``gdbstub run`` on this machine's KVM: the guest that ``serve`` serves.

It serves nothing itself.
"""

import asyncio
import contextlib
import logging
import os
import sys
from typing import Final

from gdbstub.cli.serving import confinement
from gdbstub.cli.serving.old_gdb import OldGdb, signs
from gdbstub.cli.serving.serve import (
    SerialConsole,
    recording,
    run_to_end,
    serve,
    until_signal,
    wants_keys,
)
from gdbstub.cli.settings.run import Settings
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import NotFound
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.linux.trial_boot import TrialBoot, fixed_place
from gdbstub.machine import Machine
from gdbstub.protocol.endpoint import Stdio, Unix
from gdbstub.signals import DeferredSignals
from gdbstub.vmm import image
from gdbstub.vmm.console import ConsoleOutput, is_keyboard, open_output
from gdbstub.vmm.guest import VmmGuest

_log = logging.getLogger("gdbstub.run")

#: Time for a kernel to come to its start_kernel; under emulation it takes about a second.
_TRIAL_BOOT_SECONDS: Final = 20.0


def run(settings: Settings) -> int:
    """Run the guest and serve it to its end; return the exit status.

    Raises:
        InputError: this host cannot give a guest what was asked for.
        MachineError: KVM failed.
    """
    return run_to_end(lambda signals: run_guest(settings, signals))


async def run_guest(settings: Settings, signals: DeferredSignals) -> int:
    """Make the guest and serve it to its end, or until one of *signals*.

    Raises:
        InputError: this host cannot give a guest what was asked for.
        MachineError: KVM failed.
    """
    async with until_signal(signals) as stopped:
        with contextlib.ExitStack() as stack:
            recorder = stack.enter_context(recording(settings.record))
            output = ConsoleOutput(console_fd(settings))
            stack.callback(output.close)
            guest = VmmGuest(settings.guest, output.write)
            stack.callback(guest.close)
            program = await _after_trial_boot(settings, guest.machine, stopped)
            return await serve(
                guest.machine,
                program,
                settings.serve,
                stopped,
                console=SerialConsole(guest.receive, output.flush, _keyboard(settings)),
                recorder=recorder,
                started=lambda script: _confine(settings, script),
                begin=lambda debugger: _note_old_gdb(settings, debugger),
                hva=guest.machine.ram.hva,
            )


def _note_old_gdb(settings: Settings, debugger: Debugger) -> None:
    """Have the user of an old GDB told, if the guest is a Linux that may sign its addresses.

    Unless the symbols are those of ``gdbstub symbols``, which undo that.
    """
    guest, authenticates = settings.guest, debugger.machine.pointer_authentication
    if (kernel := settings.program.kernel) is not None and kernel.unwinds:
        return
    if isinstance(guest.image, image.LinuxImage) and signs(authenticates, guest.append):
        debugger.observers.append(OldGdb())


def _confine(settings: Settings, script: int) -> None:
    """Give up what the session does not need; *script* is the number of its process, if any."""
    if settings.inner:
        confinement.drop_root()
    unlink = isinstance(settings.serve.endpoint, Unix) or bool(settings.serve.qmp_path)
    confinement.confine(unlink=unlink, in_lab=settings.inner, child=script)


async def _after_trial_boot(
    settings: Settings, machine: Machine, stopped: "asyncio.Future[int]"
) -> GuestProgram:
    """Return the program with the place where its kernel will go, if it may choose one."""
    program, command_line = settings.program, settings.guest.append
    if program.kernel is None:
        return program
    if fixed := fixed_place(program.kernel, command_line):
        return program._replace(expected=fixed)
    if settings.serve.free_run and not settings.serve.stops:
        return program
    loop = asyncio.get_running_loop()
    over: asyncio.Future[int] = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(0)

    def notify() -> None:
        loop.call_soon_threadsafe(end)

    trial = TrialBoot(machine, program.kernel, notify)
    try:
        trial.start()
        await asyncio.wait(
            {over, stopped}, timeout=_TRIAL_BOOT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        return program._replace(expected=trial.finish())
    except NotFound as why:
        if not stopped.done():  # else it is over before it could know
            _log.warning("cannot tell beforehand where the kernel goes: %s", why)
        return program


def _keyboard(settings: Settings) -> int | None:
    """Return the descriptor of the keys for the guest, if there is one."""
    fd = sys.stdin.fileno()
    wanted = settings.inner or (settings.console == "-" and is_keyboard(fd))
    return fd if wanted and wants_keys(settings.serve) else None


def console_fd(settings: Settings) -> int:
    """Open the destination of the guest's console; the caller closes the descriptor.

    Raises:
        InputError: it cannot be written.
    """
    if settings.console == "-" and isinstance(settings.serve.endpoint, Stdio):
        return os.dup(sys.stderr.fileno())  # standard output is the client's
    return open_output(settings.console)
