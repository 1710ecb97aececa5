"""``gdbstub attach``, ``launch`` and ``recover``: guests of other VMMs on this host.

The process that the user sees is a guard: a second one debugs. Whichever of the two is killed, the
other sees to it that nothing is left in the guest.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from gdbstub.cli.serving.kernel_place import locate
from gdbstub.cli.serving.serve import recording, run_to_end, serve, until_signal
from gdbstub.cli.settings.attach import AttachSettings
from gdbstub.debug.debugger import Debugger
from gdbstub.debug.extensions import Observer
from gdbstub.debug.run_state import RunState
from gdbstub.errors import StubError
from gdbstub.foreign import ptrace
from gdbstub.foreign.attach import attached, launched, recover
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.launch import end_child
from gdbstub.foreign.machine import ForeignMachine
from gdbstub.foreign.process import VmmProcess
from gdbstub.signals import STOP_SIGNALS, DeferredSignals
from gdbstub.streams import note

#: The longest wait for a guest that was told to stop, at the end, in seconds.
_STOP_SECONDS: Final = 15.0


class ResumeWhenClientLeaves(Observer):
    """Resumes a guest of another VMM whose client has vanished: that VMM's users need it."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger

    def client_left(self) -> None:
        """Detach from a guest that the client has left halted."""
        if self._debugger.state is RunState.HALTED:
            self._debugger.detach()


def attach(settings: AttachSettings) -> int:
    """Attach to a guest and serve it to the end of the session; return the exit status.

    Raises:
        InputError: it cannot be attached to.
        MachineError: KVM failed.
    """
    return guarded(lambda: run_to_end(lambda signals: _session(settings, signals)))


async def _session(settings: AttachSettings, signals: DeferredSignals) -> int:
    async with until_signal(signals) as stopped:
        with contextlib.ExitStack() as stack:
            recorder = stack.enter_context(recording(settings.record))
            try:
                machine = stack.enter_context(_machine(settings, signals))
            except StubError:
                if not signals.arrived:
                    raise
                return await stopped
            program = settings.program
            if program.kernel is not None and settings.serve.stops and settings.serve.free_run:
                program = await locate(machine, program, stopped)
            status = await serve(
                machine,
                program,
                settings.serve,
                stopped,
                recorder=recorder,
                begin=lambda debugger: debugger.observers.append(ResumeWhenClientLeaves(debugger)),
                end=come_to_rest,
            )
        if isinstance(settings.vmm, VmmProcess):
            return status
        return end_of(machine.process, status)


def _machine(
    settings: AttachSettings, signals: DeferredSignals
) -> contextlib.AbstractContextManager[ForeignMachine]:
    if isinstance(settings.vmm, VmmProcess):
        return attached(settings.vmm, settings.ram)
    return launched(settings.vmm, lambda: not signals.arrived)


def end_of(process: VmmProcess, status: int) -> int:
    """End a VMM that we have started, if it has not ended; return its exit status, or *status*."""
    with contextlib.suppress(ChildProcessError):
        found, how = os.waitpid(process.pid, os.WNOHANG)
        if found:
            return status or os.waitstatus_to_exitcode(how) % 256
    end_child(process)
    return status


def come_to_rest(debugger: Debugger) -> None:
    """Let the debugger undo what it is in the middle of: a step, or breakpoints."""
    stopped = threading.Event()
    debugger.notify = stopped.set
    if debugger.state is RunState.RUNNING:
        debugger.release()
    while debugger.state not in (RunState.HALTED, RunState.DETACHED, RunState.EXITED):
        stopped.clear()
        if debugger.take_report() is None and debugger.running and not stopped.wait(_STOP_SECONDS):
            return  # the machine's own end does what can be done
    if debugger.state is RunState.HALTED:
        debugger.release()


def guarded(work: Callable[[], int]) -> int:
    """Do *work* in a child; if that does not come to its end, recover the guests it has left.

    If this process ends first, the child gets SIGTERM, and ends in good order.
    """
    parent = os.getpid()
    if (child := os.fork()) == 0:
        ptrace.end_with_parent(parent)
        return work()

    def pass_on(signum: int, _frame: FrameType | None) -> None:
        os.kill(child, signum)  # its number is not another's: it is waited for below

    for each in STOP_SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, pass_on)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # what is left is undone, whatever comes
    _, status = os.waitpid(child, 0)
    if status:
        for process in Journal.stale_processes():
            try:
                recover(process)
            except StubError as error:  # the VMM may have ended, too
                note(str(error))
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def recovered(pid: int) -> int:
    """Undo what a killed debugger has left behind in process *pid*; return the exit status.

    Raises:
        InputError: there is nothing to undo.
    """
    process = VmmProcess(pid)
    restored = recover(process)
    instructions = f"{restored} instruction{'s' * (restored != 1)}"
    print(f"process {pid} ({process.name}): restored {instructions}; nothing is left")
    return 0
