"""A guest of another VMM as a ``Machine``: its vCPU threads are traced, its RAM is shared.

Everything that touches the VMM happens on the tracer's thread; the exits are told there.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final

from gdbstub.errors import MachineError
from gdbstub.foreign.attachment import Attachment, in_any_case
from gdbstub.foreign.exclusive import ForeignExclusiveSection
from gdbstub.foreign.facts import description, read_facts, totals
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.patches import NoLog, Patches, PatchLog
from gdbstub.foreign.process import VmmProcess
from gdbstub.foreign.ptrace import Gone
from gdbstub.foreign.vcpu import ForeignVcpu, HaltedVcpus, Kicker, LateHalt
from gdbstub.foreign.vcpu_thread import ThreadStop
from gdbstub.kvm.one_reg import Counts
from gdbstub.kvm.vcpu_state import SYSTEM_EVENTS
from gdbstub.kvm.virtual_counter import VirtualCounter
from gdbstub.kvm.watchdog import Watchdog
from gdbstub.machine import (
    TIMED_OUT,
    Capabilities,
    DebugExit,
    DebugRegisters,
    Exit,
    Listener,
    RunMode,
    SystemEvent,
    SystemEventKind,
)
from gdbstub.swbp import BRK

#: Time after which a person is told of a guest that does not halt, in seconds.
LATE: Final = 5.0
#: The pause between two looks at what is halted while something runs, in seconds.
LOOK_INTERVAL: Final = 0.25


class ForeignMachine:
    """A ``Machine``: the guest of *attachment*, all of whose vCPUs are parked."""

    listener: Listener

    def __init__(
        self, attachment: Attachment, log: PatchLog | None = None, *, always_traced: bool = False
    ) -> None:
        """Take the guest over; ``use`` says where its RAM is. *log* records the BRKs in it.

        No system call is traced while nothing is armed, so that a guest's power-off is seen as
        the VMM's end, and a reset is the VMM's to make. With *always_traced* every exit of the
        guest is looked at, and these two are told.

        Raises:
            MachineError: KVM cannot debug it.
        """
        self._attachment = attachment
        self._tracer = attachment.tracer
        self.port = attachment.port
        self._counter = VirtualCounter(self._first)
        self._debug = DebugRegisters()
        self._exits: list[Exit] = []
        self._running: set[int] = set()
        self.complete = False  # to be set where the VMM has told all memory (``RamLayout``)
        self._deferred: list[int] = []  # vCPUs at a debug exit, during another's section
        self._asked: set[int] = set()  # vCPUs whose listener is being asked
        self._stopping = self._closed = False
        self._watchdog = Watchdog()
        self._counts = [Counts() for _ in attachment.threads]
        self._vcpus = tuple(
            ForeignVcpu(
                self.port,
                fd,
                index,
                thread,
                attachment.pages[fd],
                self._counter.clock,
                self._counts[index],
                self._tracer,
                attachment.process,
            )
            for index, (fd, thread) in enumerate(attachment.threads.items())
        )
        self._late = LateHalt(self._vcpus, self._watchdog)
        self._halted = HaltedVcpus(self._look_at_halted, self._tracer.call)
        self._always_traced = always_traced
        for vcpu in self._vcpus:
            vcpu.always_traced = always_traced
        self._by_tid = {vcpu.thread.tracee.tid: vcpu for vcpu in self._vcpus}
        self._exclusive = ForeignExclusiveSection[ForeignVcpu](self._pump_until)
        self.ram = attachment.ram
        self._log = log or NoLog()
        self._patches = Patches(self.ram, self._log)
        facts = self._tracer.call(lambda: read_facts(self.port, attachment.vm, self._first()))
        self.breakpoint_slots, self.watchpoint_slots = facts[:2]
        self.system_registers, self.pointer_authentication, self.vector_length = facts[2:]
        self._tracer.call(self._counter.stop)
        attachment.seized.handler = self._handle

    def _first(self) -> ForeignVcpu:
        return self._vcpus[0]

    @property
    def vcpus(self) -> Sequence[ForeignVcpu]:
        """The vCPUs, by index."""
        return self._vcpus

    @property
    def process(self) -> VmmProcess:
        """The VMM."""
        return self._attachment.process

    # The optional half: what a foreign guest cannot do, a reset, is not offered.

    @property
    def capabilities(self) -> Capabilities:
        """A clock, a description, counts and the layout of RAM."""
        return Capabilities(time=self._counter, about=self, counts=self, layout=self)

    @property
    def ram_ranges(self) -> Sequence[range]:
        """The slots of RAM, adjacent ones as one (``RamLayout``)."""
        return self.ram.ranges

    @property
    def about(self) -> Mapping[str, str]:
        """The VMM, RAM and the host (``Described``)."""
        return description(self.process, self.ram, self._attachment.evidence)

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """The numbers of debug exits and ioctls, by kind (``Counted``)."""
        return totals(self.port, self._counts)

    # Memory.

    def use(self, slots: Sequence[MemorySlot], evidence: str, read_only: str = "") -> None:
        """Take *slots* for the guest's RAM, by the *evidence*; *read_only* is why, if it is."""
        self._attachment.use(slots, evidence, read_only)
        self.ram = self._attachment.ram
        self._patches = Patches(self.ram, self._log)

    def read_memory(self, ipa: int, length: int) -> bytes:
        """Read RAM, short where it ends (``Machine.read_memory``)."""
        return self.ram.read(ipa, length)

    def write_memory(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        """Write RAM, for instruction fetches too (``Machine.write_memory``)."""
        self._tracer.call(lambda: self._write(ipa, data, temporary=temporary))

    def _write(self, ipa: int, data: bytes, *, temporary: bool) -> None:
        if data == BRK and not self._patches:
            # Before it is there: this process may be killed between the two.
            for vcpu in self._vcpus:
                vcpu.expect_brk()
        self._patches.write(ipa, data, temporary=temporary)

    # Stop and go.

    def arm(self, debug: DebugRegisters) -> None:
        """Set the comparators; each vCPU gets them before it runs again."""
        self._debug = debug

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        """Run the vCPUs that are keys (``Machine.resume``)."""
        self._tracer.call(lambda: self._resume(modes))

    def _resume(self, modes: Mapping[int, RunMode]) -> None:
        try:
            self._run(modes)
        except MachineError as error:
            # Its threads were stopped: one that is gone was killed, and all others with it.
            if not isinstance(error, Gone) and not self.process.ended:
                raise
            self._running = set(modes)
            for vcpu in self._vcpus:
                vcpu.thread.end()
            for index in modes:
                self._thread_ended(self._vcpus[index])

    def _run(self, modes: Mapping[int, RunMode]) -> None:
        for index, mode in modes.items():
            self._vcpus[index].arm(mode, self._debug)
        self._counter.go_on()
        self._exits = []
        self._stopping = False
        self._running = set(modes)
        for vcpu in self._vcpus:
            vcpu.forget()
        for index in modes:
            self._set_going(self._vcpus[index])
        if len(modes) < len(self._vcpus):
            self._watchdog.watch(self._halted, monotonic() + LOOK_INTERVAL)

    def _look_at_halted(self) -> None:
        """Let vCPUs that are halted while others run take their signals: the VMM may wait."""
        halted = [each for each in self._vcpus if each.index not in self._running]
        self._attachment.give_way([each.thread.tracee.tid for each in halted])
        again = monotonic() + LOOK_INTERVAL if self._running and halted else None
        self._watchdog.watch(self._halted, again)

    def _set_going(self, vcpu: ForeignVcpu) -> None:
        if (remaining := vcpu.remaining) is not None or vcpu.watched:
            until = None if remaining is None else monotonic() + remaining
            self._watchdog.watch(self._kicker(vcpu), until)
            vcpu.watched = until is not None
        vcpu.resume()

    def _kicker(self, vcpu: ForeignVcpu) -> Kicker:
        return Kicker(vcpu, self._tracer.call)

    def interrupt(self) -> None:
        """Park every vCPU soon (``Machine.interrupt``)."""
        self._tracer.call(self._stop_world)

    def _stop_world(self) -> None:
        if self._running and not self._stopping:
            self._stopping = True
            self._watchdog.watch(self._late, monotonic() + LATE)
            for index in self._running:
                self._vcpus[index].thread.kick()
            # Those that have stopped already, for another's section, run no more.
            for vcpu in self._exclusive.end_all():
                self._park(vcpu, None)
            deferred, self._deferred = self._deferred, []
            for index in deferred:
                self._debug_exit(self._vcpus[index])

    def start_exclusive(self, vcpu: int) -> bool:
        """Keep all others out of the guest (``Machine.start_exclusive``)."""
        others = [self._vcpus[index] for index in self._running if index != vcpu]
        return self._exclusive.start(self._vcpus[vcpu], others, lambda: self._stopping)

    def end_exclusive(self, vcpu: int) -> None:
        """Let the others run again (``Machine.end_exclusive``)."""
        self._tracer.call(lambda: self._end_exclusive(vcpu))

    def _end_exclusive(self, vcpu: int) -> None:
        for waiting in self._exclusive.end(self._vcpus[vcpu]):
            if waiting.index not in self._deferred:
                with contextlib.suppress(Gone):  # its end is a stop of its own
                    waiting.resume()

    def _pump_until(self, condition: Callable[[], bool], *, block: bool = True) -> None:
        """Handle stops of threads until *condition*; without *block*, those that there are."""
        while not condition():
            if not (self._tracer.pump(block=block) or block):
                return

    # Stops of threads.

    def _handle(self, tid: int, status: int) -> None:
        """Take a stop of a thread."""
        vcpu = self._by_tid[tid]
        try:
            self._take(vcpu, status)
        except Gone:
            raise  # its end is a stop of its own
        except Exception as error:  # whatever it is, the VMM must not stand still for it
            self._cannot_run(vcpu, status, error)

    def _take(self, vcpu: ForeignVcpu, status: int) -> None:
        outcome = vcpu.thread.handle(status)
        if outcome is None:
            return
        self._exclusive.left_guest(vcpu)
        if outcome is ThreadStop.ENDED:
            self._thread_ended(vcpu)
        elif outcome is ThreadStop.DEBUG:
            if self._exclusive.is_anothers_turn(vcpu):
                self._deferred.append(vcpu.index)
            else:
                self._debug_exit(vcpu)
        elif outcome is ThreadStop.SYSTEM_EVENT:
            self._system_event(vcpu)
        else:
            self._kicked(vcpu)
        self._run_deferred()

    def _cannot_run(self, vcpu: ForeignVcpu, status: int, error: Exception) -> None:
        """Tell the listener of a stop that could not be handled; the thread goes on if it must."""
        failure = vcpu.failure(error)
        if vcpu.thread.stopped and vcpu.index in self._running:
            self._park(vcpu, failure)
        elif not vcpu.thread.stopped:
            self._exits.append(failure)
            self._stop_world()
            vcpu.thread.carry_on(status)

    def _run_deferred(self) -> None:
        """Take the debug exits that waited for the end of a section."""
        while self._deferred and not self._exclusive.is_anothers_turn(
            vcpu := self._vcpus[self._deferred[0]]
        ):
            self._deferred.pop(0)
            self._debug_exit(vcpu)

    def _kicked(self, vcpu: ForeignVcpu) -> None:
        """Go on after a kick, by the reason that there may have been for it."""
        if vcpu.index not in self._running:
            return  # back from its VMM, which has had a signal for it
        vcpu.forget()
        if self._stopping:
            vcpu.cut_short = True
            self._park(vcpu, None)
        elif self._exclusive.held_by_another(vcpu):
            self._exclusive.waits(vcpu)
        elif vcpu.remaining == 0:
            self._ask(vcpu, DebugExit(vcpu.index, TIMED_OUT), cut_short=True)
        else:
            self._set_going(vcpu)

    def _debug_exit(self, vcpu: ForeignVcpu) -> None:
        if vcpu.index in self._running:  # else it has ended meanwhile
            self._ask(vcpu, vcpu.exit())

    def _ask(self, vcpu: ForeignVcpu, exit: DebugExit, *, cut_short: bool = False) -> None:
        """Ask the listener how *vcpu* goes on from *exit*."""
        told: Exit = exit
        self._asked.add(vcpu.index)
        try:
            mode = self.listener.debug_exit(exit)
            if mode is not None:
                vcpu.go_on(mode, cut_short=cut_short)
        except Exception as error:  # whatever it is, the siblings must be parked too
            mode, told = None, vcpu.failure(error)
        finally:
            self._asked.discard(vcpu.index)
        if vcpu.thread.ended:
            self._thread_ended(vcpu)
        elif mode is None:
            self._park(vcpu, told)
        elif self._stopping:
            vcpu.cut_short = True
            self._park(vcpu, None)
        else:
            self._set_going(vcpu)

    def _system_event(self, vcpu: ForeignVcpu) -> None:
        kind = SYSTEM_EVENTS.get(vcpu.system_event)
        if kind is None or (kind is SystemEventKind.RESET and not self._always_traced):
            vcpu.resume()  # the VMM makes it
        else:
            self._park(vcpu, SystemEvent(vcpu.index, kind))

    def _thread_ended(self, vcpu: ForeignVcpu) -> None:
        self._counter.forget()
        if vcpu.index in self._running - self._asked:  # else it is told when that is over
            self._park(vcpu, SystemEvent(vcpu.index, SystemEventKind.SHUTDOWN))

    def _park(self, vcpu: ForeignVcpu, exit: Exit | None) -> None:
        """Note that a vCPU has parked; the last one calls the listener."""
        if vcpu.watched:
            self._watchdog.watch(self._kicker(vcpu), None)
            vcpu.watched = False
        if exit is not None:
            self._exits.append(exit)
        self._running.discard(vcpu.index)
        self._exclusive.parks(vcpu)
        if self._running:
            self._stop_world()
        elif not self._closed:
            self._all_parked()

    def _all_parked(self) -> None:
        self._watchdog.watch(self._late, None)
        # The guest's time stands still from here: it must not see how long we look at it.
        if not self._vcpus[0].thread.ended:
            self._counter.stop_or_warn()
        self.listener.parked(self._exits)

    # The end.

    def close(self) -> None:
        """Remove all BRKs and debug state, and let the guest run; safe more than once."""
        if self._closed:
            return
        self._closed = True
        self._watchdog.close()
        try:
            self._tracer.call(self._let_go)
        finally:
            self._attachment.close()

    def _let_go(self) -> None:
        self._attachment.stop_all()
        left = [each for each in self._vcpus if each.thread.stopped and not each.thread.ended]
        steps = [self._patches.withdraw, *(each.disarm for each in left)]
        if not self._vcpus[0].thread.ended:
            steps.append(self._counter.go_on)
        with contextlib.suppress(Gone):  # the VMM may end at any time
            in_any_case(steps)
