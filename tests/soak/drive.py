"""Driving a case: undebugged, or by a debugger's ways, each of which must lead to one end."""

import queue
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Final

from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, VBAR_EL1, X, stack_pointer
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.debug.debugger import Debugger
from gdbstub.machine import Machine, Power, SystemEvent
from gdbstub.target import (
    Action,
    BreakpointKind,
    Exited,
    Range,
    Report,
    Resume,
    Stopped,
    StopReason,
)
from tests.contract.recorder import StopRecorder
from tests.soak.blocks import FAILED
from tests.soak.case import Case, Request
from tests.soak.known import KNOWN, STEP_IN_SEQUENCE, sequences
from tests.soak.program import STATUS, TEMPORARY, Place, groups
from tests.soak.state import unseen
from tests.soak.words import ZR, Access, Flow, Line, is_load_exclusive, is_store_exclusive

#: So many steps, stops and ranges are more than any case takes.
_ENOUGH: Final = 20_000
_UNKNOWN: Final = -1
_BREAKS: Final = (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE)
_TOLD: Final = {
    StopReason.SWBREAK: BreakpointKind.SOFTWARE,
    StopReason.HWBREAK: BreakpointKind.HARDWARE,
    StopReason.WATCH: BreakpointKind.WRITE,
    StopReason.RWATCH: BreakpointKind.READ,
    StopReason.AWATCH: BreakpointKind.ACCESS,
}


class Finding(Exception):
    """Something that the debugger did wrong."""


class TooOften(Finding):
    """A stop that was told, or a line that was printed, more often than it should be."""


def run_undebugged(machine: Machine) -> None:
    """Run to the end, where the guest switches itself off."""
    exits = StopRecorder(machine).run()
    assert any(isinstance(exit, SystemEvent) for exit in exits), exits


class Trace:
    """Counts of the executed instructions, by address, and of their accesses to memory."""

    def __init__(self) -> None:
        self.places: Counter[int] = Counter()
        self.accesses: Counter[tuple[int, int, bool, bool]] = Counter()

    def note(self, pc: int, access: Access | None, base: int) -> None:
        """Count one instruction, before it is executed."""
        self.places[pc] += 1
        if access:
            self.accesses[base + access.offset, access.size, access.read, access.write] += 1

    def hits(self, watches: list[Request]) -> int:
        """Return the number of accesses that *watches* are to report."""
        return sum(
            count
            for access, count in self.accesses.items()
            if any(touches(watch, *access) for watch in watches)
        )


def touches(watch: Request, gva: int, size: int, read: bool, write: bool) -> bool:
    """Return True if the watchpoint *watch* is to report an access."""
    kinds = {BreakpointKind.READ: read, BreakpointKind.WRITE: write}
    if not kinds.get(watch.kind, True):
        return False
    return gva < watch.gva + watch.length and watch.gva < gva + size


