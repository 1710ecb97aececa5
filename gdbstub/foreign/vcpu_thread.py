"""One vCPU's thread of a VMM under ptrace: run, stopped outside KVM_RUN, and resumed unseen.

The VMM never sees KVM_EXIT_DEBUG, nor that KVM_RUN was left for us: the call is made again. A
thread is parked only at the exit of a KVM_RUN that has completed what the last exit left undone.
It decides nothing about breakpoints. Source: ptrace(2); linux/virt/kvm/kvm_main.c (KVM_RUN).
"""

import errno
import os
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from gdbstub.errors import InputError
from gdbstub.foreign import injection, ptrace, sigframe
from gdbstub.foreign.injection import Gadgets, Injection
from gdbstub.foreign.memory import VmmMemory
from gdbstub.foreign.process import VmmProcess
from gdbstub.foreign.ptrace import Gone, Tracee, ffi
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData

if TYPE_CHECKING:
    from gdbstub.foreign.run_page import RunPage


_U64: Final = (1 << 64) - 1
_EINTR: Final = -errno.EINTR & _U64


class ThreadStop(Enum):
    """A thread's state after one of its stops; without one it goes on."""

    PARKED = auto()
    #: Stopped at a debug exit, which the VMM does not see.
    DEBUG = auto()
    #: Stopped at a system event, which the VMM sees when the thread goes on.
    SYSTEM_EVENT = auto()
    ENDED = auto()