class Driver:
    """A debugger's client, which knows the program and checks each stop."""

    def __init__(self, case: Case, machine: Machine, bound: float, *, exact: bool) -> None:
        """Attach to *machine*; a stop must come within *bound* seconds.

        *exact*: no store-exclusive of an undisturbed sequence ever fails there.
        """
        self._case, self._program, self._bound = case, case.program, bound
        self._machine = machine
        self._random = Random(case.seed)
        self._notified: queue.Queue[None] = queue.Queue()
        self._inserted: set[Request] = set()
        self._origin: dict[int, int] = {}  # by thread: where its step began that was not told
        self.target = Debugger(machine)
        self.target.notify = lambda: self._notified.put(None)
        self.ended = False
        self.hits: Counter[tuple[BreakpointKind, int]] = Counter()
        self.watched = 0
        self.printed = b""
        self._threads = range(1, len(machine.vcpus) + 1)
        inside = sequences(case.program)
        self._exact = exact
        # Behind a load-exclusive, and not behind its store.
        self._begun = {self._program.addresses[place] for place in inside} - {
            gva for gva, placed in self._program.lines.items() if is_load_exclusive(placed.line)
        }
        # What a failed one leads to tells of it later.
        self._begun |= {
            self._program.addresses[Place(vcpu, group.number, number)]
            for vcpu, body in enumerate(case.program.bodies)
            for group in groups(body)
            if group.kind == "exclusive_once"
            for number in range(2, len(group.lines))
        }
        judged = {inside[r.place] for r in case.requests if r.place and r.place in inside}
        addresses = case.program.addresses
        self._judged_in_sequences = {addresses[p] for p in inside if inside[p] in judged}

    # Ways to the end.

    def to_the_bodies(self) -> None:
        """Let every vCPU come to the beginning of its body."""
        starts = [self._program.start(thread - 1) for thread in self._threads]
        for start in starts:
            self.target.insert(1, BreakpointKind.SOFTWARE, start, 4)
        coming = set(self._threads)
        while coming:
            report = self._resume(dict.fromkeys(coming, Action.CONTINUE))
            assert isinstance(report, Stopped), report
            coming.remove(report.thread)
        for start in starts:
            self.target.remove(1, BreakpointKind.SOFTWARE, start, 4)

    def continue_(self) -> None:
        """Continue, with everything that the case asks for."""
        self._insert_all()
        for _ in range(_ENOUGH):
            if self.ended:
                return
            self._settle(self._resume(self._all()))
        raise Finding("continue: no end of stops")

    def step(self, trace: Trace) -> None:
        """Step one thread or another, without breakpoints, and note what is executed."""
        for _ in range(_ENOUGH):
            if self.ended:
                return
            if not (threads := self._unfinished()):
                self._settle(self._resume(self._all()))
                continue
            thread = self._random.choice(threads)
            pc = self._pc(thread)
            placed = self._program.lines.get(pc)
            if placed and is_load_exclusive(placed.line):
                self._sequence(thread, trace)
                continue
            if placed:
                access = placed.line.access
                trace.note(pc, access, self._base(thread, access) if access else 0)
            self._step(thread, {})
        raise Finding("steps: no end of them")

    def _sequence(self, thread: int, trace: Trace) -> None:
        """Step over an exclusive sequence, as GDB does: within it, each step would fail the store.

        It is left behind its store, or by a branch in it. One whose store has failed is not noted
        where the program branches back to its load: a host's interrupt may have come.
        """
        at, lines = self._pc(thread), list[tuple[int, Line, int]]()
        while not lines or not is_store_exclusive(lines[-1][1]):
            line = self._program.lines[at].line
            lines.append((at, line, self._base(thread, line.access) if line.access else 0))
            at += 4
        report = self._resume({thread: Range(0, 0)})
        end = self._pc(thread)
        behind = self._program.lines[at].line
        tried_again = behind.flow is Flow.BRANCH and at + behind.target == lines[0][0]
        if tried_again and end == at and self._machine.vcpus[thread - 1].get(X[STATUS]) == 1:
            self._settle(report)
            self._step(thread, {})
            return
        for gva, line, base in lines:
            trace.note(gva, line.access, base)
            if end != at and line.flow is Flow.BRANCH and end == gva + line.target:
                break
        self._settle(report)

    def mix(self) -> None:
        """Step, run through ranges, and continue, by chance."""
        self._insert_all()
        random = self._random
        left = random.randint(5, 120)
        for _ in range(_ENOUGH):
            if self.ended:
                return
            threads = self._unfinished()
            if not threads or not left or random.random() < 0.04:
                self._settle(self._resume(self._all()))
                continue
            left -= 1
            thread = random.choice(threads)
            others = {} if random.random() < 0.7 else self._all()
            if random.random() < 0.4:
                self._step(thread, others)
            else:
                self._range(thread, others)
        raise Finding("a mix: no end of stops")

    # What they are made of.

    def _insert_all(self) -> None:
        for request in self._case.requests:
            self._insert(request)

    def _at(self, request: Request) -> int:
        return self._program.addresses[request.place] if request.place else request.gva

    def _insert(self, request: Request) -> None:
        self._inserted.add(request)
        gva = self._at(request)
        self.target.insert(1, request.kind, gva, request.length)
        if request.place:
            self.target.attach(request.kind, gva, request.clauses)

    def _remove(self, request: Request) -> None:
        self._inserted.discard(request)
        self.target.remove(1, request.kind, self._at(request), request.length)

    def _all(self) -> dict[int, Action | Range]:
        return dict.fromkeys(self._threads, Action.CONTINUE)

    def _pc(self, thread: int) -> int:
        return self._machine.vcpus[thread - 1].get(PC)

    def _base(self, thread: int, access: Access) -> int:
        vcpu = self._machine.vcpus[thread - 1]
        if access.base == ZR:
            return vcpu.get(stack_pointer(PSTATE(vcpu.get(CPSR))))
        return vcpu.get(X[access.base])

    def _unfinished(self) -> list[int]:
        return [
            thread
            for thread in self._threads
            if self._machine.vcpus[thread - 1].power is Power.ON
            and self._pc(thread) not in self._program.rests[thread - 1]
        ]

    def _resume(self, actions: Mapping[int, Action | Range]) -> Report:
        for thread, action in actions.items():
            if action is not Action.STEP:
                self._origin.pop(thread, None)
        self.target.resume(Resume(actions))
        while True:
            try:
                self._notified.get(timeout=self._bound)
            except queue.Empty:
                self._hang(actions)
            self.printed += self.target.take_output()
            if (report := self.target.take_report()) is not None:
                self.ended = isinstance(report, Exited)
                return report

    def _hang(self, actions: Mapping[int, Action | Range]) -> None:
        self.target.interrupt()
        try:
            while True:
                self._notified.get(timeout=self._bound)
                if self.target.take_report() is not None:
                    break
        except queue.Empty:
            raise Finding(f"{_said(actions)}: hangs, and cannot be interrupted") from None
        places = ", ".join(self._where(thread) for thread in self._threads)
        raise Finding(f"{_said(actions)}: no stop within {self._bound:g} s; {places}")

    def _where(self, thread: int) -> str:
        pc = self._pc(thread)
        placed = self._program.lines.get(pc)
        return f"vCPU {thread - 1} at {pc:#x} {placed.line.text if placed else ''}"

    def _step(self, thread: int, others: Mapping[int, Action | Range]) -> None:
        origin = self._origin.setdefault(thread, self._pc(thread))
        allowed = self._successors(thread) if origin == self._pc(thread) else None
        known = STEP_IN_SEQUENCE in KNOWN and origin in self._judged_in_sequences
        report = self._resume({**others, thread: Action.STEP})
        if isinstance(report, Exited):
            return
        if report.thread == thread and report.stop is StopReason.PLAIN:
            del self._origin[thread]
            if allowed is not None and self._pc(thread) not in allowed and not known:
                at = self._program.lines[origin].line.text if origin in self._program.lines else ""
                raise Finding(f"a step of {at!r} at {origin:#x} ends at {self._where(thread)}")
        elif report.thread == thread or not others:
            self._origin.pop(thread, None)
        self._settle(report)

    def _successors(self, thread: int) -> set[int]:
        """Return the addresses at which a step of *thread* may end."""
        vcpu, pc = self._machine.vcpus[thread - 1], self._pc(thread)
        placed = self._program.lines.get(pc)
        if placed is None:
            return {pc + 4}
        line = placed.line
        match line.flow:
            case Flow.NEXT:
                return {pc + 4}
            case Flow.BRANCH:
                return {pc + 4, pc + line.target}
            case Flow.JUMP:
                return {pc + line.target}
            case Flow.REGISTER:
                return {vcpu.get(X[TEMPORARY])}
            case Flow.ERET:
                return {vcpu.get(ELR_EL1)}
            case Flow.EXCEPTION:
                offset = 0x200 if PSTATE(vcpu.get(CPSR)).SP else 0
                return {vcpu.get(VBAR_EL1) + offset}

    def _range(self, thread: int, others: Mapping[int, Action | Range]) -> None:
        pc = self._pc(thread)
        start = pc - 4 * self._random.choice((0, 0, 1, 5, 20))
        end = pc + 4 * self._random.choice((1, 2, 3, 6, 12, 40))
        rest = self._program.rests[thread - 1]
        if pc < rest.start < end:
            end = rest.start  # where it would wait for others, at rest, for ever
        failed = unseen(self._machine, thread - 1, FAILED)
        finished = thread in self._origin  # perhaps, and that is told first
        report = self._resume({**others, thread: Range(start, end)})
        if self._exact and not others and pc not in self._begun:
            now = unseen(self._machine, thread - 1, FAILED)
            if now != failed:
                raise Finding(f"an exclusive store failed in a range from {pc:#x} to {end:#x}")
        if isinstance(report, Stopped) and report.thread != thread:
            self._origin[thread] = _UNKNOWN  # it may have finished, and that is yet to be told
        plain = isinstance(report, Stopped) and report.stop is StopReason.PLAIN
        inside = start <= self._pc(thread) < end
        if plain and inside and not others and not finished:
            where = self._where(thread)
            raise Finding(f"a range {start:#x} to {end:#x} from {pc:#x} ends at {where}")
        self._settle(report)

    def _settle(self, report: Report) -> None:
        """Check a stop, count it, and go on from it as GDB does."""
        if isinstance(report, Exited):
            return
        thread, pc = report.thread, self._pc(report.thread)
        if report.text or report.signal != 5:
            raise Finding(f"{report} at {self._where(thread)}")
        if report.stop is StopReason.PLAIN:
            return
        kind = _TOLD[report.stop]
        if kind in _BREAKS:
            here = [r for r in self._inserted if r.place and self._at(r) == pc]
            if not any(r.kind is kind and r.stops for r in here):
                raise Finding(f"{report} at {self._where(thread)}, where none was asked for")
            self.hits[kind, pc] += 1
        else:
            self._check_watch(report, kind, pc)
            self.watched += 1
            here = list(self._inserted)
        self._step_over(thread, here)

    def _check_watch(self, report: Stopped, kind: BreakpointKind, pc: int) -> None:
        thread = report.thread
        placed = self._program.lines.get(pc)
        if placed is None or (access := placed.line.access) is None:
            raise Finding(f"{report} at {self._where(thread)}, which accesses nothing")
        gva = self._base(thread, access) + access.offset
        watches = [r for r in self._inserted if r.kind is kind]
        if not any(
            touches(watch, gva, access.size, access.read, access.write)
            and watch.gva <= report.gva < watch.gva + watch.length
            for watch in watches
        ):
            raise Finding(f"{report} at {self._where(thread)}, which accesses {gva:#x}")

    def _step_over(self, thread: int, here: list[Request]) -> None:
        for request in here:
            self._remove(request)
        self._origin.pop(thread, None)
        try:
            self._step(thread, {})
        finally:
            for request in here:
                self._insert(request)


def _said(actions: Mapping[int, Action | Range]) -> str:
    return "vCont" + "".join(
        f";r{a.start:x},{a.end:x}:{t}" if isinstance(a, Range) else f";{a.value}:{t}"
        for t, a in actions.items()
    )