class VcpuThread:
    """A seized thread; all methods are for the thread that traces it.

    It runs, is ``stopped``, or has ``ended``. ``kicked``, ``anywhere`` and ``traced`` are no states
    of it but orders, independent of each other, by which ``handle`` judges its next stop.
    """

    def __init__(
        self, tracee: Tracee, memory: VmmMemory, gadgets: Gadgets, fd: int | None = None
    ) -> None:
        """Take a thread that runs. Its vCPU's *fd* is learnt at its next KVM_RUN if None."""
        self.tracee = tracee
        self.fd = fd
        self.page: RunPage | None = None
        #: True while it is stopped outside of KVM_RUN, and after its end: nothing goes on.
        self.stopped = False
        #: True after its end, or that of its tracing.
        self.ended = False
        #: True to look at every exit from the guest; else no system call is traced.
        self.traced = False
        #: True to stop at the exit of this KVM_RUN, or of the next: from ``kick`` to ``resume``.
        self.kicked = False
        #: True to stop wherever the VMM's code is, because KVM_RUN does not come in time.
        self.anywhere = False
        # True if it runs, but comes to the guest only by a system call that is traced.
        self._outside = False
        # The signals that wait for the end of a section; None: they are delivered at once.
        self._held: list[bytes] | None = None
        # True if KVM_RUN was made again for one of them that has not come yet.
        self._repeated = False
        # True if it stops in the middle of a call that goes on by restart_syscall(2).
        self._restarts = False
        # True once the VMM must see each exit, for the lines of its vCPU (``RunPage``).
        self._has_lines = False
        self._memory = memory
        self._gadgets = gadgets
        #: True from the entry of KVM_RUN to its exit, both of which are traced.
        self._in_run = False
        #: True of a stop after which KVM_RUN is made again: the VMM does not see its exit.
        self._again = False
        #: Frame for calls; None once the VMM's code has run, which may have overwritten it.
        self._injection: Injection | None = None
        self._context: CData = ffi.new("struct user_pt_regs *")

    # Going.

    def kick(self) -> None:
        """Have the thread stop at the exit of this KVM_RUN, or of the next."""
        self.kicked = True
        if not self.stopped and not self.ended:
            with suppress(Gone):  # its end is a stop of its own, and the others are to be kicked
                self.tracee.interrupt()

    @property
    def out_of_guest(self) -> bool:
        """True if it is not in the guest, and comes there only when it is resumed."""
        return self.stopped or self._outside

    def hold_signals(self) -> None:
        """Deliver no signal of another's: an instruction is to be executed to its end."""
        self._held, self._repeated = [], False

    def release_signals(self) -> None:
        """Deliver the signals that have been held, and those to come."""
        held, self._held = self._held, None
        if held:
            with suppress(InputError):  # it has ended
                process = int(VmmProcess(self.tracee.tid).status()["Tgid"])
                for info in held:
                    self.tracee.send(info, process)

    def park_at_entry(self) -> None:
        """Park a thread that is stopped at the entry of KVM_RUN, before it enters the guest."""
        self.kicked = self._in_run = True
        self.tracee.interrupt()
        self._go()

    def resume(self, *, traced: bool) -> None:
        """Resume a stopped thread: in KVM_RUN, unless the VMM is to see its exit."""
        if self.stopped:
            self._resume(traced=traced, outside=False)
        else:  # the VMM has kept it since ``give_way``
            self.traced, self.kicked = traced, False

    @property
    def may_give_way(self) -> bool:
        """True if it is parked at a KVM_RUN that the VMM may as well find interrupted."""
        return self.stopped and not self.ended and self._again and not self.tracee.in_group_stop

    @property
    def blocked(self) -> int:
        """The stopped thread's own mask of blocked signals."""
        return self._injection.mask if self._injection else self.tracee.signal_mask()

    def give_way(self) -> None:
        """Let a parked thread run the VMM's code; it parks at its next KVM_RUN, out of the guest.

        The VMM may keep it, and wait for others that do the same, as one that pauses its guest.
        """
        self._again = False
        self._resume(traced=False, outside=True)

    def stop_anywhere(self) -> None:
        """Stop a thread that its VMM has kept, for calls; ``go_back`` follows.

        Raises:
            Gone: it has ended.
        """
        self.anywhere = True
        self.kick()
        try:
            while not self.stopped:
                self.handle(injection.wait_for(self.tracee.tid))
        finally:
            self.anywhere = False

    def go_back(self) -> None:
        """Let it go on in the VMM's code, unless it has come to its KVM_RUN by now."""
        if not self._again:
            self._resume(traced=False, outside=True)

    def _resume(self, *, traced: bool, outside: bool) -> None:
        context = self._context
        pc, x0 = context.pc, context.regs[0]
        # In a group-stop, when that is over.
        again = self._again and not self.tracee.in_group_stop and not self._has_lines
        if again:
            context.pc -= 4
            context.regs[0] = self.fd
        try:
            self._give_back()
        except BaseException:
            context.pc, context.regs[0] = pc, x0  # it may be tried again
            raise
        if not (traced and again):
            self._injection = None
        self.stopped = False
        self.kicked = self._outside = outside
        self.traced = traced
        self._go()

    def _give_back(self) -> None:
        """Give a stopped thread its own context back."""
        if self._restarts:  # the kernel does so itself, but not after calls of ours
            self._context.regs[8] = ptrace.RESTART_SYSCALL
        if self._injection is not None and self._injection.active:
            self._injection.end(self._context)
        else:
            self.tracee.set_registers(self._context)
        self._restarts = False

    def carry_on(self, status: int) -> None:
        """Let the thread go on after a stop that could not be handled, by its *status*.

        Raises:
            MachineError: it has gone on already, or has ended.
        """
        if not self.stopped and not self.ended:
            self._injection = None
            self._go(ptrace.signal_of(status))

    def _go(self, signum: int = 0) -> None:
        # In a group-stop it stops again at once, until the whole VMM goes on. And any stop takes a
        # pending interrupt with it.
        if self.tracee.in_group_stop or self.anywhere:
            self.tracee.in_group_stop = False
            self.tracee.interrupt()
        self.tracee.resume(signum, to_syscall=self.traced or self.kicked)

    def call(self, number: int, *arguments: int, data: bytearray | None = None) -> int:
        """Make a system call in the stopped thread (``Injection.call``)."""
        return self._inject().call(number, *arguments, data=data)

    @property
    def scratch(self) -> int:
        """The address of ``SCRATCH_SIZE`` bytes for the arguments of calls."""
        return self._inject().scratch

    def _inject(self) -> Injection:
        if self._injection is None:
            thread = self.tracee, self._memory, self._gadgets, self._context
            self._injection = Injection(*thread, anywhere=not self._again)
        elif not self._injection.active:
            self._injection.begin()
        return self._injection

    def detach(self) -> None:
        """End tracing of a stopped thread; its KVM_RUN has been interrupted, for all it sees."""
        self._give_back()
        self.release_signals()
        self.tracee.detach()
        self.ended = True

    def end(self) -> None:
        """Note that the thread has ended."""
        self.ended = self.stopped = True

    # Stops.

    def handle(self, status: int) -> ThreadStop | None:
        """Take a stop of the thread, by its *status* of waitpid; None: it goes on already."""
        outcome = self._handle(status)
        # Its next KVM_RUN is traced, and interrupted before it enters the guest.
        self._outside = outcome is None and self.kicked
        return outcome

    def _handle(self, status: int) -> ThreadStop | None:
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            self.end()
            return ThreadStop.ENDED
        if ptrace.is_group_stop(status):
            return self._in_group_stop()
        if status >> 16 == ptrace.EVENT_STOP:
            return self._interrupted()
        if status >> 8 & 0xFF == ptrace.SYSCALL_STOP:
            return self._at_system_call()
        self._deliver(ptrace.signal_of(status))
        return None

    def _in_group_stop(self) -> ThreadStop | None:
        """Stay with the others of the VMM, or park where it would be parked without them."""
        regs = self.tracee.registers()
        if self.kicked:
            self._interrupt_repeated_run(regs)  # it cannot begin while the VMM is stopped
            if self.anywhere or self._was_interrupted(regs):
                self.tracee.in_group_stop = True
                return self._interrupted()
        self.tracee.listen()
        return None

    def _interrupted(self) -> ThreadStop | None:
        regs = self.tracee.registers()
        if self._was_interrupted(regs):
            self._stop(regs, again=True)
            if self.kicked:
                return ThreadStop.PARKED
            # An interrupt of ours that nobody waits for any more.
            self.resume(traced=self.traced)
            return None
        if self.anywhere:
            self._stop(regs, again=False)
            return ThreadStop.PARKED
        if not self._about_to_run(regs):
            self._injection = None
        self._go()
        return None

    def _was_interrupted(self, regs: CData) -> bool:
        """Return True if the last instruction was a KVM_RUN that a stop has ended."""
        return self.fd is not None and regs.regs[0] == _EINTR and self._left_run(regs)

    def _left_run(self, regs: CData) -> bool:
        """Return True if the last instruction was the system call KVM_RUN."""
        return self._is_run(regs, regs.pc - 4)

    def _is_run(self, regs: CData, address: int) -> bool:
        """Return True if *regs*, but for x0, and the text at *address* are a call of KVM_RUN."""
        is_call = regs.regs[8] == ptrace.IOCTL and regs.regs[1] & ptrace.INT == abi.RUN
        return bool(is_call and self._memory.read(address, 4) == sigframe.SVC)

    @property
    def is_in_run(self) -> bool:
        """True if a thread that stopped for the first time was in KVM_RUN."""
        return self._left_run(self.tracee.registers())

    def _at_system_call(self) -> ThreadStop | None:
        stop = self.tracee.syscall_stop()
        self._restarts = self.anywhere and not stop.entry and stop.result == ptrace.RESTARTS
        if stop.entry:
            if stop.number == ptrace.IOCTL and stop.arguments[1] == abi.RUN:
                if self.fd is None:
                    self.fd = stop.arguments[0]
                self._in_run = stop.arguments[0] == self.fd
                if self.kicked and self._in_run:
                    # It completes what the last exit left undone, and enters no guest.
                    self.tracee.interrupt()
                self.tracee.resume(to_syscall=True)
                return None
        elif self._in_run:
            self._in_run = False
            return self._left_guest(stop.result)
        self._go()
        return None

    def _left_guest(self, result: int) -> ThreadStop | None:
        if result == -errno.EINTR and self.kicked:
            # Any stop takes a pending interrupt with it, so no other one follows this.
            self._stop(self.tracee.registers(), again=True)
            return ThreadStop.PARKED
        if result == 0 and self.page is not None:
            reason = self.page.run.exit_reason
            if reason == abi.EXIT_DEBUG:
                # A VMM may look at the reason alone, whatever KVM_RUN has returned.
                self.page.run.exit_reason = abi.EXIT_INTR
                self._stop(self.tracee.registers(), again=True)
                return ThreadStop.DEBUG
            if reason == abi.EXIT_SYSTEM_EVENT:
                self._stop(self.tracee.registers(), again=False)
                return ThreadStop.SYSTEM_EVENT
        if result == -errno.EINTR and self._repeats():
            return None
        self._injection = None
        self._go()
        return None

    def _repeats(self) -> bool:
        """Make a KVM_RUN again that a signal has ended which is held; its VMM may want it ended."""
        if self._held is None or self.page is None or self.page.run.immediate_exit:
            return False
        # A signal that only KVM_RUN lets through (KVM_SET_SIGNAL_MASK) would end each at once.
        if self._repeated or self._passes_lines_on():
            return False
        self._repeated = True
        regs = self.tracee.registers()
        regs.pc -= 4
        regs.regs[0] = self.fd
        self.tracee.set_registers(regs)
        self._go()
        return True

    def _passes_lines_on(self) -> bool:
        self._has_lines |= self.page is not None and self.page.has_raised_line
        return self._has_lines

    def _stop(self, regs: CData, *, again: bool) -> None:
        """Note where the thread has stopped; the VMM's own view is an interrupted KVM_RUN."""
        self.stopped, self._again = True, again
        self._restarts &= not again
        self._passes_lines_on()
        if again and regs.regs[0] != _EINTR:
            regs.regs[0] = _EINTR
            self.tracee.set_registers(regs)
        self._context[0] = regs[0]

    def _deliver(self, signum: int) -> None:
        """Deliver a signal to the VMM, which must find KVM_RUN interrupted, not about to begin."""
        self._repeated = self._restarts = False
        if self._held is not None and signum not in ptrace.SYNCHRONOUS:
            self._held.append(self.tracee.siginfo())
            self._go()
            return
        self._interrupt_repeated_run(self.tracee.registers())
        self._injection = None
        self._go(signum)

    def _interrupt_repeated_run(self, regs: CData) -> None:
        """Have a KVM_RUN that is about to be repeated for us look as if it was interrupted."""
        if self._about_to_run(regs):
            regs.pc += 4
            regs.regs[0] = _EINTR
            self.tracee.set_registers(regs)

    def _about_to_run(self, regs: CData) -> bool:
        """Return True if the next instruction is the KVM_RUN that the thread repeats for us."""
        return bool(regs.regs[0] == self.fd and self._is_run(regs, regs.pc))
